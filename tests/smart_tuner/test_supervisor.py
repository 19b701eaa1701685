"""The supervisor as a whole: what it does about trouble, in which order, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitoring.measures.signals import Signals
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor
from tests.smart_tuner.simulated_loop import SimulatedLoop, Trace
from tests.smart_tuner.test_properties import EVERY, FACTS

HEALTHY_EVALUATION: Signals = {
    "diagonality": 0.9,
    "free_diagonality": 0.9,
    "gate_accuracy": 1.0,
    "gate_premature": 0.0,
    "gate_overrun": 0.0,
    "stop_rate": 1.0,
    "calibrated_gate_threshold": 0.5,
    "val_mel_loss": 1.0,
    "val_total_loss": 1.0,
}
Change = Callable[[int, int], tuple[Mapping[str, float | None], Mapping[str, float | None], Mapping[str, float | None]]]


def healthy_step(step: int, work: int, seed: int = 0) -> Signals:
    rng = np.random.default_rng([seed, work])
    loss = 3 * float(np.exp(-step / 200 + rng.normal(0, 0.1)))
    return {
        "total_loss": loss,
        "mel_loss": loss,
        "gradient_norm": 3 * float(np.exp(rng.normal(0, 0.4))),
        "learning_rate": 1e-3,
        "update_ratio": None if step % 10 else 0.004 * float(np.exp(rng.normal(0, 0.2))),
        "data_wait_share": 0.01,
        "nonfinite_steps": 0.0,
        "out_of_memory_steps": 0.0,
        "outlier_utterances": 0.0,
    }


def loop_with(change: Change | None = None, *, n_steps: int = 300, seed: int = 0, **options: Any) -> SimulatedLoop:
    """A healthy run, except for what `change` says: (step, work) → changes of step, evaluation, outliers."""

    def trace(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        of_step, of_evaluation, outliers = change(step, work) if change else ({}, {}, {})
        return {**healthy_step(step, work, seed), **of_step}, {**HEALTHY_EVALUATION, **of_evaluation}, outliers

    loop = SimulatedLoop(options.pop("facts", FACTS), trace, **options)
    loop.run(n_steps)
    return loop


def remedies(loop: SimulatedLoop) -> list[str]:
    return [record["remedy"] for record in loop.decisions("intervention") if "remedy" in record]


def verdicts(loop: SimulatedLoop) -> list[str]:
    return [record["verdict"] for record in loop.decisions("follow_up") if "verdict" in record]


BROKEN = {"total_loss": 30.0, "mel_loss": 30.0}


def broken_between(first: int, last: int) -> Change:
    """In a stretch of work: it does not come back when the steps are done again."""
    return lambda step, work: (BROKEN if first <= work < last else {}, {}, {})


@pytest.mark.parametrize("seed", range(100))
def test_a_healthy_run_is_left_alone(seed: int) -> None:
    loop = loop_with(seed=seed, n_steps=200)
    assert loop.decisions("diagnosis", "intervention", "follow_up") == []


def test_a_broken_model_is_rolled_back_to_before_the_trouble_and_past_its_data() -> None:
    loop = loop_with(broken_between(130, 1000), n_steps=150)
    intervention = loop.decisions("intervention")[0]
    assert (intervention["ailment"], intervention["remedy"]) == ("loss_spike", "roll_back")
    assert intervention["to_step"] == 120 and intervention["skip_since"] == 131
    assert intervention["expected"]["signal"] == "total_loss" and intervention["expected"]["target"] < 3


def test_what_is_well_after_a_rollback_was_helped_by_it() -> None:
    loop = loop_with(broken_between(130, 136))
    assert remedies(loop) == ["roll_back"] and verdicts(loop) == ["helped"]


def test_after_two_rollbacks_in_vain_comes_another_remedy() -> None:
    """The trouble sits at the place, not in the data: going back a third time would be no help."""
    loop = loop_with(lambda step, work: (BROKEN if step >= 130 else {}, {}, {}), n_steps=600)
    tried = remedies(loop)
    assert tried[:2] == ["roll_back", "roll_back_slower"]
    assert [name for name in tried if name.startswith("roll_back")] == tried[:2]
    assert "reset_moments" in tried


def test_a_checkpoint_saved_while_something_was_wrong_is_no_place_to_go_back_to() -> None:
    sick: Change = lambda step, work: (  # noqa: E731
        {"data_wait_share": 0.9} if 70 <= work < 130 else BROKEN if work >= 132 else {},
        {},
        {},
    )
    back = [order for _, order in loop_with(sick, n_steps=145).orders if order.action == "roll_back"]
    assert [order.step for order in back] == [60]


def test_when_no_checkpoint_can_be_read_the_next_remedy_is_tried() -> None:
    class Ruined(SimulatedLoop):
        def _move(self, order: Any) -> None:
            self.record("rolled_back", to=None)
            self.supervision.on_rollback(None)

    trace: Trace = lambda step, work: (  # noqa: E731
        {**healthy_step(step, work), **(BROKEN if work >= 130 else {})},
        HEALTHY_EVALUATION,
        {},
    )
    loop = Ruined(FACTS, trace)
    loop.run(200)
    assert remedies(loop)[:3] == ["roll_back", "roll_back_slower", "reset_moments"]
    assert verdicts(loop)[:2] == ["no_effect", "no_effect"]


def test_after_a_new_start_the_facts_are_those_of_its_settings() -> None:
    facts = FACTS.model_copy(update={"preset_settings": {"warmup_steps": 20.0, "weight_decay": 1e-6}})
    blind: Change = lambda step, work: ({}, {"diagonality": 0.1, "free_diagonality": 0.1}, {})  # noqa: E731
    loop = loop_with(blind, facts=facts)
    begun_anew = [order for _, order in loop.orders if order.action == "restart"]
    assert remedies(loop)[0] == "restart_with_preset" and begun_anew[0].hparams == facts.preset_settings
    assert all(order.hparams == {} for order in begun_anew[1:])
    assert (loop.supervisor.facts.warmup_steps, loop.supervisor.facts.preset_settings) == (20, {})


def test_a_knob_that_did_not_help_goes_back_to_where_it_was() -> None:
    plateau: Change = lambda step, work: ({}, {"val_total_loss": 3.0, "val_mel_loss": 3.0}, {})  # noqa: E731
    facts = FACTS.model_copy(update={"actions": ("turn",)})
    loop = loop_with(plateau, facts=facts, actions=("turn",))
    assert remedies(loop) == ["lower_learning_rate"] and verdicts(loop) == ["no_effect"]
    positions = [order.knobs["learning_rate_multiplier"] for _, order in loop.orders]
    assert positions == [0.5, 1.0]
    assert loop.decisions("follow_up")[0]["reverted"] is True


def test_where_the_signal_cannot_tell_two_forks_are_compared() -> None:
    plateau: Change = lambda step, work: ({}, {"val_total_loss": 3.0, "val_mel_loss": 3.0}, {})  # noqa: E731
    loop = loop_with(plateau)
    race = next(order for _, order in loop.orders if order.action == "race")
    assert race.arms == ({"learning_rate_multiplier": 1.0}, {"learning_rate_multiplier": 0.5})
    assert race.n_steps == EVERY
    judged = next(record for record in loop.decisions("follow_up") if "verdict" in record)
    assert judged["evidence"]["control"] == judged["evidence"]["treated"] == 3.0
    assert judged["verdict"] == "no_effect"
    assert loop.supervisor.state.knobs["learning_rate_multiplier"] == 1.0


def test_the_better_fork_is_kept() -> None:
    """In the race the second arm does well: its steps are the ones from the sixth evaluation of work on."""
    started: list[int] = []

    class Racing(SimulatedLoop):
        def _arm(self, order: Any, knobs: Any) -> Any:
            arm = super()._arm(order, knobs)
            started.append(self.work)
            if len(started) == 2:
                better = {**arm.evaluation, "val_total_loss": 2.0, "val_mel_loss": 2.0}
                return replace(arm, evaluation=better)
            return arm

    trace: Trace = lambda step, work: (  # noqa: E731
        healthy_step(step, work),
        {**HEALTHY_EVALUATION, "val_total_loss": 3.0, "val_mel_loss": 3.0},
        {},
    )
    loop = Racing(FACTS, trace)
    loop.run(300)
    assert verdicts(loop)[0] == "helped"
    assert loop.supervisor.state.knobs["learning_rate_multiplier"] == 0.5


def test_an_utterance_that_is_not_finite_is_quarantined_and_all_recordings_are_looked_through() -> None:
    bad: Change = lambda step, work: (  # noqa: E731
        ({"total_loss": None, "nonfinite_steps": 1.0, "outlier_utterances": 1.0}, {}, {"u7": None})
        if work == 50
        else ({"nonfinite_steps": float(work > 50)}, {}, {})
    )
    loop = loop_with(bad, n_steps=120)
    assert [(order.action, order.utterances) for _, order in loop.orders if order.action != "enter_phase"] == [
        ("quarantine", ("u7",)),
        ("screen", ()),
    ]
    (told,) = loop.decisions("intervention")
    assert (told["action"], told["besides"]) == ("quarantine", ["screen"])
    assert verdicts(loop) == ["helped"]


def test_what_a_bad_utterance_has_done_is_not_treated_besides() -> None:
    loud: Change = lambda step, work: (  # noqa: E731
        ({"gradient_norm": 1e6, "outlier_utterances": 1.0}, {}, {"u7": 1000.0}) if work == 50 else ({}, {}, {})
    )
    assert remedies(loop_with(loud, n_steps=120)) == ["quarantine"]


@pytest.mark.parametrize(("clip", "actions"), [(1e9, ["quarantine", "reset_moments"]), (50.0, ["quarantine"])])
def test_what_an_unclipped_gradient_left_in_the_optimizer_is_forgotten(clip: float, actions: list[str]) -> None:
    loud: Change = lambda step, work: (  # noqa: E731
        ({"gradient_norm": 1e6, "outlier_utterances": 1.0}, {}, {"u7": 1000.0}) if work == 50 else ({}, {}, {})
    )
    knob = KnobFacts(start=clip, low=0.01, high=1e9)
    facts = FACTS.model_copy(update={"knobs": {**FACTS.knobs, "grad_clip_thresh": knob}})
    loop = loop_with(loud, facts=facts, n_steps=120)
    assert [order.action for _, order in loop.orders if order.action != "enter_phase"] == actions
    if "reset_moments" in actions:
        unable = facts.model_copy(update={"actions": tuple(a for a in facts.actions if a != "reset_moments")})
        loop = loop_with(loud, facts=unable, n_steps=120)
        assert [order.action for _, order in loop.orders if order.action != "enter_phase"] == ["quarantine"]


def test_a_mild_remedy_gives_way_when_the_illness_shows_its_worse_face() -> None:
    """An explosion is clipped tighter; but then the loss turns out to be broken."""

    def change(step: int, work: int) -> Any:
        return ({**BROKEN, "gradient_norm": 1e6 if work == 130 else 4.0} if 130 <= work < 137 else {}), {}, {}

    loop = loop_with(change, n_steps=180)
    assert remedies(loop) == ["tighter_clipping", "roll_back"]
    assert verdicts(loop) == ["no_effect", "helped"]
    assert loop.decisions("intervention")[-1]["step"] < 140


def test_no_more_than_the_allowed_share_is_quarantined() -> None:
    many: Change = lambda step, work: ({"outlier_utterances": 1.0}, {}, {f"u{work % 30}": 100.0})  # noqa: E731
    loop = loop_with(many)
    assert 0 < len(loop.supervisor.state.quarantined) <= 20


def test_out_of_memory_is_answered_at_once_and_as_often_as_needed() -> None:
    full: Change = lambda step, work: (  # noqa: E731
        {"out_of_memory_steps": float(min(max(work - 50, 0), 2)), **({"total_loss": None} if work in (51, 52) else {})},
        {},
        {},
    )
    loop = loop_with(full, n_steps=100)
    turned = [(step, order.knobs) for step, order in loop.orders if "micro_batches" in order.knobs]
    assert turned == [(52, {"micro_batches": 2.0}), (53, {"micro_batches": 4.0})]


def test_what_a_person_pinned_is_not_touched() -> None:
    facts = FACTS.model_copy(update={"pinned": tuple(FACTS.knobs)})
    loop = loop_with(lambda step, work: ({"update_ratio": None if step % 10 else 0.3}, {}, {}), facts=facts)
    assert loop.decisions("diagnosis") and all(not order.knobs for _, order in loop.orders)


def test_only_what_the_loop_can_do_is_asked_of_it() -> None:
    facts = FACTS.model_copy(update={"actions": ("turn",)})
    loop = loop_with(broken_between(100, 1000), facts=facts, actions=("turn",))
    assert {order.action for _, order in loop.orders} == {"turn"}


def test_a_loop_whose_knobs_cannot_be_turned_is_not_asked_to_turn_them() -> None:
    facts = FACTS.model_copy(update={"actions": ()})
    loop = loop_with(broken_between(100, 1000), facts=facts, actions=())
    assert loop.decisions("diagnosis") and loop.orders == []


def test_one_that_advises_gives_no_orders_and_says_everything_once() -> None:
    loop = loop_with(broken_between(130, 1000), advise=True)
    assert loop.orders == []
    advice = [(r["ailment"], r["remedy"]) for r in loop.decisions("intervention")]
    assert advice and len(advice) == len(set(advice)) and loop.decisions("follow_up") == []
    assert all(record["advice"] for record in loop.decisions("intervention"))


def test_a_run_that_nothing_helps_is_stopped_as_hopeless() -> None:
    settings = Settings.model_validate({"supervision": {"intervention_budget": 1}})
    loop = loop_with(lambda step, work: (BROKEN if work > 100 else {}, {}, {}), settings=settings)
    assert loop.ended and remedies(loop)[-1] == "stop"
    assert "hopeless" in loop.orders[-1][1].reason


def test_a_restart_begins_with_safer_knobs_and_a_clean_slate() -> None:
    fast: Change = lambda step, work: ({"update_ratio": None if step % 10 else 0.2, "total_loss": 3.0}, {}, {})  # noqa: E731
    loop = loop_with(fast, n_steps=60)
    step, order = next((step, order) for step, order in loop.orders if order.action == "restart")
    assert order.knobs["learning_rate_multiplier"] == pytest.approx(0.003 / 0.2, rel=0.5)
    assert order.knobs["guide_weight_multiplier"] > 0
    assert loop.supervisor.state.begin == step


def test_a_slower_start_is_judged_by_its_updates_though_its_loss_falls_more_slowly() -> None:
    def change(step: int, work: int) -> Any:
        ratio, loss = (0.2, 3.0) if work <= 30 else (0.01, 6.0)
        return {"update_ratio": None if step % 10 else ratio, "total_loss": loss, "mel_loss": loss}, {}, {}

    loop = loop_with(change, n_steps=100)
    assert (remedies(loop), verdicts(loop)) == (["restart"], ["helped"])


def test_after_a_rollback_the_knobs_stand_where_the_checkpoint_has_them() -> None:
    def change(step: int, work: int) -> Any:
        evaluation = {"val_total_loss": 3.0, "val_mel_loss": 3.0}
        return (BROKEN if 143 <= work < 149 else {}), evaluation, {}

    facts = FACTS.model_copy(update={"actions": tuple(name for name in FACTS.actions if name != "race")})
    loop = loop_with(change, facts=facts, n_steps=155)
    turned = next(record for record in loop.decisions("intervention") if record.get("knob"))
    back = next(record for record in loop.decisions("intervention") if record.get("to_step"))
    assert turned["step"] > back["to_step"] and turned["to"] == 0.5
    assert loop.supervisor.state.knobs["learning_rate_multiplier"] == 1.0


def test_a_new_start_begins_in_the_first_phase_for_the_training_loop_too() -> None:
    fast: Change = lambda step, work: ({"update_ratio": None if step % 10 else 0.2, **BROKEN}, {}, {})  # noqa: E731
    actions = [order.action for _, order in loop_with(fast, n_steps=60).orders]
    assert actions[actions.index("restart") + 1] == "enter_phase"


def test_phases_go_forwards_with_the_signals_and_back_when_alignment_is_lost() -> None:
    def change(step: int, work: int) -> Any:
        diagonality = 0.1 if work < 30 else 0.5 if work < 50 else 0.9 if work < 150 else 0.05
        return {}, {"free_diagonality": diagonality, "diagonality": diagonality}, {}

    facts: RunFacts = FACTS.model_copy(update={"actions": ("enter_phase",)})
    loop = loop_with(change, facts=facts, actions=("enter_phase",), n_steps=200)
    path = [(record["from"], record["to"]) for record in loop.decisions("phase")]
    assert path[0] == ("pre_alignment", "alignment") and ("alignment", "quality") in path
    assert path[-1][1] == "pre_alignment"
    held = [order.targets["hold_schedules"] for _, order in loop.orders if order.action == "enter_phase"]
    assert held[0] == 1.0 and held[-1] == 1.0 and 0.0 in held


def test_updates_that_collapse_are_rolled_back_and_with_no_checkpoint_the_moments_are_reset() -> None:
    """An optimizer that has gone numb: its rate is not what is wrong, and is not raised."""

    def change(step: int, work: int) -> Any:
        return {"update_ratio": None if step % 10 else 1e-6 if 200 < work < 225 else 0.004}, {}, {}

    assert remedies(loop_with(change)) == ["roll_back"]
    facts = FACTS.model_copy(update={"actions": tuple(name for name in FACTS.actions if name != "roll_back")})
    assert remedies(loop_with(change, facts=facts))[0] == "reset_moments"


def test_a_gate_that_now_fires_too_early_does_fire_and_its_weight_stays() -> None:
    """On its way to balance a gate swings: that is no reason to go back to a weight that was far off."""

    def change(step: int, work: int) -> Any:
        early = loop_weight() > 1.0
        return {}, {"gate_overrun": float(not early), "gate_premature": 0.5 * early, "gate_accuracy": 0.5 * early}, {}

    knob = KnobFacts(start=0.01, low=0.01, high=1000.0)
    facts = FACTS.model_copy(update={"knobs": {**FACTS.knobs, "gate_positive_weight": knob}})
    loop = SimulatedLoop(facts, lambda step, work: ({}, {}, {}))
    loop_weight = lambda: loop.supervisor.state.knobs["gate_positive_weight"]  # noqa: E731
    loop.trace = lambda step, work: (healthy_step(step, work), {**HEALTHY_EVALUATION, **change(step, work)[1]}, {})
    loop.run(160)
    assert (remedies(loop)[0], verdicts(loop)[0]) == ("balanced_gate_weight", "helped")
    assert loop_weight() == FACTS.balanced_gate_weight


def test_no_knob_is_turned_when_training_would_end_before_the_verdict() -> None:
    def change(step: int, work: int) -> Any:
        return {}, {"gate_premature": 1.0, "gate_accuracy": 0.0, "calibrated_gate_threshold": 0.9}, {}

    enough = FACTS.model_copy(update={"planned_steps": 4 * EVERY + 2 * EVERY})
    assert remedies(loop_with(change, facts=enough, n_steps=4 * EVERY)) == ["calibrated_threshold"]
    short = FACTS.model_copy(update={"planned_steps": 4 * EVERY + 2 * EVERY - 1})
    assert remedies(loop_with(change, facts=short, n_steps=4 * EVERY)) == []


def test_memory_that_runs_out_at_the_last_step_is_answered_all_the_same() -> None:
    full: Change = lambda step, work: ({"out_of_memory_steps": float(work >= 50), "total_loss": None}, {}, {})  # noqa: E731
    loop = loop_with(full, facts=FACTS.model_copy(update={"planned_steps": 51}), n_steps=51)
    assert "split_batches" in remedies(loop)


def test_a_knob_that_a_checkpoint_does_not_know_yet_stands_where_it_starts() -> None:
    before = Supervisor(FACTS, Settings())
    state = before.state_dict()
    state["memory"]["knobs"] = {"learning_rate_multiplier": 0.5}
    after = Supervisor(FACTS, Settings())
    after.load_state_dict(state)
    starts = {name: knob.start for name, knob in FACTS.knobs.items()}
    assert after.state.knobs == starts | {"learning_rate_multiplier": 0.5}
