"""Remedies that do not change how the model learns: quarantine, splitting of batches, an early end."""

from __future__ import annotations

from typing import Any

import pytest

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.remedies import RemedyContext, finish_with_best
from tests.smart_tuner.histories import every, make_view
from tests.smart_tuner.simulated_loop import SimulatedLoop
from tests.smart_tuner.simulated_runs import FACTS, remedies, simulate, verdicts


def extreme_utterance(step: int, work: int) -> Any:
    if work != 50:
        return {}, {}, {}
    return {"gradient_norm": 1e6, "outlier_utterances": 1.0}, {}, {"u7": 1000.0}


def actions_of(loop: SimulatedLoop) -> list[str]:
    return [order.action for _, order in loop.orders if order.action != "enter_phase"]


def test_a_nonfinite_utterance_is_quarantined_and_all_recordings_are_screened() -> None:
    def change(step: int, work: int) -> Any:
        if work != 50:
            return {"nonfinite_steps": float(work > 50)}, {}, {}
        return {"total_loss": None, "nonfinite_steps": 1.0, "outlier_utterances": 1.0}, {}, {"u7": None}

    loop = simulate(change, n_steps=120)
    assert actions_of(loop) == ["quarantine", "screen"]
    assert next(order.utterances for _, order in loop.orders if order.action == "quarantine") == ("u7",)
    (record,) = loop.decisions("intervention")
    assert (record["action"], record["besides"]) == ("quarantine", ["screen"])
    assert verdicts(loop) == ["unknown"]  # it may have been a passing fault


def test_effects_of_a_bad_utterance_are_not_treated_separately() -> None:
    assert remedies(simulate(extreme_utterance, n_steps=120)) == ["quarantine"]


def facts_with_clipping(threshold: float) -> RunFacts:
    knob = KnobFacts(start=threshold, low=0.01, high=1e9)
    return FACTS.model_copy(update={"knobs": {**FACTS.knobs, "grad_clip_thresh": knob}})


@pytest.mark.parametrize(("clip", "actions"), [(1e9, ["quarantine", "reset_moments"]), (50.0, ["quarantine"])])
def test_moments_are_reset_after_an_unclipped_extreme_gradient(clip: float, actions: list[str]) -> None:
    assert actions_of(simulate(extreme_utterance, facts=facts_with_clipping(clip), n_steps=120)) == actions


def test_moments_are_not_reset_by_a_loop_that_cannot() -> None:
    facts = facts_with_clipping(1e9)
    facts = facts.model_copy(update={"actions": tuple(name for name in facts.actions if name != "reset_moments")})
    assert actions_of(simulate(extreme_utterance, facts=facts, n_steps=120)) == ["quarantine"]


def test_the_quarantined_share_is_limited() -> None:
    loop = simulate(lambda step, work: ({"outlier_utterances": 1.0}, {}, {f"u{work % 30}": 100.0}))
    assert 0 < len(loop.supervisor.state.quarantined) <= 20


def test_running_out_of_memory_is_treated_at_once_and_repeatedly() -> None:
    def change(step: int, work: int) -> Any:
        signals: dict[str, float | None] = {"out_of_memory_steps": float(min(max(work - 50, 0), 2))}
        return signals | ({"total_loss": None} if work in (51, 52) else {}), {}, {}

    loop = simulate(change, n_steps=100)
    turns = [(step, order.knobs) for step, order in loop.orders if "micro_batches" in order.knobs]
    assert turns == [(52, {"micro_batches": 2.0}), (53, {"micro_batches": 4.0})]


def test_running_out_of_memory_at_the_last_step_is_treated() -> None:
    facts = FACTS.model_copy(update={"planned_steps": 51})
    loop = simulate(
        lambda step, work: ({"out_of_memory_steps": float(work >= 50), "total_loss": None}, {}, {}),
        facts=facts,
        n_steps=51,
    )
    assert "split_batches" in remedies(loop)


@pytest.mark.parametrize(
    ("scores", "ends"),
    [
        ([0.6, 0.7, 0.84, 0.8, 0.81, 0.8, 0.81, 0.82], False),  # the best of many is a lucky one
        ([0.6, 0.7, 0.8, 0.81, 0.8, 0.7, 0.65, 0.6], True),
        ([0.6, 0.8, 0.5, 0.5, 0.5], False),  # too few to tell
    ],
)
def test_overfitting_ends_a_training_once_the_score_has_fallen(scores: list[float], ends: bool) -> None:
    view = make_view({"composite_tts_score": every(100, scores)})
    diagnosis = Diagnosis("overfitting", "warning", view.step, 300, {})
    state = SupervisorState(knobs={}, step=view.step)
    plan = finish_with_best(RemedyContext(diagnosis, view, state, SupervisionSettings(), may_roll_back=True))
    assert (plan is not None) == ends
