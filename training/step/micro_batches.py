"""Micro-batches: the parts of a batch that does not fit into memory as a whole."""

from __future__ import annotations

import torch

from corpus.batches import Batch


def split_batch(batch: Batch, n_chunks: int) -> list[Batch]:
    """Nearly equal parts of a batch, each padded to its own longest utterance."""
    rows = torch.arange(len(batch.ids)).chunk(n_chunks)
    return [batch] if len(rows) == 1 else [batch.rows(chunk.tolist()) for chunk in rows]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out: on a GPU torch has an exception type for it, on a CPU only a message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
