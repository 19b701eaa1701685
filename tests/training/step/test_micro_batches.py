"""Splitting of batches, and recognition of out-of-memory errors."""

from __future__ import annotations

import pytest
import torch

from tests.support.tiny import tiny_data, tiny_hparams
from training.step.micro_batches import split_batch


def test_parts_are_nearly_equal_and_padded_to_their_own_longest_utterance() -> None:
    batch = next(iter(tiny_data(tiny_hparams(batch_size=8)).train.epoch(0)))
    parts = split_batch(batch, 3)
    assert [len(part.ids) for part in parts] == [3, 3, 2]
    assert tuple(id_ for part in parts for id_ in part.ids) == batch.ids
    rows = [(part, row) for part in parts for row in range(len(part.ids))]
    for i, (part, row) in enumerate(rows):
        n_tokens, n_frames = int(batch.text_lengths[i]), int(batch.mel_lengths[i])
        assert (int(part.text_lengths[row]), int(part.mel_lengths[row])) == (n_tokens, n_frames)
        assert torch.equal(part.text[row, :n_tokens], batch.text[i, :n_tokens])
        assert torch.equal(part.mels[row, :, :n_frames], batch.mels[i, :, :n_frames])
    for part in parts:
        assert (part.text.size(1), part.mels.size(2)) == (int(part.text_lengths.max()), int(part.mel_lengths.max()))
        assert part.number == batch.number


@pytest.mark.parametrize(("n_parts", "sizes"), [(1, [3]), (2, [2, 1]), (3, [1, 1, 1]), (64, [1, 1, 1])])
def test_no_part_is_empty(n_parts: int, sizes: list[int]) -> None:
    batch = next(iter(tiny_data(tiny_hparams()).train.epoch(0)))
    assert [len(part.ids) for part in split_batch(batch, n_parts)] == sizes
