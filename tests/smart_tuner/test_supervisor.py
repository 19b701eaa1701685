"""The supervisor as a whole, on simulated runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.settings import Settings
from smart_tuner.state import PendingFollowUp
from smart_tuner.supervisor import Supervisor
from smart_tuner.treatment.interventions import Expectation
from tests.smart_tuner.simulated_loop import FULL_DISK, SIZES, SimulatedLoop
from tests.smart_tuner.simulated_runs import (
    EVALUATION_STEPS,
    FACTS,
    HEALTHY_EVALUATION,
    Change,
    healthy_step,
    remedies,
    simulate,
    verdicts,
)

BROKEN = {"total_loss": 30.0, "mel_loss": 30.0}


def broken_between(first: int, last: int) -> Change:
    """A broken model between two numbers of done steps; it is healthy when the steps are repeated."""
    return lambda step, work: (BROKEN if first <= work < last else {}, {}, {})


def exploding_then_broken(broken_from: int) -> Change:
    """Gradients that explode after 130 steps, and a broken model after so many."""

    def change(step: int, work: int) -> Any:
        exploding = {"gradient_norm": 1e6} if 130 <= work < 140 else {}
        return exploding | (BROKEN if work >= broken_from else {}), {}, {}

    return change


def standing_loss(step: int) -> dict[str, float]:
    """A validation loss that stands still after a fall."""
    loss = 3.0 if step > EVALUATION_STEPS else 4.0
    return {"val_total_loss": loss, "val_mel_loss": loss}


def plateau(step: int, work: int) -> Any:
    return {}, standing_loss(step), {}


def facts_of_high_rate(**changes: Any) -> RunFacts:
    """A run whose learning rate is twenty times the recipe's."""
    rate = FACTS.knobs["learning_rate_multiplier"].model_copy(update={"preset": 0.05})
    return FACTS.model_copy(update={"knobs": FACTS.knobs | {"learning_rate_multiplier": rate}, **changes})


def facts_without(action: str) -> RunFacts:
    return FACTS.model_copy(update={"actions": tuple(name for name in FACTS.actions if name != action)})


@pytest.mark.parametrize("seed", range(100))
def test_a_healthy_run_has_no_diagnosis(seed: int) -> None:
    assert simulate(seed=seed, n_steps=200).decisions("diagnosis", "intervention", "follow_up") == []


def test_a_rollback_goes_before_the_ailment_and_skips_its_data() -> None:
    intervention = simulate(broken_between(130, 1000), n_steps=150).decisions("intervention")[0]
    assert (intervention["ailment"], intervention["remedy"]) == ("loss_spike", "roll_back")
    assert intervention["to_step"] == 120 and intervention["skip_since"] == 131
    assert intervention["expected"]["signal"] == "total_loss" and intervention["expected"]["target"] < 3


def test_after_a_rollback_health_is_back_but_its_cause_is_not_known() -> None:
    loop = simulate(broken_between(130, 136))
    assert remedies(loop) == ["roll_back"] and verdicts(loop) == ["unknown"]
    mechanism, outcome = loop.decisions("follow_up")
    assert mechanism["mechanism"] == "works" and "verdict" not in mechanism
    assert outcome["step"] == mechanism["judged_by"] == mechanism["expected"]["by_step"] + 4 * EVALUATION_STEPS


def test_a_treatment_whose_ailment_comes_back_before_its_outcome_had_no_effect() -> None:
    loop = simulate(lambda step, work: (BROKEN if 130 <= work < 136 or 215 <= work < 221 else {}, {}, {}))
    mechanism, verdict = loop.decisions("follow_up")[:2]
    assert mechanism["mechanism"] == "works" and verdict["verdict"] == "no_effect"
    assert mechanism["step"] < verdict["step"] < mechanism["judged_by"]
    assert remedies(loop)[:2] == ["roll_back", "roll_back_slower"]


def test_an_outcome_with_other_interventions_before_it_is_unknown() -> None:
    def change(step: int, work: int) -> Any:
        return (BROKEN if 130 <= work < 136 else {"data_wait_share": 0.9} if 225 <= work < 260 else {}), {}, {}

    loop = simulate(change)
    assert remedies(loop)[:2] == ["roll_back", "fetch_faster"]
    verdict = next(r for r in loop.decisions("follow_up") if r["remedy"] == "roll_back" and "verdict" in r)
    assert verdict["verdict"] == "unknown" and verdict["evidence"]["other_interventions"] >= 1


