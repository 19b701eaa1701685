"""Trial of what a rollback or restart left: trained on for some steps, then kept or dropped."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from files import write_atomically
from hparams import UserError
from models.checkpoint_file import load_checkpoint
from reports import TrainerOrder
from tests.support.tiny import tiny_hparams
from tests.training.orders import (
    ALL_SAVED,
    OrderingObserver,
    comparable_state,
    differences,
    resume,
    saved_path,
    saved_steps,
    train_with_orders,
    trainer_with_orders,
    truncate,
)
from training.checkpoints.checkpoint import ABANDONED_FILE, load_abandoned, save_abandoned
from training.checkpoints.json_files import apply_amendments
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

MOVES = {
    "roll_back": TrainerOrder("roll_back", step=4, skip_since=6, knobs={"guide_sigma": 0.8}),
    "restart": TrainerOrder("restart", knobs={"guide_sigma": 0.8}),
    "restart with another shape": TrainerOrder("restart", hparams={"n_frames_per_step": 2}),
}
LEFT_AT, TRIED_AFTER = 7, 10
TRIAL = TrainerOrder("try_abandoned", step=LEFT_AT, n_steps=3)


def run(
    folder: Path, move: TrainerOrder, *, returns: bool, trial: TrainerOrder = TRIAL, steps: int = 13
) -> tuple[EnhancedTrainer, OrderingObserver]:
    """Move after step 7, try what was left after ten steps in all."""
    observer = OrderingObserver({LEFT_AT: [move], TRIED_AFTER: [trial]})
    observer.returns = returns
    return train_with_orders(folder, observer=observer, max_steps=steps)


def without_counts(trainer: EnhancedTrainer) -> dict[str, Any]:
    state = comparable_state(trainer)
    for name in ("evaluated_step", "best_step", "best_score", "recent_scores"):
        del state["progress"][name]
    return state


@pytest.mark.parametrize("name", MOVES)
def test_what_was_left_goes_on_exactly_as_if_it_had_not_been_left(name: str, tmp_path: Path) -> None:
    undisturbed, _ = train_with_orders(tmp_path / "undisturbed", max_steps=LEFT_AT + TRIAL.n_steps)
    trainer, observer = run(tmp_path / "returned", MOVES[name], returns=True, steps=LEFT_AT + TRIAL.n_steps)
    (report,) = observer.abandoned
    assert report.start_step == LEFT_AT and report.arm is not None
    assert [step.step for step in report.arm.steps] == [8, 9, 10]
    state, expected = without_counts(trainer), without_counts(undisturbed)
    del state["left_out"], expected["left_out"]  # data skipped by the rollback stay skipped
    assert differences(state, expected) == []
    assert trainer.state.hparams == undisturbed.state.hparams


@pytest.mark.parametrize("name", MOVES)
def test_what_came_of_the_move_goes_on_undisturbed_by_the_trial(name: str, tmp_path: Path) -> None:
    undisturbed, _ = train_with_orders(tmp_path / "undisturbed", {LEFT_AT: [MOVES[name]]}, max_steps=13)
    trainer, observer = run(tmp_path / "tried", MOVES[name], returns=False)
    assert len(observer.abandoned) == 1
    assert differences(without_counts(trainer), without_counts(undisturbed)) == []
    assert trainer.state.hparams == undisturbed.state.hparams


@pytest.mark.parametrize("name", ["restart", "roll_back"])
def test_after_a_return_no_checkpoint_of_what_came_instead_is_left(name: str, tmp_path: Path) -> None:
    undisturbed, _ = train_with_orders(tmp_path / "undisturbed", max_steps=LEFT_AT + TRIAL.n_steps)
    trainer, _ = run(tmp_path / "returned", MOVES[name], returns=True, steps=LEFT_AT + TRIAL.n_steps)
    assert saved_steps(trainer)[-1] == LEFT_AT + TRIAL.n_steps
    assert trainer.state.clock.origin_step == 0
    for step in {*saved_steps(trainer)} & {*saved_steps(undisturbed)}:
        ours, theirs = (load_checkpoint(saved_path(t, step))["model"] for t in (trainer, undisturbed))
        assert differences(ours, theirs) == []


def test_a_setting_that_a_resume_changed_meanwhile_stays(tmp_path: Path) -> None:
    move = MOVES["restart with another shape"]
    trainer, _ = train_with_orders(tmp_path, {LEFT_AT: [move]}, max_steps=9)
    save_abandoned(tmp_path / "checkpoints", state_at_step_7(tmp_path / "source"))  # as a killed process leaves it
    hparams = trainer.state.hparams.model_copy(update={"gate_loss_weight": 3.0})
    resumed, observer = trainer_with_orders(tmp_path, {10: [TRIAL]}, hparams=hparams)
    observer.returns = True
    resume(resumed, saved_path(trainer, 9))
    resumed.fit(RunLimits(max_steps=10))
    assert observer.abandoned[0].arm is not None
    frames = tiny_hparams(**ALL_SAVED).n_frames_per_step
    assert (resumed.state.hparams.gate_loss_weight, resumed.state.hparams.n_frames_per_step) == (3.0, frames)
    assert apply_amendments(tmp_path, hparams).n_frames_per_step == frames


def state_at_step_7(folder: Path) -> dict[str, Any]:
    """The abandoned state of the same training before its restart."""
    source, _ = train_with_orders(folder, max_steps=LEFT_AT)
    former = {"n_frames_per_step": source.state.hparams.n_frames_per_step}
    content = {name: value for name, value in source.state.state_dict().items() if name != "watcher"}
    return content | {"former": former, "phase_plan": {}, "undone_from": LEFT_AT}


def test_the_trial_runs_under_the_phase_that_was_left(tmp_path: Path) -> None:
    slow = TrainerOrder("enter_phase", targets={"learning_rate_share": 0.1})
    _, expected = train_with_orders(tmp_path / "undisturbed", max_steps=LEFT_AT + TRIAL.n_steps)
    observer = OrderingObserver({LEFT_AT: [MOVES["restart"], slow], TRIED_AFTER: [TRIAL]})  # as the supervisor orders
    trainer, _ = train_with_orders(tmp_path / "tried", observer=observer, max_steps=13)
    (report,) = observer.abandoned
    assert report.arm is not None
    assert [s.learning_rate for s in report.arm.steps] == [s.learning_rate for s in expected.steps[LEFT_AT:]]
    assert trainer.state.phase_plan.learning_rate_share == 0.1


def test_a_full_disk_has_the_abandoned_state_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = train_with_orders(tmp_path, max_steps=2)
    folder = tmp_path / "checkpoints"
    save_abandoned(folder, {"progress": {"step": 2}})

    def full(path: Path, content: Any) -> None:
        if (folder / ABANDONED_FILE).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, content)

    monkeypatch.setattr("training.checkpoints.checkpoint.write_atomically", full)
    trainer.state.progress.step = 3
    trainer.state.save()
    assert saved_steps(trainer)[-1] == 3 and not (folder / ABANDONED_FILE).exists()


def test_nothing_is_kept_once_training_is_over_but_a_limit_of_steps_may_be_raised(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints" / ABANDONED_FILE
    trainer, _ = train_with_orders(tmp_path, {LEFT_AT: [MOVES["restart"]]}, max_steps=9)
    assert file.exists()
    trainer.state.hparams = trainer.state.hparams.model_copy(update={"epochs": trainer.state.progress.epoch + 1})
    assert trainer.fit(RunLimits(max_steps=1000)) == "epochs"
    assert not file.exists()


def test_what_is_missing_or_of_another_step_cannot_be_tried(tmp_path: Path) -> None:
    trainer, observer = run(tmp_path, MOVES["restart"], returns=True, trial=TrainerOrder("try_abandoned", step=6))
    (report,) = observer.abandoned
    assert report.arm is None and "expected the state abandoned at step 6" in report.problem
    assert trainer.state.clock.origin_step == LEFT_AT
    with pytest.raises(UserError):
        load_abandoned(tmp_path / "nowhere", 6, fingerprint="")


def test_a_rollback_to_an_earlier_checkpoint_than_ordered_is_not_returned_from(tmp_path: Path) -> None:
    trainer, _ = train_with_orders(tmp_path / "tried", max_steps=LEFT_AT)
    truncate(saved_path(trainer, LEFT_AT - 1))
    trainer.control.execute(TrainerOrder("roll_back", step=LEFT_AT - 1))
    trainer.fit(RunLimits(max_steps=LEFT_AT))
    assert not (tmp_path / "tried" / "checkpoints" / ABANDONED_FILE).exists()


def test_a_stop_during_the_trial_leaves_the_order_for_the_resume(tmp_path: Path) -> None:
    class StoppedObserver(OrderingObserver):
        def on_race_step(self) -> None:
            super().on_race_step()
            assert self.trainer is not None
            self.trainer.state.limits.request_stop("SIGTERM")

    observer = StoppedObserver({LEFT_AT: [MOVES["restart"]], TRIED_AFTER: [TRIAL]})
    trainer, _ = trainer_with_orders(tmp_path, observer=observer)
    assert trainer.fit(RunLimits(max_steps=13)) == "SIGTERM" and observer.abandoned == []
    resumed, later = trainer_with_orders(tmp_path)
    resume(resumed, max((tmp_path / "checkpoints").glob("step-*.pt")))
    resumed.fit(RunLimits(max_steps=13))
    assert len(later.abandoned) == 1 and later.abandoned[0].arm is not None


def test_a_full_disk_keeps_nothing_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(path: Path, content: Any) -> None:
        if path.name == ABANDONED_FILE:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, content)

    monkeypatch.setattr("training.checkpoints.checkpoint.write_atomically", full)
    trainer, observer = run(tmp_path, MOVES["restart"], returns=True)
    assert observer.abandoned[0].arm is None and trainer.state.progress.step == 13
