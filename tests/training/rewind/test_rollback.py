"""Rollbacks to a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.checkpoint_file import load_checkpoint
from reports import CheckpointReport, RollbackReport, TrainerOrder
from speech.voice import load_voice
from tests.support.tiny import tiny_data, tiny_hparams
from tests.training.orders import (
    ALL_SAVED,
    OrderingObserver,
    comparable_state,
    differences,
    remove_volatile,
    resume,
    saved_path,
    saved_steps,
    train_with_orders,
    trainer_with_orders,
    truncate,
)
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits


def test_rollback_without_skipping_repeats_the_same_steps_exactly(tmp_path: Path) -> None:
    trainer, observer = train_with_orders(tmp_path, {6: [TrainerOrder("roll_back", step=4)]}, max_steps=7)
    assert [r.step for r in observer.steps] == [1, 2, 3, 4, 5, 6, 5, 6, 7]
    assert observer.losses[4:6] == observer.losses[6:8] and observer.ids[4:6] == observer.ids[6:8]
    reference, expected = train_with_orders(tmp_path / "reference", max_steps=7)
    assert expected.losses == observer.losses[:6] + observer.losses[8:]
    assert differences(comparable_state(trainer), comparable_state(reference)) == []


def test_rollback_restores_everything_except_the_time(tmp_path: Path) -> None:
    hparams = tiny_hparams(**ALL_SAVED, warmup_steps=2)
    orders = {
        3: [TrainerOrder("turn", {"guide_sigma": 0.2}), TrainerOrder("reset_moments", n_steps=3)],
        5: [TrainerOrder("turn", {"guide_sigma": 0.9}), TrainerOrder("enter_phase", targets={"hold_schedules": 1.0})],
        8: [TrainerOrder("roll_back", step=4)],
    }
    trainer, observer = train_with_orders(tmp_path, orders, hparams=hparams, max_steps=7)
    seconds, before = trainer.state.progress.seconds, load_checkpoint(saved_path(trainer, 4))
    trainer.fit(RunLimits(max_steps=8))
    after = load_checkpoint(saved_path(trainer, 4))
    assert after["progress"]["seconds"] > seconds > before["progress"]["seconds"]
    assert differences(remove_volatile(after), remove_volatile(before)) == []
    assert after["knobs"]["guide_sigma"] == 0.2 and after["clock"]["warm_from_step"] == 3
    assert [r.step for r in observer.steps[8:]] == [5, 6, 7, 8]


def test_later_checkpoints_are_removed_and_the_new_state_is_saved_after_the_report(tmp_path: Path) -> None:
    trainer, observer = train_with_orders(
        tmp_path, {6: [TrainerOrder("roll_back", {"learning_rate_multiplier": 0.5}, step=3)]}, max_steps=5
    )
    assert saved_steps(trainer) == [1, 2, 3, 4, 5]
    trainer.fit(RunLimits(max_steps=6))
    assert observer.rollbacks == [RollbackReport(3, 3, ())]
    after = observer.events[observer.events.index("rollback to 3") :]
    assert after[:4] == ["rollback to 3", "before checkpoint", "after checkpoint", "step 4"]
    assert saved_steps(trainer) == [1, 2, 3, 4, 5, 6]
    assert load_checkpoint(saved_path(trainer, 3))["knobs"]["learning_rate_multiplier"] == 0.5
    assert [r.learning_rate for r in observer.steps[-3:]] == pytest.approx([0.5e-2] * 3)


def test_skipped_batches_are_left_out_of_their_epoch(tmp_path: Path) -> None:
    _, observer = train_with_orders(tmp_path, {5: [TrainerOrder("roll_back", step=3, skip_since=4)]}, max_steps=7)
    assert [(r.step, r.epoch) for r in observer.steps[3:]] == [(4, 1), (5, 1), (4, 1), (5, 2), (6, 2), (7, 2)]
    skipped = {id_ for ids in observer.ids[3:5] for id_ in ids}
    assert set(observer.ids[5]).isdisjoint(skipped)
    assert {id_ for ids in observer.ids[6:9] for id_ in ids} >= skipped


def test_skipped_batches_stay_left_out_after_a_kill(tmp_path: Path) -> None:
    order = TrainerOrder("roll_back", step=3, skip_since=4)
    uninterrupted, expected = train_with_orders(tmp_path / "uninterrupted", {5: [order]}, max_steps=7)
    limits = RunLimits()

    class Killed(OrderingObserver):
        def on_rollback(self, report: RollbackReport) -> None:
            super().on_rollback(report)
            limits.request_stop("SIGTERM")

    trainer, _ = trainer_with_orders(tmp_path / "killed", observer=Killed({5: [order]}))
    trainer.fit(limits)
    assert saved_steps(trainer) == [1, 2, 3]
    resumed, observer = train_with_orders(tmp_path / "killed", start=saved_path(trainer, 3), max_steps=7)
    assert observer.ids == expected.ids[5:] and observer.losses == expected.losses[5:]
    assert differences(comparable_state(resumed), comparable_state(uninterrupted)) == []


def test_batches_trained_before_a_kill_can_be_skipped_after_it(tmp_path: Path) -> None:
    first, _ = train_with_orders(tmp_path, max_steps=5)
    trainer, observer = train_with_orders(
        tmp_path, {6: [TrainerOrder("roll_back", step=3, skip_since=4)]}, start=saved_path(first, 5), max_steps=6
    )
    assert [(r.step, r.epoch) for r in observer.steps] == [(6, 1), (4, 2), (5, 2), (6, 2)]
    assert trainer.state.data.train.skipped_batches == {(1, 0), (1, 1), (1, 2)}


def test_only_batches_trained_since_the_last_rollback_are_skipped(tmp_path: Path) -> None:
    """Steps that an earlier rollback has undone do not count."""
    trainer, observer = train_with_orders(tmp_path, max_steps=8)
    observer.after_step |= {
        9: [TrainerOrder("roll_back", step=3)],
        4: [TrainerOrder("roll_back", step=3, skip_since=4)],
    }
    trainer.fit(RunLimits(max_steps=9))
    assert [r.step for r in observer.steps[8:]] == [9, 4, 4, 5, 6, 7, 8, 9]
    assert trainer.state.data.train.skipped_batches == {(1, 0)}


def test_skipped_batches_are_dropped_with_other_data(tmp_path: Path) -> None:
    trainer, _ = train_with_orders(tmp_path, {5: [TrainerOrder("roll_back", step=3, skip_since=4)]}, max_steps=5)
    same, _ = trainer_with_orders(tmp_path / "same")
    resume(same, saved_path(trainer, 5))
    assert same.state.data.train.skipped_batches == {(1, 0), (1, 1)}
    hparams = tiny_hparams(**ALL_SAVED)
    other, _ = trainer_with_orders(tmp_path / "other", data=tiny_data(hparams, fingerprint="other"))
    resume(other, saved_path(trainer, 5))
    assert other.state.data.train.skipped_batches == set() and comparable_state(other)["steering"]["places"] == []


def test_damaged_checkpoint_is_reported_and_the_previous_one_is_used(tmp_path: Path) -> None:
    trainer, observer = train_with_orders(tmp_path, max_steps=5)
    truncate(saved_path(trainer, 4))
    observer.after_step[6] = [TrainerOrder("roll_back", step=4)]
    trainer.fit(RunLimits(max_steps=6))
    (report,) = observer.rollbacks
    assert (report.wanted_step, report.step) == (4, 3)
    assert len(report.problems) == 1 and "step-00000004" in report.problems[0] and "damaged" in report.problems[0]
    assert [r.step for r in observer.steps] == [1, 2, 3, 4, 5, 6, 4, 5, 6]
    usable = [load_checkpoint(c.path)["progress"]["step"] for c in list_checkpoints(tmp_path / "checkpoints")]
    assert usable == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kind", ["none", "all damaged", "too early"])
def test_training_continues_unchanged_without_a_usable_checkpoint(tmp_path: Path, kind: str) -> None:
    hparams = tiny_hparams(iters_per_evaluation=1000, iters_per_checkpoint=1000 if kind == "none" else 2)
    reference, expected = train_with_orders(tmp_path / "reference", hparams=hparams, max_steps=6)
    trainer, observer = train_with_orders(tmp_path / "trained", hparams=hparams, max_steps=3)
    if kind != "too early":
        for checkpoint in list_checkpoints(trainer.state.folder / "checkpoints"):
            truncate(checkpoint.path)
    order = TrainerOrder("roll_back", {"guide_sigma": 0.1}, step=1 if kind == "too early" else 3, skip_since=2)
    observer.after_step[4] = [order]
    trainer.fit(RunLimits(max_steps=6))
    assert [report.step for report in observer.rollbacks] == [None] and observer.rollbacks[0].problems
    assert observer.losses == expected.losses and observer.ids == expected.ids
    assert trainer.state.data.train.skipped_batches == set()
    paths = differences(comparable_state(trainer), comparable_state(reference))
    assert [path for path in paths if not path.startswith("/progress/evaluated_step")] == []


def test_best_checkpoint_after_the_rollback_step_is_no_longer_the_best(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=1, keep_checkpoints=2)
    observer = OrderingObserver({6: [TrainerOrder("roll_back", step=4)]}, scores={2: 0.3, 5: 0.9, 6: 0.2, 7: 0.1})
    trainer, _ = train_with_orders(tmp_path, hparams=hparams, observer=observer, max_steps=5)
    assert (trainer.state.progress.best_step, saved_steps(trainer)) == (5, [4, 5])
    observer.scores[5] = 0.05
    trainer.fit(RunLimits(max_steps=7))
    assert (trainer.state.progress.best_step, trainer.state.progress.best_score) == (6, 0.2)
    assert load_voice(trainer.write_voice()).step == 6


def test_best_checkpoint_before_the_rollback_step_stays_the_best(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=2, keep_checkpoints=9)
    observer = OrderingObserver({5: [TrainerOrder("roll_back", step=4)]}, scores={2: 0.5, 4: 0.4, 6: 0.3})
    trainer, _ = train_with_orders(tmp_path, hparams=hparams, observer=observer, max_steps=6)
    assert (trainer.state.progress.best_step, trainer.state.progress.best_score) == (2, 0.5)
    assert load_voice(tmp_path / "voice.safetensors").step == 2


def test_rollback_does_not_undo_settings_changed_in_the_recipe(tmp_path: Path) -> None:
    first, _ = trainer_with_orders(tmp_path, hparams=tiny_hparams(**ALL_SAVED, gate_threshold=0.99, guide_sigma=0.3))
    first.state.turn_knobs({"guide_sigma": 0.5})
    first.fit(RunLimits(max_steps=2))
    hparams = tiny_hparams(**ALL_SAVED, gate_threshold=0.4, guide_sigma=0.3)
    trainer, observer = trainer_with_orders(tmp_path, {3: [TrainerOrder("roll_back", step=1)]}, hparams=hparams)
    resume(trainer, saved_path(first, 2))
    trainer.state.turn_knobs({"guide_sigma": 0.6})
    trainer.fit(RunLimits(max_steps=3))
    assert [report.step for report in observer.rollbacks] == [1]
    assert (trainer.state.knobs.gate_threshold, trainer.state.knobs.guide_sigma) == (0.4, 0.5)


def test_rollback_cancels_the_repetition_of_an_undone_step(tmp_path: Path) -> None:
    orders = {5: [TrainerOrder("rerun_step"), TrainerOrder("roll_back", step=3)]}
    _, observer = train_with_orders(tmp_path, orders, max_steps=6)
    assert observer.ids[3:5] == observer.ids[5:7] and len(observer.ids) == 8


def test_pending_order_is_executed_after_a_resume(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=4, keep_checkpoints=99)
    orders = {4: [TrainerOrder("roll_back", step=2, skip_since=3)]}
    scores: dict[int, float | None] = {4: 0.5}
    expected = OrderingObserver({}, after_evaluation=orders, scores=scores)
    uninterrupted, _ = train_with_orders(tmp_path / "uninterrupted", hparams=hparams, observer=expected, max_steps=8)
    limits = RunLimits()

    class Killed(OrderingObserver):
        def on_checkpoint(self, report: CheckpointReport) -> None:
            super().on_checkpoint(report)
            if report.step == 4:
                limits.request_stop("SIGTERM")

    killed = Killed({}, after_evaluation=orders, scores=scores)
    trainer, _ = trainer_with_orders(tmp_path / "killed", hparams=hparams, observer=killed)
    assert trainer.fit(limits) == "SIGTERM"
    assert killed.rollbacks == [] and saved_steps(trainer) == [1, 2, 3, 4]
    last = OrderingObserver({}, scores=scores)
    resumed, _ = train_with_orders(
        tmp_path / "killed", hparams=hparams, observer=last, start=saved_path(trainer, 4), max_steps=8
    )
    assert [report.step for report in last.rollbacks] == [report.step for report in expected.rollbacks] == [2]
    assert last.losses == expected.losses[4:]
    assert differences(comparable_state(resumed), comparable_state(uninterrupted)) == []