@pytest.mark.parametrize(("factor", "verdict", "position"), [(0.4, "helped", 0.5), (1.0, "unknown", 0.5)])
def test_held_out_signals_decide_whether_a_turned_knob_helped(factor: float, verdict: str, position: float) -> None:
    """An oscillation ends when the learning rate is lowered; only a fall that the run does not make by itself helps."""

    def trace(step: int, work: int) -> Any:
        is_lower = loop.supervisor.state.knobs["learning_rate_multiplier"] < 1
        swing = 0.0 if step < 600 or is_lower else 0.4 * (step // 5 % 2)
        signals = healthy_step(step, work)
        loss = (signals["total_loss"] or 0.0) * float(np.exp(swing))
        held_out = (2 + np.exp(-step / 300)) * (factor if is_lower else 1.0)
        held_out *= float(np.exp(np.random.default_rng(work).normal(0, 0.01)))
        evaluation = {**HEALTHY_EVALUATION, "val_total_loss": held_out, "val_mel_loss": held_out}
        return {**signals, "total_loss": loss, "mel_loss": loss}, evaluation, {}

    loop = SimulatedLoop(FACTS.model_copy(update={"planned_steps": 1500}), trace)
    loop.run(900)
    assert remedies(loop)[0] == "lower_learning_rate" and verdicts(loop)[0] == verdict
    assert loop.supervisor.state.knobs["learning_rate_multiplier"] == position


def test_a_race_of_an_earlier_version_is_not_awaited_any_more() -> None:
    supervisor = Supervisor(FACTS, Settings())
    expected = Expectation("val_total_loss", "down", 40, 3.0, 0.05)
    supervisor.state.pending = PendingFollowUp(
        ailment="plateau", remedy="fork_and_race", step=20, expected=expected, racing=True
    )
    saved = supervisor.state_dict()
    supervisor.load_state_dict(saved)
    assert supervisor.state.pending is not None
    del saved["memory"]["awaiting_outcome"]
    supervisor.load_state_dict(saved)
    assert supervisor.state.pending is None


def test_a_failed_remedy_may_be_tried_again_in_a_new_phase() -> None:
    state = Supervisor(FACTS, Settings()).state
    state.failed = {"plateau": ["lower_learning_rate"], "loss_spike": ["restart"]}
    state.enter_phase("alignment")
    assert state.failed == {"plateau": [], "loss_spike": ["restart"]}
    state.mark_failed("plateau", "lower_learning_rate")
    state.enter_phase("pre_alignment")
    state.enter_phase("alignment")
    assert state.failed["plateau"] == ["lower_learning_rate"]


def test_after_two_useless_rollbacks_other_remedies_follow() -> None:
    """The model breaks at the same step each time, so that no rollback helps."""
    tried = remedies(simulate(lambda step, work: (BROKEN if step >= 130 else {}, {}, {}), n_steps=600))
    assert tried[:2] == ["roll_back", "roll_back_slower"]
    assert [name for name in tried if name.startswith("roll_back")] == tried[:2]
    assert "reset_moments" in tried


def test_checkpoints_saved_during_an_ailment_are_not_used() -> None:
    """The gate's knobs are pinned: nothing is done about it."""

    def change(step: int, work: int) -> Any:
        gate = {"gate_overrun": 1.0, "gate_accuracy": 0.0} if 70 <= work < 130 else {}
        return BROKEN if work >= 132 else {}, gate, {}

    loop = simulate(change, facts=FACTS.model_copy(update={"pinned": tuple(FACTS.knobs)}), n_steps=145)
    assert [order.step for _, order in loop.orders if order.action == "roll_back"] == [80]


@pytest.mark.parametrize("ailment", ["data_starvation", "disk_running_full", "out_of_memory"])
def test_trouble_of_the_machine_marks_no_checkpoint_as_sick(ailment: str) -> None:
    def change(step: int, work: int) -> Any:
        signals = {
            "data_starvation": {"data_wait_share": 0.9},
            "out_of_memory": {"out_of_memory_steps": float(step // EVALUATION_STEPS)},
        }
        return signals.get(ailment, {}), {}, {}

    loop = simulate(change, n_steps=80, sizes=FULL_DISK if ailment == "disk_running_full" else SIZES)
    assert [record["ailment"] for record in loop.decisions("diagnosis")][:1] == [ailment]
    assert loop.checkpoints == [20, 40, 60, 80] and loop.supervisor.state.sick_checkpoints == []


def test_a_spike_marks_the_checkpoints_during_it_as_sick() -> None:
    facts = FACTS.model_copy(update={"actions": ()})
    loop = simulate(broken_between(130, 150), facts=facts, actions=(), n_steps=160)
    assert loop.supervisor.state.sick_checkpoints == [140]


def test_if_no_checkpoint_is_readable_the_next_remedy_is_tried() -> None:
    class LoopWithoutCheckpoints(SimulatedLoop):
        def _move(self, order: Any) -> None:
            self.record("rolled_back", to=None)
            self.runtime.on_rollback(None)

    def trace(step: int, work: int) -> Any:
        return {**healthy_step(step, work), **(BROKEN if work >= 130 else {})}, HEALTHY_EVALUATION, {}

    loop = LoopWithoutCheckpoints(FACTS, trace)
    loop.run(200)
    assert remedies(loop)[:3] == ["roll_back", "roll_back_slower", "reset_moments"]
    assert verdicts(loop)[:2] == ["no_effect", "no_effect"]


def test_a_restart_changes_the_facts() -> None:
    facts = FACTS.model_copy(update={"preset_settings": {"warmup_steps": 20.0, "weight_decay": 1e-6}})
    loop = simulate(lambda step, work: ({}, {"diagonality": 0.1, "free_diagonality": 0.1}, {}), facts=facts)
    restarts = [order for _, order in loop.orders if order.action == "restart"]
    assert remedies(loop)[0] == "restart_with_preset" and restarts[0].hparams == facts.preset_settings
    assert all(order.hparams == {} for order in restarts[1:])
    assert (loop.supervisor.facts.warmup_steps, loop.supervisor.facts.preset_settings) == (20, {})


def test_a_knob_that_did_not_help_returns() -> None:
    facts = FACTS.model_copy(update={"actions": ("turn",)})
    loop = simulate(plateau, facts=facts, actions=("turn",))
    assert remedies(loop) == ["lower_learning_rate"] and verdicts(loop) == ["no_effect"]
    assert [order.knobs["learning_rate_multiplier"] for _, order in loop.orders] == [0.5, 1.0]
    assert loop.decisions("follow_up")[0]["reverted"] is True


def test_an_effect_within_the_noise_is_decided_by_a_race() -> None:
    loop = simulate(plateau)
    race = next(order for _, order in loop.orders if order.action == "race")
    untreated, treated = {"learning_rate_multiplier": 1.0}, {"learning_rate_multiplier": 0.5}
    assert race.arms == (untreated, untreated, untreated, treated, treated) and race.seeds == (0, 1, 2, 0, 1)
    assert race.n_steps == EVALUATION_STEPS
    result = next(record for record in loop.decisions("follow_up") if "verdict" in record)
    assert result["verdict"] == "no_effect" and result["evidence"]["winner"] == 0
    assert loop.supervisor.state.knobs["learning_rate_multiplier"] == 1.0


def test_the_better_arm_of_a_race_is_kept() -> None:
    class LoopWithBetterTreatment(SimulatedLoop):
        def _arm(self, order: Any, number: int) -> Any:
            arm = super()._arm(order, number)
            gain = 0.5 if arm.knobs["learning_rate_multiplier"] == 0.5 else 1.0
            return replace(arm, distances={name: gain * value for name, value in arm.distances.items()})

    def trace(step: int, work: int) -> Any:
        return healthy_step(step, work), {**HEALTHY_EVALUATION, **standing_loss(step)}, {}

    loop = LoopWithBetterTreatment(FACTS, trace)
    loop.run(300)
    verdict = next(record for record in loop.decisions("follow_up") if "verdict" in record)
    assert verdict["verdict"] == "helped" and verdict["evidence"]["winner"] == 3
    assert [order.knobs["learning_rate_multiplier"] for _, order in loop.orders if order.knobs][:2] == [0.5, 0.25]


@pytest.mark.parametrize("broken_from", [130, 137])
def test_a_treatment_is_failed_only_by_a_divergence_that_began_after_it(broken_from: int) -> None:
    """An exploding gradient is clipped at step 132; the loss shows that the model is broken."""
    loop = simulate(exploding_then_broken(broken_from), n_steps=160)
    assert remedies(loop) == ["tighter_clipping"] and loop.decisions("intervention")[0]["step"] == 132
    spike = next(record for record in loop.decisions("diagnosis") if record["ailment"] == "loss_spike")
    assert spike["since"] == broken_from + 1 and spike["step"] < 145
    if broken_from < 132:
        assert verdicts(loop) == []
    else:
        (follow_up,) = loop.decisions("follow_up")
        assert (follow_up["step"], follow_up["verdict"]) == (spike["step"], "no_effect")
        assert follow_up["evidence"] == {"then": "loss_spike"}


def test_a_critical_ailment_waits_for_the_cooldown() -> None:
    """A rollback for a spike follows the end of the treatment before it, but not at once."""
    loop = simulate(exploding_then_broken(137), n_steps=170)
    ended = next(record["step"] for record in loop.decisions("follow_up") if "verdict" in record)
    rollback = next(record for record in loop.decisions("intervention") if record.get("remedy") == "roll_back")
    assert rollback["severity"] == "critical" and rollback["step"] == ended + EVALUATION_STEPS


def test_pinned_knobs_are_not_turned() -> None:
    loop = simulate(facts=facts_of_high_rate(pinned=tuple(FACTS.knobs)))
    assert loop.decisions("diagnosis") and all(not order.knobs for _, order in loop.orders)


def test_only_supported_actions_are_ordered() -> None:
    facts = FACTS.model_copy(update={"actions": ("turn",)})
    loop = simulate(broken_between(100, 1000), facts=facts, actions=("turn",))
    assert {order.action for _, order in loop.orders} == {"turn"}


def test_a_loop_without_actions_gets_no_orders() -> None:
    facts = FACTS.model_copy(update={"actions": ()})
    loop = simulate(broken_between(100, 1000), facts=facts, actions=())
    assert loop.decisions("diagnosis") and loop.orders == []


def test_an_advising_supervisor_gives_each_advice_once_and_no_orders() -> None:
    loop = simulate(broken_between(130, 1000), advise=True)
    assert loop.orders == []
    advice = [(record["ailment"], record["remedy"]) for record in loop.decisions("intervention")]
    assert advice and len(advice) == len(set(advice)) and loop.decisions("follow_up") == []
    assert all(record["advice"] for record in loop.decisions("intervention"))


def test_a_run_without_a_remedy_left_is_stopped_as_hopeless() -> None:
    settings = Settings.model_validate({"supervision": {"intervention_budget": 1}})
    loop = simulate(lambda step, work: (BROKEN if work > 100 else {}, {}, {}), settings=settings)
    assert loop.ended and remedies(loop)[-1] == "stop"
    assert "hopeless" in loop.orders[-1][1].reason


def test_a_restart_uses_safer_knobs() -> None:
    loop = simulate(facts=facts_of_high_rate(), n_steps=60)
    step, order = next((step, order) for step, order in loop.orders if order.action == "restart")
    assert order.knobs["learning_rate_multiplier"] == 0.05
    assert order.knobs["guide_weight_multiplier"] > 0
    assert loop.supervisor.state.begin == step


def test_a_restart_for_a_high_learning_rate_is_judged_by_its_updates_not_its_loss() -> None:
    def change(step: int, work: int) -> Any:
        ratio, loss = (0.2, 3.0) if work <= 30 else (0.01, 6.0)
        return {"update_ratio": None if step % 10 else ratio, "total_loss": loss, "mel_loss": loss}, {}, {}

    loop = simulate(change, facts=facts_of_high_rate(), n_steps=100)
    assert remedies(loop) == ["restart"] and loop.decisions("follow_up")[0]["mechanism"] == "works"


def test_a_rollback_restores_the_knobs_of_the_checkpoint() -> None:
    """A person turns a knob after the checkpoint of step 140; the model breaks in the cooldown after that."""
    loop = simulate(broken_between(150, 170), n_steps=145)
    loop.runtime.on_person_turn("learning_rate_multiplier", 0.5)
    loop.run(160)
    assert loop.supervisor.state.knobs["learning_rate_multiplier"] == 0.5
    loop.run(170)
    assert [order.step for _, order in loop.orders if order.action == "roll_back"] == [140]
    assert loop.supervisor.state.knobs["learning_rate_multiplier"] == 1.0


def test_a_restart_enters_the_first_phase() -> None:
    actions = [order.action for _, order in simulate(facts=facts_of_high_rate(), n_steps=60).orders]
    assert actions[actions.index("restart") + 1] == "enter_phase"


def test_phases_follow_the_signals_forwards_and_back() -> None:
    def change(step: int, work: int) -> Any:
        diagonality = 0.1 if work < 30 else 0.5 if work < 50 else 0.9 if work < 150 else 0.05
        return {}, {"free_diagonality": diagonality, "diagonality": diagonality}, {}

    facts = FACTS.model_copy(update={"actions": ("enter_phase",)})
    loop = simulate(change, facts=facts, actions=("enter_phase",), n_steps=200)
    changes = [(record["from"], record["to"]) for record in loop.decisions("phase")]
    assert changes[0] == ("pre_alignment", "alignment") and ("alignment", "quality") in changes
    assert changes[-1][1] == "pre_alignment"
    hold = [order.targets["hold_schedules"] for _, order in loop.orders if order.action == "enter_phase"]
    assert hold[0] == 1.0 and hold[-1] == 1.0 and 0.0 in hold


def test_collapsed_updates_are_rolled_back_or_their_moments_reset() -> None:
    def change(step: int, work: int) -> Any:
        return {"update_ratio": None if step % 10 else 1e-6 if 200 < work < 225 else 0.004}, {}, {}

    assert remedies(simulate(change)) == ["roll_back"]
    assert remedies(simulate(change, facts=facts_without("roll_back")))[0] == "reset_moments"


def test_a_gate_that_fires_too_early_after_the_intervention_does_not_revert_it() -> None:
    """A gate overshoots on its way to balance; that is no reason to return to a weight far off."""
    knob = KnobFacts(start=0.01, low=0.01, high=1000.0)
    facts = FACTS.model_copy(update={"knobs": {**FACTS.knobs, "gate_positive_weight": knob}})

    def trace(step: int, work: int) -> Any:
        is_early = loop.supervisor.state.knobs["gate_positive_weight"] > 1.0
        gate = {"gate_overrun": float(not is_early), "gate_premature": 0.5 * is_early, "gate_accuracy": 0.5 * is_early}
        return healthy_step(step, work), {**HEALTHY_EVALUATION, **gate}, {}

    loop = SimulatedLoop(facts, trace)
    loop.run(160)
    assert remedies(loop)[0] == "balanced_gate_weight"
    assert loop.decisions("follow_up")[0]["mechanism"] == "works"
    assert loop.supervisor.state.knobs["gate_positive_weight"] == FACTS.balanced_gate_weight


@pytest.mark.parametrize(("n_evaluations", "expected"), [(6, ["calibrated_threshold"]), (5.95, [])])
def test_no_knob_is_turned_if_training_ends_before_the_follow_up(n_evaluations: float, expected: list[str]) -> None:
    def change(step: int, work: int) -> Any:
        return {}, {"gate_premature": 1.0, "gate_accuracy": 0.0, "calibrated_gate_threshold": 0.9}, {}

    facts = FACTS.model_copy(update={"planned_steps": round(n_evaluations * EVALUATION_STEPS)})
    assert remedies(simulate(change, facts=facts, n_steps=4 * EVALUATION_STEPS)) == expected


def test_a_knob_missing_in_a_checkpoint_keeps_its_start() -> None:
    state = Supervisor(FACTS, Settings()).state_dict()
    state["memory"]["knobs"] = {"learning_rate_multiplier": 0.5}
    supervisor = Supervisor(FACTS, Settings())
    supervisor.load_state_dict(state)
    starts = {name: knob.start for name, knob in FACTS.knobs.items()}
    assert supervisor.state.knobs == starts | {"learning_rate_multiplier": 0.5}
