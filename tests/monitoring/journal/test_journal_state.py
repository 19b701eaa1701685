"""Run state rebuilt from a journal: series, phases, evaluations, and the removal of undone steps."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from commands.run.start_point import Kind
from monitoring.journal.journal_state import SESSION_STARTS, JournalState
from tests.monitoring.journals import INTERVENTION, RunFolder, sick_run


def test_a_complete_run_is_rebuilt(tmp_path: Path) -> None:
    state = JournalState.load(sick_run(tmp_path / "run").path)
    assert state.name == "run" and state.step == 60 and state.is_over
    assert state.phases == [(0, "pre_alignment"), (20, "alignment")]
    assert state.series["total_loss"].points()[-1] == (60, 10 / 60)
    assert [record["step"] for record in state.evaluations] == [20, 60]
    assert state.best_evaluation is not None and state.best_evaluation["step"] == 60
    assert state.latest_signals["composite_tts_score"] == 0.7
    (entry,) = state.interventions
    assert (entry.number, entry.step, entry.by, entry.verdict) == (1, 40, "supervisor", "helped")


def test_a_resume_drops_everything_later_than_its_checkpoint(run: RunFolder) -> None:
    run.steps(1, 40)
    run.evaluation(30)
    run.journal.write("intervention", 35, **INTERVENTION)
    run.journal.write("intervention", 36, **INTERVENTION | {"by": "watchdog"})
    run.finish(40, "interrupted", "SIGINT")
    run.start("resumed", 20)
    state = JournalState.load(run.path)
    assert not state.is_over and state.step == 20
    assert state.series["total_loss"].points()[-1][0] == 20
    assert state.evaluations == []
    assert [entry.by for entry in state.interventions] == ["watchdog"]


def test_a_rollback_drops_points_and_keeps_interventions(run: RunFolder) -> None:
    run.journal.phase = "pre_alignment"
    run.steps(1, 40)
    run.evaluation(40)
    run.journal.phase = "alignment"
    run.journal.write("intervention", 40, **INTERVENTION)
    run.journal.phase = "pre_alignment"
    run.journal.write("rolled_back", 20, to=20, wanted_step=20, problems=[])
    state = JournalState.load(run.path)
    assert (state.step, state.evaluations, len(state.interventions)) == (20, [], 1)
    assert state.phases[-1] == (1, "pre_alignment") or state.phases[-1][1] == "pre_alignment"
    assert state.series["total_loss"].points()[-1][0] == 20


def test_a_failed_rollback_changes_nothing(run: RunFolder) -> None:
    run.steps(1, 40)
    run.journal.write("rolled_back", 40, to=None, wanted_step=20, problems=["gone"])
    assert JournalState.load(run.path).step == 40


@pytest.mark.parametrize(("verdict", "loss"), [("helped", 2.0), ("no_effect", 3.0)])
def test_the_winning_arm_of_a_race_becomes_part_of_the_run(run: RunFolder, verdict: str, loss: float) -> None:
    run.steps(1, 40)
    run.journal.write("intervention", 30, **INTERVENTION)
    run.race(40, from_step=20, verdict=verdict)
    state = JournalState.load(run.path)
    assert state.step == 22
    assert state.series["total_loss"].points()[-2:] == [(21, loss), (22, loss)]
    assert state.latest_signals["stop_rate"] == (1.0 if verdict == "helped" else 0.5)
    assert state.interventions[0].verdict == verdict


@pytest.mark.parametrize("kind", SESSION_STARTS)
def test_every_start_record_sets_the_plan(tmp_path: Path, kind: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.start(kind)
    state = JournalState.load(run.path)
    assert state.start is not None and state.planned_steps == 100


def test_every_kind_of_start_is_known() -> None:
    assert set(SESSION_STARTS) == set(get_args(Kind))


def test_latest_signals_are_those_before_the_rollback_target(run: RunFolder) -> None:
    run.steps(1, 20)
    run.evaluation(20, 0.3)
    run.steps(21, 60)
    run.evaluation(60, 0.9)
    run.journal.write("rolled_back", 20, wanted_step=20, to=20, problems=[])
    latest = JournalState.load(run.path).latest_signals
    assert (latest["composite_tts_score"], latest["total_loss"]) == (0.3, 0.5)


def state_after_blocks(*ends: tuple[float, int]) -> JournalState:
    """State after blocks of steps that ended at these times (seconds) and steps."""
    state = JournalState("run", planned_steps=1000)
    for seconds, step in ends:
        time = datetime.fromtimestamp(1e9 + seconds, UTC).isoformat()
        signals: dict[str, Any] = {"total_loss": [1.0]}
        state.apply({"kind": "steps", "step": step, "steps": [step], "signals": signals, "time": time})
    return state


def test_the_time_left_follows_from_the_recent_pace() -> None:
    assert state_after_blocks((0, 20), (10, 40), (20, 60)).seconds_left == pytest.approx(470)


def test_a_pause_does_not_change_the_time_left_per_step() -> None:
    assert state_after_blocks((0, 20), (10, 40), (20, 60), (30_000, 80)).seconds_left == pytest.approx(460)


@pytest.mark.parametrize("seconds", [0.0, -3600.0])
def test_a_clock_that_stands_still_or_jumps_back_gives_no_time_left(seconds: float) -> None:
    assert state_after_blocks((0, 20), (seconds, 40)).seconds_left is None


@pytest.mark.parametrize(
    ("changes", "planned"),
    [({}, 140), ({"most_steps": 120}, 120), ({"course_steps": 30}, 70), ({"course_steps": None}, None)],
)
def test_a_restart_begins_the_whole_plan_again(tmp_path: Path, changes: dict[str, Any], planned: int | None) -> None:
    run = RunFolder(tmp_path / "run")
    run.start(**changes)
    restart = INTERVENTION | {"remedy": "restart", "action": "restart"}
    run.journal.write("intervention", 40, **restart, advice=True)
    assert JournalState.load(run.path).planned_steps == 100
    run.journal.write("intervention", 40, **restart)
    assert JournalState.load(run.path).planned_steps == planned
