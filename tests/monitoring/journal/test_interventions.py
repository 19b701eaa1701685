"""Interventions and follow-ups after rollbacks and resumes."""

from __future__ import annotations

from monitoring.journal.journal_state import JournalState
from tests.monitoring.journals import FOLLOW_UP, INTERVENTION, RunFolder

ROLL_BACK = INTERVENTION | {"remedy": "roll_back_slower", "action": "roll_back", "to_step": 60}


def load_interventions(run: RunFolder) -> list[tuple[int, int, str | None]]:
    """Number, step and verdict of each."""
    return [(entry.number, entry.step, entry.verdict) for entry in JournalState.load(run.path).interventions]


def write_rollback(run: RunFolder) -> None:
    """An intervention at step 40 that helped, and one at step 90 that goes back to step 60."""
    run.journal.write("intervention", 40, **INTERVENTION)
    run.steps(1, 60)
    run.journal.write("follow_up", 60, **FOLLOW_UP)
    run.checkpoint(60)
    run.steps(61, 90)
    run.journal.write("intervention", 90, **ROLL_BACK)
    run.journal.write("rolled_back", 60, wanted_step=60, to=60, problems=[])
    run.checkpoint(60)


def test_a_follow_up_belongs_to_the_newest_intervention_with_its_remedy(run: RunFolder) -> None:
    run.journal.write("intervention", 10, **INTERVENTION)
    run.journal.write("intervention", 20, **INTERVENTION | {"remedy": "roll_back"})
    run.journal.write("follow_up", 30, **FOLLOW_UP)
    assert load_interventions(run) == [(1, 10, "helped"), (2, 20, None)]


def test_a_partial_move_of_a_knob_is_not_counted(run: RunFolder) -> None:
    fields = {"knob": "guide_sigma", "from": 0.4, "to": 0.3, "on_the_way_to": 0.2}
    run.journal.write("intervention", 10, **fields)
    assert load_interventions(run) == []


def test_interventions_before_a_rollback_survive_a_later_resume(run: RunFolder) -> None:
    write_rollback(run)
    run.steps(61, 80)
    run.checkpoint(80)
    run.start("resumed", 80)
    run.journal.write("follow_up", 80, **FOLLOW_UP | {"remedy": "roll_back_slower", "verdict": "harmful"})
    assert load_interventions(run) == [(1, 40, "helped"), (2, 90, "harmful")]


def test_a_resume_undoes_what_is_later_than_its_checkpoint_and_numbers_go_on(run: RunFolder) -> None:
    run.journal.write("intervention", 20, **INTERVENTION)
    run.checkpoint(30)
    run.journal.write("follow_up", 40, **FOLLOW_UP)
    run.journal.write("intervention", 40, **INTERVENTION)
    run.journal.write("intervention", 40, remedy="restart_process", from_checkpoint=30, by="watchdog")
    run.start("resumed", 30)
    run.journal.write("intervention", 45, **INTERVENTION)
    assert load_interventions(run) == [(1, 20, None), (3, 40, None), (4, 45, None)]


def test_snapshots_of_deleted_checkpoints_are_dropped(run: RunFolder) -> None:
    """After a rollback their step may be reached again with other interventions."""
    run.checkpoint(80)
    run.journal.write("intervention", 90, **ROLL_BACK)
    run.journal.write("rolled_back", 60, wanted_step=60, to=60, problems=[])
    run.checkpoint(60)
    run.start("resumed", 80)
    assert load_interventions(run) == []
    assert JournalState.load(run.path)._log._snapshots.keys() == {60}
