"""Prefetching of a worker's batches."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from corpus.batches import Batch
from tests.support.tiny import tiny_data, tiny_hparams
from tests.training.step.test_learner import KNOBS
from training.distributed.rank_group import RankGroup, StepTask
from training.distributed.worker import BatchPrefetcher


def test_next_batches_are_prefetched(monkeypatch: pytest.MonkeyPatch) -> None:
    hparams, loaded = tiny_hparams(), list[tuple[int, ...]]()
    loader = tiny_data(hparams).train

    def load(indices: Sequence[int], number: int = 0, *, epoch: int | None = None) -> Batch:
        loaded.append(tuple(indices))
        return original(indices, number, epoch=epoch)

    original = loader.load
    monkeypatch.setattr(loader, "load", load)
    loader.n_ranks = 2
    by_batch = [batch.rank_indices for batch in loader.epoch(0)]
    loaded.clear()
    with BatchPrefetcher(loader, hparams, RankGroup(1, 2, timeout_seconds=1)) as prefetcher:
        for number, by_rank in enumerate(by_batch):
            examples = tuple((indices,) for indices in by_rank)
            batches = prefetcher.load(StepTask(examples, 0, number, 1, 1, KNOBS, 1.0, 1.0))
            expected = sorted(loader.examples[i].utterance.id for i in by_rank[1])
            assert sorted(id_ for batch in batches for id_ in batch.ids) == expected
    assert loaded == [by_rank[1] for by_rank in by_batch]
