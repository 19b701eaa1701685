"""Kill -9 of the whole process group at three moments; the same command then finishes the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.program import read_records
from benchmarks.robustness.kills import KillMoment, check_resumes, train_with_kills, values_by_step
from tests.support.program import Program, tiny

MOMENTS = (KillMoment("save", 0.0), KillMoment("training", 0.1), KillMoment("save", 0.2))
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
    kills = train_with_kills(arguments, run, MOMENTS)
    checks = check_resumes(kills, run, undisturbed)
    assert len(checks) == len(MOMENTS)
    assert any(kill.left_temporary_file for kill in kills if kill.moment.kind == "save")
    expected, values = values_by_step(read_records(undisturbed)), values_by_step(read_records(run))
    assert {step: (expected[step], values.get(step)) for step in expected if values.get(step) != expected[step]} == {}
    assert all(check.is_identical for check in checks)
    assert all(0 <= check.lost_steps <= STEPS_PER_CHECKPOINT for check in checks)
    assert sorted(values) == list(range(1, STEPS + 1))
    assert not list(run.rglob("*.tmp"))
