"""Micro-batches: the parts of a batch that does not fit into memory as a whole."""

from __future__ import annotations

import torch

from corpus.batches import Batch


def split_batch(batch: Batch, n_chunks: int) -> list[Batch]:
    """Nearly equal parts of a batch, each padded to its own longest utterance."""
    rows = torch.arange(len(batch.ids)).chunk(n_chunks)
    return [batch] if len(rows) == 1 else [batch.rows(chunk.tolist()) for chunk in rows]
