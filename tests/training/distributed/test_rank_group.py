"""Two processes that train together, and one that does the same alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_data, tiny_hparams, tiny_model
from tests.training.distributed.ranks import PLAIN, learner_of, main
from tests.training.step.test_learner import KNOBS, gradient
from tests.warm_start import WarmProcess
from training.distributed.rank_group import RankGroup, StepTask
from training.distributed.worker import BatchPrefetcher
from training.step.learner import Learner


def both(case: str, folder: Path) -> list[dict[str, Any]]:
    """What each rank found."""
    ranks = [WarmProcess(main, case, rank, folder) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    return [dict(torch.load(folder / f"{rank}.pt", weights_only=True)) for rank in range(2)]


def test_the_gradient_is_that_of_one_process_with_the_joined_batch(tmp_path: Path) -> None:
    found = both("together", tmp_path)
    for n in (8, 1):  # of the one, rank 1 has nothing
        alone = learner_of(RankGroup.single())
        updated = alone.update([tiny_data(PLAIN).train.load(list(range(n)))], KNOBS, clip_norm=1e9, measure=False)
        for rank in found:
            torch.testing.assert_close(rank[f"gradient {n}"], gradient(alone), rtol=1e-5, atol=1e-6)
            told = rank[f"updated {n}"]
            assert told["losses"] == pytest.approx(updated.losses, rel=1e-5)
            assert told["gradient_norm"] == pytest.approx(updated.gradient_norm, rel=1e-5)
            by_utterance = dict(zip(told["utterance_ids"], told["utterance_losses"], strict=True))
            assert by_utterance == pytest.approx(
                dict(zip(updated.utterance_ids, updated.utterance_losses, strict=True)), rel=1e-4
            )
        assert torch.equal(found[0][f"gradient {n}"], found[1][f"gradient {n}"])


def test_what_normalisation_remembers_is_the_mean_of_what_the_ranks_saw(tmp_path: Path) -> None:
    leader, other = both("together", tmp_path)
    seen: dict[str, torch.Tensor] = {}
    train = tiny_data(PLAIN).train
    for rank in range(2):
        alone, rows = Learner(tiny_model(PLAIN), PLAIN, torch.device("cpu")), list(range(8))[rank::2]
        alone.update([train.load(rows)], KNOBS, clip_norm=1e9, measure=False)
        share = train.n_frames(rows) / train.n_frames(range(8))
        for name, buffer in alone.model.named_buffers():
            seen[name] = seen.get(name, torch.zeros(())) + share * buffer
    for name in (name for name in seen if "running" in name):
        torch.testing.assert_close(leader["remembered"][name], seen[name])
        assert torch.equal(leader["remembered"][name], other["remembered"][name])


def test_what_goes_wrong_on_one_rank_is_a_step_that_none_takes(tmp_path: Path) -> None:
    leader, other = both("failing", tmp_path)
    assert leader["norm"] is None and other["norm"] is None
    assert leader["error"] == "rank 1: no room for 5 GB" and other["error"] == "no room for 5 GB"
    assert leader["unchanged"] and other["unchanged"]
    assert leader["after"] == other["after"] > 0
    assert leader["stop"] == other["stop"] == "SIGUSR1"


@pytest.mark.parametrize("case", ["steered", "steered flow"])
def test_all_have_the_same_weights_whatever_was_ordered(tmp_path: Path, case: str) -> None:
    leader, other = both(case, tmp_path)
    assert leader["weights"].keys() == other["weights"].keys()
    for name, value in leader["weights"].items():  # the counters of normalisation are of no use
        assert torch.equal(value, other["weights"][name]) or not value.is_floating_point(), name
    assert len(leader["losses"]) == 26 and None not in leader["losses"]
    first_epoch = [id_ for step in leader["ids"][:3] for id_ in step]
    assert sorted(first_epoch) == sorted(e.utterance.id for e in tiny_data(tiny_hparams()).train.examples)
    assert not any("u01-12" in step for step in leader["ids"][17:])


def test_a_rank_that_hangs_is_named(tmp_path: Path) -> None:
    assert both("hung", tmp_path)[0]["error"] == "rank 1 has exited or has not responded for 2 s"


def test_a_leader_that_hangs_is_named(tmp_path: Path) -> None:
    error = both("hung leader", tmp_path)[1]["error"]
    assert error == "rank 1 could not receive from rank 0: it has exited or has not responded for 2 s"


def test_a_leader_that_hangs_at_the_same_work_as_the_others_is_not_waited_for(tmp_path: Path) -> None:
    error = both("hung leader at work", tmp_path)[1]["error"]
    assert error == "rank 1 could not gather from all ranks: another rank has exited or has not responded for 2 s"


def test_what_most_likely_comes_next_is_loaded_ahead() -> None:
    hparams, read = tiny_hparams(), []
    loader = tiny_data(hparams).train
    load = loader.load
    loader.load = lambda indices, number=0: read.append(tuple(indices)) or load(indices, number)  # type: ignore[method-assign,func-returns-value]
    rank_group = RankGroup(1, 2, timeout_seconds=1)
    loader.n_ranks = 2
    dealt = [batch.rank_indices for batch in loader.epoch(0)]
    read.clear()
    with BatchPrefetcher(loader, hparams, rank_group) as batches:
        for number, rows in enumerate(dealt):
            task = StepTask(tuple((mine,) for mine in rows), 0, number, 1, 1, KNOBS, 1.0, 1.0)
            wanted = tuple(loader.examples[i].utterance.id for i in rows[1])
            assert sorted(id_ for batch in batches.load(task) for id_ in batch.ids) == sorted(wanted)
    assert read == [rows[1] for rows in dealt]
