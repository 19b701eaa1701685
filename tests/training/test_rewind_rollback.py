"""Going back to a checkpoint, and starting over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.checkpoint_file import load_checkpoint
from reports import CheckpointReport, RollbackReport, TrainerOrder
from speech.voice import load_voice
from tests.tiny import tacotron, tiny_data, tiny_hparams
from tests.training.steered import (
    ALL_SAVED,
    SteeringObserver,
    comparable,
    differences,
    resume,
    ruin,
    saved_path,
    saved_steps,
    state_of,
    steered,
)
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits
from training.schedule import ScheduleClock


def test_without_skipping_the_same_steps_are_trained_again_bit_by_bit(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path, {6: [TrainerOrder("roll_back", step=4)]})
    trainer.fit(RunLimits(max_steps=7))
    assert [r.step for r in observer.steps] == [1, 2, 3, 4, 5, 6, 5, 6, 7]
    assert observer.losses[4:6] == observer.losses[6:8] and observer.ids[4:6] == observer.ids[6:8]
    straight, watched = steered(tmp_path / "straight")
    straight.fit(RunLimits(max_steps=7))
    assert watched.losses == observer.losses[:6] + observer.losses[8:]
    assert differences(state_of(trainer), state_of(straight)) == []


def test_going_back_restores_all_but_the_time(tmp_path: Path) -> None:
    hparams = tiny_hparams(**ALL_SAVED, warmup_steps=2)
    orders = {
        3: [TrainerOrder("turn", {"guide_sigma": 0.2}), TrainerOrder("reset_moments", n_steps=3)],
        5: [TrainerOrder("turn", {"guide_sigma": 0.9}), TrainerOrder("enter_phase", targets={"hold_schedules": 1.0})],
        8: [TrainerOrder("roll_back", step=4)],
    }
    trainer, observer = steered(tmp_path, orders, hparams=hparams)
    trainer.fit(RunLimits(max_steps=7))
    seconds, before = trainer.state.progress.seconds, load_checkpoint(saved_path(trainer, 4))
    trainer.fit(RunLimits(max_steps=8))
    after = load_checkpoint(saved_path(trainer, 4))
    assert after["progress"]["seconds"] > seconds > before["progress"]["seconds"]
    assert differences(comparable(after), comparable(before)) == []
    assert after["knobs"]["guide_sigma"] == 0.2 and after["clock"]["warm_from_step"] == 3
    assert [r.step for r in observer.steps[8:]] == [5, 6, 7, 8]


def test_later_checkpoints_are_gone_and_the_new_state_is_saved_after_all_were_told(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path, {6: [TrainerOrder("roll_back", {"learning_rate_multiplier": 0.5}, step=3)]})
    trainer.fit(RunLimits(max_steps=5))
    assert saved_steps(trainer) == [1, 2, 3, 4, 5]
    trainer.fit(RunLimits(max_steps=6))
    assert observer.rollbacks == [RollbackReport(3, 3, ())]
    after = observer.events[observer.events.index("rollback to 3") :]
    assert after[:4] == ["rollback to 3", "before checkpoint", "after checkpoint", "step 4"]
    assert saved_steps(trainer) == [1, 2, 3, 4, 5, 6]
    assert load_checkpoint(saved_path(trainer, 3))["knobs"]["learning_rate_multiplier"] == 0.5
    assert [r.learning_rate for r in observer.steps[-3:]] == pytest.approx([0.5e-2] * 3)


def test_skipped_batches_are_not_met_again_in_their_epoch(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path, {5: [TrainerOrder("roll_back", step=3, skip_since=4)]})
    trainer.fit(RunLimits(max_steps=7))
    assert [(r.step, r.epoch) for r in observer.steps[3:]] == [(4, 1), (5, 1), (4, 1), (5, 2), (6, 2), (7, 2)]
    bad = {id_ for ids in observer.ids[3:5] for id_ in ids}
    assert set(observer.ids[5]).isdisjoint(bad)
    assert {id_ for ids in observer.ids[6:9] for id_ in ids} >= bad


def test_they_are_not_met_after_a_kill_either(tmp_path: Path) -> None:
    order = TrainerOrder("roll_back", step=3, skip_since=4)
    whole, watched = steered(tmp_path / "whole", {5: [order]})
    whole.fit(RunLimits(max_steps=7))
    limits = RunLimits()

    class Killed(SteeringObserver):
        def on_rollback(self, report: RollbackReport) -> None:
            super().on_rollback(report)
            limits.stop = "SIGTERM"

    trainer, _ = steered(tmp_path / "killed", observer=Killed({5: [order]}))
    trainer.fit(limits)
    assert saved_steps(trainer) == [1, 2, 3]
    resumed, observer = steered(tmp_path / "killed")
    resume(resumed, saved_path(trainer, 3))
    resumed.fit(RunLimits(max_steps=7))
    assert observer.ids == watched.ids[5:] and observer.losses == watched.losses[5:]
    assert differences(state_of(resumed), state_of(whole)) == []


def test_what_was_trained_before_a_kill_can_be_skipped_after_it(tmp_path: Path) -> None:
    first, before = steered(tmp_path)
    first.fit(RunLimits(max_steps=5))
    trainer, observer = steered(tmp_path, {6: [TrainerOrder("roll_back", step=3, skip_since=4)]})
    resume(trainer, saved_path(first, 5))
    trainer.fit(RunLimits(max_steps=6))
    assert [(r.step, r.epoch) for r in observer.steps] == [(6, 1), (4, 2), (5, 2), (6, 2)]
    assert trainer.state.data.train.skipped_batches == {(1, 0), (1, 1), (1, 2)}


def test_only_what_was_trained_since_the_last_time_is_skipped(tmp_path: Path) -> None:
    """Steps that were undone are no steps any more."""
    trainer, observer = steered(tmp_path)
    trainer.fit(RunLimits(max_steps=8))
    observer.after_step |= {
        9: [TrainerOrder("roll_back", step=3)],
        4: [TrainerOrder("roll_back", step=3, skip_since=4)],
    }
    trainer.fit(RunLimits(max_steps=9))
    assert [r.step for r in observer.steps[8:]] == [9, 4, 4, 5, 6, 7, 8, 9]
    assert trainer.state.data.train.skipped_batches == {(1, 0)}


def test_other_data_has_no_left_out_places(tmp_path: Path) -> None:
    trainer, _ = steered(tmp_path, {5: [TrainerOrder("roll_back", step=3, skip_since=4)]})
    trainer.fit(RunLimits(max_steps=5))
    same, _ = steered(tmp_path / "same")
    resume(same, saved_path(trainer, 5))
    assert same.state.data.train.skipped_batches == {(1, 0), (1, 1)}
    hparams = tiny_hparams(**ALL_SAVED)
    other, _ = steered(tmp_path / "other", data=tiny_data(hparams, fingerprint="other"))
    resume(other, saved_path(trainer, 5))
    assert other.state.data.train.skipped_batches == set() and state_of(other)["steering"]["places"] == []


def test_of_a_ruined_checkpoint_the_one_before_is_taken_and_the_problem_told(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path)
    trainer.fit(RunLimits(max_steps=5))
    ruin(saved_path(trainer, 4))
    observer.after_step[6] = [TrainerOrder("roll_back", step=4)]
    trainer.fit(RunLimits(max_steps=6))
    (report,) = observer.rollbacks
    assert (report.wanted_step, report.step) == (4, 3)
    assert len(report.problems) == 1 and "step-00000004" in report.problems[0] and "damaged" in report.problems[0]
    assert [r.step for r in observer.steps] == [1, 2, 3, 4, 5, 6, 4, 5, 6]
    usable = [load_checkpoint(c.path)["progress"]["step"] for c in list_checkpoints(tmp_path / "checkpoints")]
    assert usable == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kind", ["none", "all ruined", "too early"])
def test_with_no_usable_checkpoint_training_goes_on_unharmed(tmp_path: Path, kind: str) -> None:
    hparams = tiny_hparams(iters_per_evaluation=1000, iters_per_checkpoint=1000 if kind == "none" else 2)
    plain, watched = steered(tmp_path / "plain", hparams=hparams)
    plain.fit(RunLimits(max_steps=6))
    trainer, observer = steered(tmp_path / "steered", hparams=hparams)
    trainer.fit(RunLimits(max_steps=3))
    if kind != "too early":
        for checkpoint in list_checkpoints(trainer.state.folder / "checkpoints"):
            ruin(checkpoint.path)
    order = TrainerOrder("roll_back", {"guide_sigma": 0.1}, step=1 if kind == "too early" else 3, skip_since=2)
    observer.after_step[4] = [order]
    trainer.fit(RunLimits(max_steps=6))
    assert [report.step for report in observer.rollbacks] == [None] and observer.rollbacks[0].problems
    assert observer.losses == watched.losses and observer.ids == watched.ids
    assert trainer.state.data.train.skipped_batches == set()
    ignored = "/progress/evaluated_step"
    assert [d for d in differences(state_of(trainer), state_of(plain)) if not d.startswith(ignored)] == []


def test_a_best_checkpoint_beyond_the_place_gone_back_to_is_not_the_best_any_more(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=1, keep_checkpoints=2)
    observer = SteeringObserver({6: [TrainerOrder("roll_back", step=4)]}, scores={2: 0.3, 5: 0.9, 6: 0.2, 7: 0.1})
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=5))
    assert (trainer.state.progress.best_step, saved_steps(trainer)) == (5, [4, 5])
    observer.scores[5] = 0.05
    trainer.fit(RunLimits(max_steps=7))
    assert (trainer.state.progress.best_step, trainer.state.progress.best_score) == (6, 0.2)
    assert load_voice(trainer.write_voice()).step == 6


def test_the_best_checkpoint_before_it_stays_the_best(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=2, keep_checkpoints=9)
    observer = SteeringObserver({5: [TrainerOrder("roll_back", step=4)]}, scores={2: 0.5, 4: 0.4, 6: 0.3})
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=6))
    assert (trainer.state.progress.best_step, trainer.state.progress.best_score) == (2, 0.5)
    assert load_voice(tmp_path / "voice.safetensors").step == 2


def test_a_recipe_that_was_changed_since_is_not_undone(tmp_path: Path) -> None:
    first, _ = steered(tmp_path, hparams=tiny_hparams(**ALL_SAVED, gate_threshold=0.99, guide_sigma=0.3))
    first.state.turn_knobs({"guide_sigma": 0.5})
    first.fit(RunLimits(max_steps=2))
    hparams = tiny_hparams(**ALL_SAVED, gate_threshold=0.4, guide_sigma=0.3)
    trainer, observer = steered(tmp_path, {3: [TrainerOrder("roll_back", step=1)]}, hparams=hparams)
    resume(trainer, saved_path(first, 2))
    trainer.state.turn_knobs({"guide_sigma": 0.6})
    trainer.fit(RunLimits(max_steps=3))
    assert [report.step for report in observer.rollbacks] == [1]
    assert (trainer.state.knobs.gate_threshold, trainer.state.knobs.guide_sigma) == (0.4, 0.5)


def test_a_step_that_was_undone_is_not_run_again(tmp_path: Path) -> None:
    orders = {5: [TrainerOrder("rerun_step"), TrainerOrder("roll_back", step=3)]}
    trainer, observer = steered(tmp_path, orders)
    trainer.fit(RunLimits(max_steps=6))
    assert observer.ids[3:5] == observer.ids[5:7] and len(observer.ids) == 8


def test_an_order_that_waits_when_training_ends_is_carried_out_when_it_is_resumed(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=4, keep_checkpoints=99)

    def observer() -> SteeringObserver:
        return SteeringObserver(
            {}, after_evaluation={4: [TrainerOrder("roll_back", step=2, skip_since=3)]}, scores={4: 0.5}
        )

    whole, watched = steered(tmp_path / "whole", hparams=hparams, observer=observer())
    whole.fit(RunLimits(max_steps=8))
    limits = RunLimits()

    class Killed(SteeringObserver):
        def on_checkpoint(self, report: CheckpointReport) -> None:
            super().on_checkpoint(report)
            limits.stop = "SIGTERM" if report.step == 4 else None

    killed = Killed({}, after_evaluation={4: [TrainerOrder("roll_back", step=2, skip_since=3)]}, scores={4: 0.5})
    trainer, _ = steered(tmp_path / "killed", hparams=hparams, observer=killed)
    assert trainer.fit(limits) == "SIGTERM"
    assert killed.rollbacks == [] and saved_steps(trainer) == [1, 2, 3, 4]
    again = SteeringObserver({}, scores={4: 0.5})
    resumed, _ = steered(tmp_path / "killed", hparams=hparams, observer=again)
    resume(resumed, saved_path(trainer, 4))
    resumed.fit(RunLimits(max_steps=8))
    assert [report.step for report in again.rollbacks] == [report.step for report in watched.rollbacks] == [2]
    assert again.losses == watched.losses[4:]
    assert differences(state_of(resumed), state_of(whole)) == []


# Starting over


def test_a_restart_is_a_fresh_model_of_another_seed_with_steps_counted_on(tmp_path: Path) -> None:
    hparams = tiny_hparams(**ALL_SAVED, warmup_steps=4)
    order = TrainerOrder("restart", {"learning_rate_multiplier": 0.5, "gate_threshold": 0.3})
    trainer, observer = steered(tmp_path, {5: [order]}, hparams=hparams)
    fresh = {name: weight.clone() for name, weight in trainer.state.model.state_dict().items()}
    trainer.fit(RunLimits(max_steps=8))
    assert [(r.step, r.epoch) for r in observer.steps[5:]] == [(6, 0), (7, 0), (8, 0)]
    assert observer.ids[5:] == observer.ids[:3]
    assert [r.learning_rate for r in observer.steps[5:]] == pytest.approx([0.125e-2, 0.25e-2, 0.375e-2])
    assert trainer.state.clock == ScheduleClock(origin_step=5) and tacotron(trainer).decoder.gate_threshold == 0.3
    assert trainer.state.optimizer.state_dict()["state"][0]["step"] == 3
    restarted = load_checkpoint(saved_path(trainer, 5))
    assert restarted["optimizer"]["state"] == {} and restarted["progress"]["epoch"] == 0
    assert not torch.equal(restarted["model"]["embedding.weight"], fresh["embedding.weight"])
    assert (restarted["model"]["postnet.convolutions.0.1.running_mean"] == 0).all()
    for step in (5, 6):
        resumed, watched = steered(tmp_path / f"resumed-{step}", hparams=hparams)
        resume(resumed, saved_path(trainer, step))
        resumed.fit(RunLimits(max_steps=8))
        assert watched.losses == observer.losses[step:]
        assert differences(state_of(resumed), state_of(trainer)) == []


def test_two_restarts_begin_with_different_weights(tmp_path: Path) -> None:
    trainer, _ = steered(tmp_path, {1: [TrainerOrder("restart")], 2: [TrainerOrder("restart")]})
    trainer.fit(RunLimits(max_steps=2))
    weights = [load_checkpoint(saved_path(trainer, step))["model"]["embedding.weight"] for step in (1, 2)]
    assert not torch.equal(*weights)


def test_the_best_of_an_earlier_attempt_stays_the_best_until_it_is_beaten(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=2, keep_checkpoints=1)
    observer = SteeringObserver({3: [TrainerOrder("restart")]}, scores={2: 0.5, 4: 0.4, 6: 0.45, 8: 0.6})
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=7))
    assert trainer.state.progress.best_step == 2 and saved_steps(trainer) == [2, 7]
    assert load_voice(trainer.write_voice()).step == 2
    trainer.fit(RunLimits(max_steps=8))
    assert load_voice(trainer.write_voice()).step == 8 and saved_steps(trainer) == [8]
