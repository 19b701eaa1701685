"""Orders that change settings: knobs, phases, moments, checkpoints, batches per update."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from reports import TrainerOrder
from speech.voice import load_voice
from tests.support.tiny import tacotron, tiny_hparams
from tests.training.orders import (
    OrderingObserver,
    comparable_state,
    differences,
    resume,
    saved_path,
    saved_steps,
    train_with_orders,
    trainer_with_orders,
)
from training.knobs import KNOB_BOUNDS, Knobs
from training.run_state import RunLimits
from training.schedule import PhasePlan

QUIET: dict[str, Any] = {"iters_per_evaluation": 1000, "iters_per_checkpoint": 1000}


def test_actions_are_listed_and_unknown_ones_are_rejected(tmp_path: Path) -> None:
    trainer, _ = trainer_with_orders(tmp_path)
    assert {"turn", "roll_back", "restart", "race", "quarantine", "stop"} <= set(trainer.control.actions)
    with pytest.raises(KeyError):
        trainer.control.execute(TrainerOrder("unknown"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KNOB_BOUNDS)
@pytest.mark.parametrize("end", ["low", "high"])
def test_knob_turns_to_its_bounds_and_not_beyond(tmp_path: Path, name: str, end: str) -> None:
    trainer, _ = trainer_with_orders(tmp_path)
    bound = getattr(KNOB_BOUNDS[name], end)
    trainer.control.execute(TrainerOrder("turn", {name: bound}))
    assert getattr(trainer.state.knobs, name) == bound
    for beyond in (bound * 1.01 if end == "high" else bound * 0.99 - 0.001, math.nan):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            trainer.control.execute(TrainerOrder("turn", {name: beyond}))
    assert getattr(trainer.state.knobs, name) == bound


def test_order_with_a_position_beyond_the_bounds_changes_no_knob(tmp_path: Path) -> None:
    trainer, _ = trainer_with_orders(tmp_path)
    with pytest.raises(ValueError, match="guide_sigma: expected 0.05 to 1, got 3"):
        trainer.control.execute(TrainerOrder("turn", {"gate_threshold": 0.3, "guide_sigma": 3.0}))
    assert trainer.state.knobs == Knobs.from_hparams(trainer.state.hparams)


def test_knob_may_return_to_a_start_outside_its_bounds(tmp_path: Path) -> None:
    trainer, _ = trainer_with_orders(tmp_path, hparams=tiny_hparams(gate_threshold=0.99, guide_sigma=0.01))
    trainer.control.execute(TrainerOrder("turn", {"gate_threshold": 0.5, "guide_sigma": 0.5}))
    trainer.control.execute(TrainerOrder("turn", {"gate_threshold": 0.99, "guide_sigma": 0.01}))
    assert (trainer.state.knobs.gate_threshold, trainer.state.knobs.guide_sigma) == (0.99, 0.01)
    for knobs in ({"gate_threshold": 0.995}, {"guide_sigma": 0.005}):
        with pytest.raises(ValueError, match="expected"):
            trainer.control.execute(TrainerOrder("turn", knobs))


def test_turned_knob_takes_effect_with_the_next_step(tmp_path: Path) -> None:
    _, observer = train_with_orders(
        tmp_path, {2: [TrainerOrder("turn", {"learning_rate_multiplier": 0.25})]}, max_steps=4
    )
    assert [r.learning_rate for r in observer.steps] == pytest.approx([1e-2, 1e-2, 0.25e-2, 0.25e-2])


def test_voice_has_the_gate_threshold_of_the_best_checkpoint(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_evaluation=1, iters_per_checkpoint=1, keep_checkpoints=99)
    orders = {1: [TrainerOrder("turn", {"gate_threshold": 0.3})], 3: [TrainerOrder("turn", {"gate_threshold": 0.7})]}
    observer = OrderingObserver(orders, scores={1: 0.1, 2: 0.9, 3: 0.2})
    trainer, _ = trainer_with_orders(tmp_path, hparams=hparams, observer=observer)
    assert tacotron(trainer).decoder.gate_threshold == 0.5
    trainer.fit(RunLimits(max_steps=4))
    assert tacotron(trainer).decoder.gate_threshold == 0.7
    assert [e.decodes[0].gate_threshold for e in observer.evaluations] == [0.3, 0.3, 0.7, 0.7]
    for voice, threshold in ((trainer.write_voice(), 0.3), (saved_path(trainer, 4), 0.7)):
        loaded = load_voice(voice)
        assert loaded.hparams.gate_threshold == loaded.model.decoder.gate_threshold == threshold
        assert load_voice(voice, {"gate_threshold": 0.6}).model.decoder.gate_threshold == 0.6
    resumed, _ = trainer_with_orders(tmp_path, hparams=hparams)
    resume(resumed, saved_path(trainer, 4))
    assert resumed.state.model.decoder.gate_threshold == 0.7


def test_evaluation_decodes_with_the_turned_gate_threshold(tmp_path: Path) -> None:
    trainer, _ = trainer_with_orders(tmp_path)
    trainer.state.turn_knobs({"gate_threshold": 0.05})
    early = [decode.free_mel.shape[1] for decode in trainer.validate().decodes]
    trainer.state.turn_knobs({"gate_threshold": 0.95})
    late = [decode.free_mel.shape[1] for decode in trainer.validate().decodes]
    assert sum(early) < sum(late)


def test_phase_modifies_the_schedules_until_the_next(tmp_path: Path) -> None:
    shares = {"learning_rate_share": 0.5, "grad_clip_share": 0.1, "guide_weight_share": 3.0, "guide_sigma_share": 0.5}
    orders = {
        1: [TrainerOrder("enter_phase", targets=shares | {"other": 1.0})],
        2: [TrainerOrder("enter_phase")],
    }
    trainer, observer = train_with_orders(
        tmp_path, {1: orders[1]}, hparams=tiny_hparams(grad_clip_thresh=2.0), max_steps=2
    )
    assert trainer.state.phase_plan == PhasePlan(**shares)
    losses = trainer.state.knobs.for_losses(1, trainer.state.hparams, trainer.state.phase_plan)
    assert (losses["guide_weight"], losses["guide_sigma"]) == pytest.approx((3 * 2.5, 0.2))
    assert [r.learning_rate for r in observer.steps] == pytest.approx([1e-2, 0.5e-2])
    gradients = [p.grad.square().sum() for p in trainer.state.model.parameters() if p.grad is not None]
    assert math.sqrt(sum(gradients)) == pytest.approx(0.2, rel=1e-3)
    trainer.control.execute(orders[2][0])
    assert trainer.state.phase_plan == PhasePlan()


def test_holding_changes_nothing_before_the_late_part_of_the_schedules(tmp_path: Path) -> None:
    hparams = tiny_hparams(warmup_steps=3, guide_anneal_start_step=8, guide_anneal_steps=4, **QUIET)
    reference, expected = train_with_orders(tmp_path / "reference", hparams=hparams, max_steps=8)
    held, observer = trainer_with_orders(tmp_path / "held", hparams=hparams)
    held.control.execute(TrainerOrder("enter_phase", targets={"hold_schedules": 1.0}))
    held.fit(RunLimits(max_steps=8))
    assert observer.losses == expected.losses
    assert differences(comparable_state(held), comparable_state(reference)) == []


def test_held_schedules_stay_before_their_late_part(tmp_path: Path) -> None:
    hparams = tiny_hparams(decay_start_step=4, decay_half_life_steps=2, guide_anneal_start_step=100, **QUIET)
    orders = {
        8: [TrainerOrder("enter_phase", targets={"hold_schedules": 1.0})],
        12: [TrainerOrder("enter_phase")],
    }
    _, observer = train_with_orders(tmp_path, orders, hparams=hparams, max_steps=14)
    rates = [r.learning_rate for r in observer.steps]
    assert rates[7] == pytest.approx(0.25e-2)  # halved twice before it was held
    assert rates[8:12] == pytest.approx([1e-2] * 4)
    assert rates[12:] == pytest.approx([1e-2 * 0.5**0.5, 0.5e-2])


def test_reset_of_moments_starts_a_warm_up_that_a_resume_continues(tmp_path: Path) -> None:
    trainer, observer = train_with_orders(tmp_path, {3: [TrainerOrder("reset_moments", n_steps=4)]}, max_steps=3)
    assert trainer.state.optimizer.state_dict()["state"] == {}
    trainer.fit(RunLimits(max_steps=9))
    assert [r.learning_rate for r in observer.steps] == pytest.approx(
        [1e-2] * 3 + [0.25e-2, 0.5e-2, 0.75e-2] + 3 * [1e-2]
    )
    assert trainer.state.optimizer.state_dict()["state"][0]["step"] == 6
    for step in (3, 5):
        resumed, resumed_observer = train_with_orders(
            tmp_path / f"from {step}", start=saved_path(trainer, step), max_steps=9
        )
        assert resumed_observer.losses == observer.losses[step:]
        assert differences(comparable_state(resumed), comparable_state(trainer)) == []


def test_keep_fewer_checkpoints_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=2, keep_checkpoints=99)
    observer = OrderingObserver({4: [TrainerOrder("keep_fewer_checkpoints")]}, scores={2: 0.9})
    trainer, _ = train_with_orders(tmp_path, hparams=hparams, observer=observer, max_steps=3)
    assert saved_steps(trainer) == [1, 2, 3]
    trainer.fit(RunLimits(max_steps=6))
    assert saved_steps(trainer) == [2, 6]


def test_two_batches_per_update_make_one_step(tmp_path: Path) -> None:
    single, expected = train_with_orders(tmp_path / "single", hparams=tiny_hparams(**QUIET), max_steps=6)
    trainer, observer = trainer_with_orders(tmp_path / "both")
    trainer.state.turn_knobs({"batches_per_update": 2.0})
    trainer.fit(RunLimits(max_steps=4))
    assert observer.ids == [
        expected.ids[0] + expected.ids[1],
        expected.ids[2],
        expected.ids[3] + expected.ids[4],
        expected.ids[5],
    ]
    assert [r.epoch for r in observer.steps] == [0, 0, 1, 1]
    assert [len(r.utterance_losses) for r in observer.steps] == [len(ids) for ids in observer.ids]
    assert trainer.state.optimizer.state_dict()["state"][0]["step"] == 4


@pytest.mark.parametrize("step", [1, 2, 3])
def test_resume_between_updates_of_two_batches_is_exact(tmp_path: Path, step: int) -> None:
    trainer, observer = train_with_orders(
        tmp_path / "uninterrupted", {1: [TrainerOrder("turn", {"batches_per_update": 2.0})]}, max_steps=5
    )
    resumed, resumed_observer = train_with_orders(tmp_path / "resumed", start=saved_path(trainer, step), max_steps=5)
    assert resumed_observer.ids == observer.ids[step:] and resumed_observer.losses == observer.losses[step:]
    assert differences(comparable_state(resumed), comparable_state(trainer)) == []
