"""Orders that change settings where training is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from reports import Action, TrainerOrder
from speech.voice import load_voice
from tests.tiny import tacotron, tiny_hparams
from tests.training.steered import SteeringObserver, differences, resume, saved_path, saved_steps, state_of, steered
from training.knobs import KNOB_BOUNDS, Knobs
from training.run_state import RunLimits
from training.schedule import PhasePlan

QUIET: dict[str, Any] = {"iters_per_evaluation": 1000, "iters_per_checkpoint": 1000}


def test_every_action_is_named_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    trainer, _ = steered(tmp_path)
    assert {"turn", "roll_back", "restart", "race", "quarantine", "stop"} <= set(trainer.control.actions)
    with pytest.raises(KeyError):
        trainer.control.execute(TrainerOrder("make_it_sing"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KNOB_BOUNDS)
@pytest.mark.parametrize("end", ["low", "high"])
def test_a_knob_turns_to_its_bounds_and_not_beyond(tmp_path: Path, name: str, end: str) -> None:
    trainer, _ = steered(tmp_path)
    bound = getattr(KNOB_BOUNDS[name], end)
    trainer.control.execute(TrainerOrder("turn", {name: bound}))
    assert getattr(trainer.state.knobs, name) == bound
    for beyond in (bound * 1.01 if end == "high" else bound * 0.99 - 0.001, math.nan):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            trainer.control.execute(TrainerOrder("turn", {name: beyond}))
    assert getattr(trainer.state.knobs, name) == bound


def test_of_an_order_beyond_the_bounds_nothing_is_carried_out(tmp_path: Path) -> None:
    trainer, _ = steered(tmp_path)
    with pytest.raises(ValueError, match="guide_sigma: expected 0.05 to 1, got 3"):
        trainer.control.execute(TrainerOrder("turn", {"gate_threshold": 0.3, "guide_sigma": 3.0}))
    assert trainer.state.knobs == Knobs.from_hparams(trainer.state.hparams)


def test_a_start_outside_the_bounds_may_be_returned_to(tmp_path: Path) -> None:
    trainer, _ = steered(tmp_path, hparams=tiny_hparams(gate_threshold=0.99, guide_sigma=0.01))
    trainer.control.execute(TrainerOrder("turn", {"gate_threshold": 0.5, "guide_sigma": 0.5}))
    trainer.control.execute(TrainerOrder("turn", {"gate_threshold": 0.99, "guide_sigma": 0.01}))
    assert (trainer.state.knobs.gate_threshold, trainer.state.knobs.guide_sigma) == (0.99, 0.01)
    for knobs in ({"gate_threshold": 0.995}, {"guide_sigma": 0.005}):
        with pytest.raises(ValueError, match="expected"):
            trainer.control.execute(TrainerOrder("turn", knobs))


def test_a_turned_knob_acts_on_the_next_step(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path, {2: [TrainerOrder("turn", {"learning_rate_multiplier": 0.25})]})
    trainer.fit(RunLimits(max_steps=4))
    assert [r.learning_rate for r in observer.steps] == pytest.approx([1e-2, 1e-2, 0.25e-2, 0.25e-2])


def test_the_gate_threshold_of_the_best_checkpoint_is_that_of_the_voice(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_evaluation=1, iters_per_checkpoint=1, keep_checkpoints=99)
    orders = {1: [TrainerOrder("turn", {"gate_threshold": 0.3})], 3: [TrainerOrder("turn", {"gate_threshold": 0.7})]}
    observer = SteeringObserver(orders, scores={1: 0.1, 2: 0.9, 3: 0.2})
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    assert tacotron(trainer).decoder.gate_threshold == 0.5
    trainer.fit(RunLimits(max_steps=4))
    assert tacotron(trainer).decoder.gate_threshold == 0.7
    assert [e.decodes[0].gate_threshold for e in observer.evaluations] == [0.3, 0.3, 0.7, 0.7]
    for voice, threshold in ((trainer.write_voice(), 0.3), (saved_path(trainer, 4), 0.7)):
        loaded = load_voice(voice)
        assert loaded.hparams.gate_threshold == loaded.model.decoder.gate_threshold == threshold
        assert load_voice(voice, {"gate_threshold": 0.6}).model.decoder.gate_threshold == 0.6
    resumed, _ = steered(tmp_path, hparams=hparams)
    resume(resumed, saved_path(trainer, 4))
    assert resumed.state.model.decoder.gate_threshold == 0.7


def test_an_evaluation_decodes_with_the_turned_gate_threshold(tmp_path: Path) -> None:
    trainer, _ = steered(tmp_path)
    trainer.state.turn_knobs({"gate_threshold": 0.05})
    early = [decode.free_mel.shape[1] for decode in trainer.validate().decodes]
    trainer.state.turn_knobs({"gate_threshold": 0.95})
    late = [decode.free_mel.shape[1] for decode in trainer.validate().decodes]
    assert sum(early) < sum(late)


# Phases


def test_a_phase_shapes_the_schedules_until_the_next(tmp_path: Path) -> None:
    shares = {"learning_rate_share": 0.5, "grad_clip_share": 0.1, "guide_weight_share": 3.0, "guide_sigma_share": 0.5}
    orders = {1: [TrainerOrder("enter_phase", targets=shares | {"of_others": 1.0})], 2: [TrainerOrder("enter_phase")]}
    trainer, observer = steered(tmp_path, {1: orders[1]}, hparams=tiny_hparams(grad_clip_thresh=2.0))
    trainer.fit(RunLimits(max_steps=2))
    assert trainer.state.phase_plan == PhasePlan(**shares)
    losses = trainer.state.knobs.for_losses(1, trainer.state.hparams, trainer.state.phase_plan)
    assert (losses["guide_weight"], losses["guide_sigma"]) == pytest.approx((3 * 2.5, 0.2))
    assert [r.learning_rate for r in observer.steps] == pytest.approx([1e-2, 0.5e-2])
    gradients = [p.grad.square().sum() for p in trainer.state.model.parameters() if p.grad is not None]
    assert math.sqrt(sum(gradients)) == pytest.approx(0.2, rel=1e-3)
    trainer.control.execute(orders[2][0])
    assert trainer.state.phase_plan == PhasePlan()


def test_holding_the_schedules_before_their_late_part_changes_nothing(tmp_path: Path) -> None:
    hparams = tiny_hparams(warmup_steps=3, guide_anneal_start_step=8, guide_anneal_steps=4, **QUIET)
    plain, watched = steered(tmp_path / "plain", hparams=hparams)
    plain.fit(RunLimits(max_steps=8))
    held, holding = steered(tmp_path / "held", hparams=hparams)
    held.control.execute(TrainerOrder("enter_phase", targets={"hold_schedules": 1.0}))
    held.fit(RunLimits(max_steps=8))
    assert holding.losses == watched.losses
    assert differences(state_of(held), state_of(plain)) == []


def test_held_schedules_stay_before_their_late_part(tmp_path: Path) -> None:
    hparams = tiny_hparams(decay_start_step=4, decay_half_life_steps=2, guide_anneal_start_step=100, **QUIET)
    orders = {
        8: [TrainerOrder("enter_phase", targets={"hold_schedules": 1.0})],
        12: [TrainerOrder("enter_phase")],
    }
    trainer, observer = steered(tmp_path, orders, hparams=hparams)
    trainer.fit(RunLimits(max_steps=14))
    rates = [r.learning_rate for r in observer.steps]
    assert rates[7] == pytest.approx(0.25e-2)  # two halvings before it was held
    assert rates[8:12] == pytest.approx([1e-2] * 4)
    assert rates[12:] == pytest.approx([1e-2 * 0.5**0.5, 0.5e-2])


# The optimizer's memory


def test_forgotten_moments_come_with_a_new_warm_up_also_over_a_resume(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path, {3: [TrainerOrder("reset_moments", n_steps=4)]})
    trainer.fit(RunLimits(max_steps=3))
    assert trainer.state.optimizer.state_dict()["state"] == {}
    trainer.fit(RunLimits(max_steps=9))
    assert [r.learning_rate for r in observer.steps] == pytest.approx(
        [1e-2] * 3 + [0.25e-2, 0.5e-2, 0.75e-2] + 3 * [1e-2]
    )
    assert trainer.state.optimizer.state_dict()["state"][0]["step"] == 6
    for step in (3, 5):
        resumed, watched = steered(tmp_path / f"from {step}")
        resume(resumed, saved_path(trainer, step))
        resumed.fit(RunLimits(max_steps=9))
        assert watched.losses == observer.losses[step:]
        assert differences(state_of(resumed), state_of(trainer)) == []


# Checkpoints and the end


def test_fewer_checkpoints_are_the_newest_and_the_best(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=2, keep_checkpoints=99)
    observer = SteeringObserver({4: [TrainerOrder("keep_fewer_checkpoints")]}, scores={2: 0.9})
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=3))
    assert saved_steps(trainer) == [1, 2, 3]
    trainer.fit(RunLimits(max_steps=6))
    assert saved_steps(trainer) == [2, 6]


@pytest.mark.parametrize(("action", "hopeless"), [("finish", False), ("stop", True)])
@pytest.mark.parametrize("reason", ["enough", ""])
def test_an_ordered_end_has_its_reason_and_is_evaluated_and_saved(
    tmp_path: Path, action: Action, hopeless: bool, reason: str
) -> None:
    trainer, observer = steered(tmp_path, {2: [TrainerOrder(action, reason=reason)]}, hparams=tiny_hparams(**QUIET))
    assert trainer.fit(RunLimits(max_steps=100)) == reason
    assert trainer.control.is_hopeless == hopeless
    assert observer.events[:2] == ["step 1", "step 2"]
    assert [e.step for e in observer.evaluations] == [2] and saved_steps(trainer) == [2]


def test_an_end_ordered_by_an_evaluation_is_obeyed(tmp_path: Path) -> None:
    observer = SteeringObserver({}, after_evaluation={2: [TrainerOrder("finish", reason="overfitting")]})
    hparams = tiny_hparams(iters_per_evaluation=2, iters_per_checkpoint=1000)
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    assert trainer.fit(RunLimits(max_steps=100)) == "overfitting"
    assert (trainer.state.progress.step, len(observer.evaluations), saved_steps(trainer)) == (2, 1, [2])


# More than one batch a step


def test_two_batches_an_update_are_one_step_of_both(tmp_path: Path) -> None:
    single, alone = steered(tmp_path / "single", hparams=tiny_hparams(**QUIET))
    single.fit(RunLimits(max_steps=6))
    trainer, observer = steered(tmp_path / "both")
    trainer.state.turn_knobs({"batches_per_update": 2.0})
    trainer.fit(RunLimits(max_steps=4))
    assert observer.ids == [alone.ids[0] + alone.ids[1], alone.ids[2], alone.ids[3] + alone.ids[4], alone.ids[5]]
    assert [r.epoch for r in observer.steps] == [0, 0, 1, 1]
    assert [len(r.utterance_losses) for r in observer.steps] == [len(ids) for ids in observer.ids]
    assert trainer.state.optimizer.state_dict()["state"][0]["step"] == 4


@pytest.mark.parametrize("step", [1, 2, 3])
def test_resuming_between_updates_of_two_batches_is_exact(tmp_path: Path, step: int) -> None:
    trainer, observer = steered(tmp_path / "whole", {1: [TrainerOrder("turn", {"batches_per_update": 2.0})]})
    trainer.fit(RunLimits(max_steps=5))
    resumed, watched = steered(tmp_path / "resumed")
    resume(resumed, saved_path(trainer, step))
    resumed.fit(RunLimits(max_steps=5))
    assert watched.ids == observer.ids[step:] and watched.losses == observer.losses[step:]
    assert differences(state_of(resumed), state_of(trainer)) == []
