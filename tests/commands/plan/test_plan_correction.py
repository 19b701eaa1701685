from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands.plan.training_plan import PLAN_FILE
from smart_tuner.replay import replay
from tests.support.program import Program, journal


def test_a_forecast_of_minutes_is_corrected_by_the_real_speed(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "commands.plan.settled_recipe.measure_step"
    from commands.plan.estimate import StepCost

    monkeypatch.setattr(slow, lambda *_, **__: StepCost(seconds=10.0, memory_bytes=1, n_weights=1))
    run = program.trained(data, "--max_minutes", 3, epochs=60)
    (record,) = [r for r in journal(run) if r["kind"] == "plan"]
    plan = json.loads((run / PLAN_FILE).read_text())
    assert 10 <= plan["corrected_at"] == record["step"] < plan["schedule_steps"] <= 18
    assert plan["steps"] == record["planned_steps"] == 120  # the epochs of the person
    assert journal(run)[-1]["step"] == 120
    supervisor, begun = replay(run).supervisor, journal(run)[0]["supervision"]["facts"]
    assert supervisor is not None and supervisor.facts.planned_steps == 120
    assert supervisor.facts.alignment_patience_steps == record["patience_steps"]
    assert record["patience_steps"] > 10 * begun["alignment_patience_steps"]


def test_without_a_time_limit_nothing_is_corrected(program: Program, data: Path) -> None:
    run = program.trained(data, "--max_steps", 12, epochs=60)
    assert [r for r in journal(run) if r["kind"] == "plan"] == []
    assert json.loads((run / PLAN_FILE).read_text())["steps"] == 12
