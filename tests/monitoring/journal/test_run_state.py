"""What a journal tells: series, phases, interventions and what became of them; what was undone is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from commands.run.resume import Kind
from monitoring.journal.run_state import MOST_POINTS, STARTS, JournalState, Series
from tests.monitoring.journals import FOLLOW_UP, INTERVENTION, RunFolder, sick_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.start()
    return run


def test_a_whole_run_is_told(tmp_path: Path) -> None:
    state = JournalState.load(sick_run(tmp_path / "run").path)
    assert state.name == "run" and state.step == 60 and state.is_over
    assert state.phases == [(0, "pre_alignment"), (20, "alignment")]
    assert state.series["total_loss"].all()[-1] == (60, 10 / 60)
    assert [told["step"] for told in state.evaluations] == [20, 60]
    assert state.best_evaluation is not None and state.best_evaluation["step"] == 60
    assert state.latest_signals["composite_tts_score"] == 0.7
    (entry,) = state.interventions
    assert (entry.number, entry.step, entry.by, entry.verdict) == (1, 40, "supervisor", "helped")


def test_a_resumed_run_forgets_what_will_happen_anew(run: RunFolder) -> None:
    run.steps(1, 40)
    run.evaluation(30)
    run.journal.write("intervention", 35, **INTERVENTION)
    run.journal.write("intervention", 36, **INTERVENTION | {"by": "watchdog"})
    run.finish(40, "interrupted", "SIGINT")
    run.start("resumed", 20)
    state = JournalState.load(run.path)
    assert not state.is_over and state.step == 20
    assert state.series["total_loss"].all()[-1][0] == 20
    assert state.evaluations == []
    assert [entry.by for entry in state.interventions] == ["watchdog"]


def test_a_rollback_forgets_the_curves_and_keeps_what_was_done(run: RunFolder) -> None:
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
    assert state.series["total_loss"].all()[-1][0] == 20


def test_a_rollback_that_was_not_possible_changes_nothing(run: RunFolder) -> None:
    run.steps(1, 40)
    run.journal.write("rolled_back", 40, to=None, wanted_step=20, problems=["gone"])
    assert JournalState.load(run.path).step == 40


@pytest.mark.parametrize(("verdict", "loss"), [("helped", 2.0), ("no_effect", 3.0)])
def test_of_a_race_the_winner_is_the_run(run: RunFolder, verdict: str, loss: float) -> None:
    run.steps(1, 40)
    run.journal.write("intervention", 30, **INTERVENTION)
    run.race(40, from_step=20, verdict=verdict)
    state = JournalState.load(run.path)
    assert state.step == 22
    assert state.series["total_loss"].all()[-2:] == [(21, loss), (22, loss)]
    assert state.latest_signals["stop_rate"] == (1.0 if verdict == "helped" else 0.5)
    assert state.interventions[0].verdict == verdict


def test_a_follow_up_belongs_to_the_latest_such_intervention(run: RunFolder) -> None:
    run.journal.write("intervention", 10, **INTERVENTION)
    run.journal.write("intervention", 20, **INTERVENTION | {"remedy": "roll_back"})
    run.journal.write("follow_up", 30, **FOLLOW_UP)
    assert [entry.verdict for entry in JournalState.load(run.path).interventions] == ["helped", None]


def test_a_knob_on_its_way_is_no_intervention_of_its_own(run: RunFolder) -> None:
    fields = {"knob": "guide_sigma", "from": 0.4, "to": 0.3, "on_the_way_to": 0.2}
    run.journal.write("intervention", 10, **fields)
    assert JournalState.load(run.path).interventions == []


def test_a_series_stays_small_and_keeps_its_shape() -> None:
    series = Series()
    for step in range(1, 10 * MOST_POINTS + 1):
        series.add(step, float(step))
    points = series.all()
    assert len(points) <= MOST_POINTS + 1
    assert points[-1][0] == 10 * MOST_POINTS
    assert all(abs(value - step) <= 16 for step, value in points)
    series.forget_after(5 * MOST_POINTS)
    assert series.all()[-1][0] <= 5 * MOST_POINTS


def test_a_signal_without_a_value_is_a_gap() -> None:
    series = Series()
    series.add(1, 1.0)
    series.add(2, None)
    series.add(3, 3.0)
    assert series.all() == [(1, 1.0), (3, 3.0)]


@pytest.mark.parametrize("kind", STARTS)
def test_however_a_session_begins_it_says_what_the_run_is_made_of(tmp_path: Path, kind: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.start(kind)
    state = JournalState.load(run.path)
    assert state.start is not None and state.planned_steps == 100


def test_every_kind_of_start_is_known() -> None:
    assert set(STARTS) == set(get_args(Kind))


def numbers(run: RunFolder) -> list[tuple[int, int, str | None]]:
    return [(entry.number, entry.step, entry.verdict) for entry in JournalState.load(run.path).interventions]


ROLL_BACK = INTERVENTION | {"remedy": "roll_back_slower", "action": "roll_back", "to_step": 60}


def rolled_back(run: RunFolder) -> None:
    """An intervention at step 40 that helped, and one at step 90 that leads back to step 60."""
    run.journal.write("intervention", 40, **INTERVENTION)
    run.steps(1, 60)
    run.journal.write("follow_up", 60, **FOLLOW_UP)
    run.checkpoint(60)
    run.steps(61, 90)
    run.journal.write("intervention", 90, **ROLL_BACK)
    run.journal.write("rolled_back", 60, wanted_step=60, to=60, problems=[])
    run.checkpoint(60)


def test_what_was_done_before_a_rollback_outlasts_a_resume(run: RunFolder) -> None:
    rolled_back(run)
    run.steps(61, 80)
    run.checkpoint(80)
    run.start("resumed", 80)
    run.journal.write("follow_up", 80, **FOLLOW_UP | {"remedy": "roll_back_slower", "verdict": "harmful"})
    assert numbers(run) == [(1, 40, "helped"), (2, 90, "harmful")]


def test_what_came_after_the_checkpoint_is_undone_with_its_verdicts_and_numbers_go_on(run: RunFolder) -> None:
    run.journal.write("intervention", 20, **INTERVENTION)
    run.checkpoint(30)
    run.journal.write("follow_up", 40, **FOLLOW_UP)
    run.journal.write("intervention", 40, **INTERVENTION)
    run.journal.write("intervention", 40, remedy="restart_process", from_checkpoint=30, by="watchdog")
    run.start("resumed", 30)
    run.journal.write("intervention", 45, **INTERVENTION)
    assert numbers(run) == [(1, 20, None), (3, 40, None), (4, 45, None)]


def test_a_checkpoint_that_is_gone_is_not_remembered(run: RunFolder) -> None:
    """Its step may be reached again after going back, by another way."""
    run.checkpoint(80)
    run.journal.write("intervention", 90, **ROLL_BACK)
    run.journal.write("rolled_back", 60, wanted_step=60, to=60, problems=[])
    run.checkpoint(60)
    run.start("resumed", 80)
    assert [number for number, *_ in numbers(run)] == []
    assert JournalState.load(run.path)._saved.keys() == {60}


def test_what_was_undone_is_not_the_latest(run: RunFolder) -> None:
    run.steps(1, 20)
    run.evaluation(20, 0.3)
    run.steps(21, 60)
    run.evaluation(60, 0.9)
    run.journal.write("rolled_back", 20, wanted_step=20, to=20, problems=[])
    latest = JournalState.load(run.path).latest_signals
    assert (latest["composite_tts_score"], latest["total_loss"]) == (0.3, 0.5)


def told_at(*seconds_and_steps: tuple[float, int]) -> JournalState:
    """Blocks of steps by the clock."""
    state = JournalState("run", planned_steps=1000)
    for seconds, step in seconds_and_steps:
        time = datetime.fromtimestamp(1e9 + seconds, UTC).isoformat()
        signals: dict[str, Any] = {"total_loss": [1.0]}
        state.apply({"kind": "steps", "step": step, "steps": [step], "signals": signals, "time": time})
    return state


def test_the_time_left_is_by_the_pace_of_late() -> None:
    assert told_at((0, 20), (10, 40), (20, 60)).seconds_left == pytest.approx(470)


def test_a_pause_does_not_belong_to_the_pace() -> None:
    assert told_at((0, 20), (10, 40), (20, 60), (30_000, 80)).seconds_left == pytest.approx(460)


@pytest.mark.parametrize("seconds", [0.0, -3600.0])
def test_a_clock_that_stands_or_goes_back_tells_no_time(seconds: float) -> None:
    assert told_at((0, 20), (seconds, 40)).seconds_left is None


@pytest.mark.parametrize(
    ("changes", "planned"),
    [({}, 140), ({"most_steps": 120}, 120), ({"course_steps": 30}, 70), ({"course_steps": None}, None)],
)
def test_after_a_new_start_the_whole_way_lies_ahead(
    tmp_path: Path, changes: dict[str, Any], planned: int | None
) -> None:
    run = RunFolder(tmp_path / "run")
    run.start(**changes)
    told = INTERVENTION | {"remedy": "restart", "action": "restart"}
    run.journal.write("intervention", 40, **told, advice=True)
    assert JournalState.load(run.path).planned_steps == 100
    run.journal.write("intervention", 40, **told)
    assert JournalState.load(run.path).planned_steps == planned
