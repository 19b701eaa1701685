"""Kill -9 of the whole process group at three moments; the same command then finishes the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.robustness.kills import Moment, is_whole, judge, killed_run, rows
from tests.commands.program import Program, journal, tiny

MOMENTS = (Moment("save", 0.0), Moment("training", 0.1), Moment("save", 0.2))
STEPS, STEPS_PER_CHECKPOINT = 60, 4


def test_a_killed_run_loses_at_most_the_last_checkpoint_interval(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings: dict[str, Any] = {
        "epochs": 500,
        "iters_per_checkpoint": STEPS_PER_CHECKPOINT,
        "iters_per_evaluation": 1000,
    }
    arguments = ["--data", str(data), "--max_steps", str(STEPS), *tiny(**settings)]
    undisturbed = program.trained(data, "--max_steps", STEPS, run="undisturbed", **settings)
    run = program.output / "killed"
    deaths = killed_run(arguments, run, MOMENTS)
    verdicts = judge(deaths, run, undisturbed)
    assert len(verdicts) == len(MOMENTS)
    assert any(death.half_written for death in deaths if death.moment.kind == "save")
    assert all(verdict.identical for verdict in verdicts)
    assert all(0 <= verdict.lost_steps <= STEPS_PER_CHECKPOINT for verdict in verdicts)
    assert sorted(rows(journal(run))) == list(range(1, STEPS + 1))
    assert is_whole(run, undisturbed)
    assert not list(run.rglob("*.tmp"))
