"""Two ranks that train together, compared with a single process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import tiny_data, tiny_hparams, tiny_model
from tests.support.warm_start import WarmProcess
from tests.training.distributed.ranks import PLAIN, build_learner, main
from tests.training.step.test_learner import KNOBS, gradient
from training.distributed.rank_group import RankGroup
from training.step.learner import Learner


def run_ranks(case: str, folder: Path) -> list[dict[str, Any]]:
    """Run a case on two ranks and return the results of each."""
    ranks = [WarmProcess(main, case, rank, folder) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    return [dict(torch.load(folder / f"{rank}.pt", weights_only=True)) for rank in range(2)]


def test_gradient_equals_that_of_a_single_process_with_the_whole_batch(tmp_path: Path) -> None:
    ranks = run_ranks("update together", tmp_path)
    for n in (8, 1):  # of a single example, rank 1 has no share
        single = build_learner(RankGroup.single())
        expected = single.update([tiny_data(PLAIN).train.load(list(range(n)))], KNOBS, clip_norm=1e9, measure=False)
        expected_losses = dict(zip(expected.utterance_ids, expected.utterance_losses, strict=True))
        for rank in ranks:
            torch.testing.assert_close(rank[f"gradient {n}"], gradient(single), rtol=1e-5, atol=1e-6)
            result = rank[f"result {n}"]
            assert result["losses"] == pytest.approx(expected.losses, rel=1e-5)
            assert result["gradient_norm"] == pytest.approx(expected.gradient_norm, rel=1e-5)
            utterance_losses = dict(zip(result["utterance_ids"], result["utterance_losses"], strict=True))
            assert utterance_losses == pytest.approx(expected_losses, rel=1e-4)
        assert torch.equal(ranks[0][f"gradient {n}"], ranks[1][f"gradient {n}"])


def test_batch_norm_statistics_are_averaged_over_the_ranks(tmp_path: Path) -> None:
    leader, worker = run_ranks("update together", tmp_path)
    expected: dict[str, torch.Tensor] = {}
    train = tiny_data(PLAIN).train
    for rank in range(2):
        single, indices = Learner(tiny_model(PLAIN), PLAIN, torch.device("cpu")), list(range(8))[rank::2]
        single.update([train.load(indices)], KNOBS, clip_norm=1e9, measure=False)
        share = train.n_frames(indices) / train.n_frames(range(8))
        for name, buffer in single.model.named_buffers():
            expected[name] = expected.get(name, torch.zeros(())) + share * buffer
    for name in (name for name in expected if "running" in name):
        torch.testing.assert_close(leader["buffers"][name], expected[name])
        assert torch.equal(leader["buffers"][name], worker["buffers"][name])


def test_failure_on_one_rank_skips_the_step_on_all(tmp_path: Path) -> None:
    leader, worker = run_ranks("fail on one rank", tmp_path)
    assert leader["norm of NaN"] is None and worker["norm of NaN"] is None
    assert leader["error"] == "rank 1: no room for 5 GB" and worker["error"] == "no room for 5 GB"
    assert leader["unchanged"] and worker["unchanged"]
    assert leader["norm"] == worker["norm"] > 0
    assert leader["stop signal"] == worker["stop signal"] == "SIGUSR1"


@pytest.mark.parametrize("case", ["train tacotron", "train glow"])
def test_ranks_have_the_same_weights_after_all_kinds_of_orders(tmp_path: Path, case: str) -> None:
    leader, worker = run_ranks(case, tmp_path)
    assert leader["weights"].keys() == worker["weights"].keys()
    for name, value in leader["weights"].items():  # integer buffers (counters of batch norm) are not used
        assert torch.equal(value, worker["weights"][name]) or not value.is_floating_point(), name
    assert len(leader["losses"]) == 26 and None not in leader["losses"]
    first_epoch = [id_ for step in leader["ids"][:3] for id_ in step]
    assert sorted(first_epoch) == sorted(e.utterance.id for e in tiny_data(tiny_hparams()).train.examples)
    assert not any("u01-12" in step for step in leader["ids"][17:])


def test_hanging_worker_is_named(tmp_path: Path) -> None:
    error = run_ranks("hang worker", tmp_path)[0]["error"]
    assert error == "rank 1 has exited or has not responded for 2 s"


def test_hanging_leader_is_named(tmp_path: Path) -> None:
    error = run_ranks("hang leader", tmp_path)[1]["error"]
    assert error == "rank 1 could not receive from rank 0: it has exited or has not responded for 2 s"


def test_worker_does_not_wait_longer_for_a_leader_that_hangs_in_a_gather(tmp_path: Path) -> None:
    error = run_ranks("hang leader in gather", tmp_path)[1]["error"]
    assert error == "rank 1 could not gather from all ranks: another rank has exited or has not responded for 2 s"
