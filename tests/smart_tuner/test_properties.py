"""Properties of a supervisor that hold for any signals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.measures.signals import Signals
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.replay import Replay, first_difference
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor
from smart_tuner.treatment.selection import FREE_REMEDIES
from tests.smart_tuner.simulated_loop import ACTIONS, SimulatedLoop

EVERY = 20
FACTS = RunFacts(
    steps_per_evaluation=EVERY,
    steps_per_epoch=15,
    planned_steps=400,
    warmup_steps=5,
    alignment_patience_steps=60,
    peak_learning_rate=1e-3,
    balanced_gate_weight=40.0,
    utterances=100,
    effective_batch_size=8,
    knobs={
        "learning_rate_multiplier": KnobFacts(start=1.0, low=1 / 256, high=256.0),
        "guide_weight_multiplier": KnobFacts(start=0.0, low=0.0, high=8.0, first=0.25),
        "guide_sigma": KnobFacts(start=0.4, low=0.05, high=1.0),
        "gate_positive_weight": KnobFacts(start=1.0, low=0.1, high=1000.0),
        "gate_threshold": KnobFacts(start=0.5, low=0.05, high=0.95),
        "grad_clip_thresh": KnobFacts(start=1.0, low=0.01, high=1000.0),
        "micro_batches": KnobFacts(start=1.0, low=1.0, high=64.0),
        "batches_per_update": KnobFacts(start=1.0, low=1.0, high=16.0),
    },
    actions=ACTIONS,
)
TROUBLES = (
    "none",
    "spikes",
    "explodes",
    "not finite",
    "saw",
    "fast",
    "slow",
    "loud utterance",
    "out of memory",
    "gaps",
)


def sick_trace(seed: int, troubles: tuple[str, ...]) -> Any:
    """Signals that change their kind of trouble every 60 steps of work, and never in the same way twice."""

    def trace(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        rng = np.random.default_rng([seed, work])
        trouble = troubles[work // 60 % len(troubles)]
        loss = 3.0 * float(np.exp(-step / 300 + rng.normal(0, 0.1)))
        loss *= {"spikes": 4.0, "saw": 1 + step // 7 % 2}.get(trouble, 1.0)
        norm = 3.0 * float(np.exp(rng.normal(0, 0.4))) * (1e5 if trouble == "explodes" else 1.0)
        ratio = {"fast": 0.2, "slow": 2e-5}.get(trouble, 0.004)
        lost = trouble == "not finite" and rng.random() < 0.5
        signals: Signals = {
            "total_loss": None if lost else loss,
            "mel_loss": None if lost else loss,
            "gradient_norm": None if lost else norm,
            "learning_rate": 1e-3,
            "update_ratio": None if lost or step % 10 else ratio,
            "data_wait_share": float(rng.random()),
            "nonfinite_steps": float(work if trouble == "not finite" else 0),
            "out_of_memory_steps": float(work if trouble == "out of memory" and work % 9 == 0 else 0),
            "outlier_utterances": 1.0 if trouble == "loud utterance" else 0.0,
        }
        names = ("diagonality", "free_diagonality", "gate_accuracy", "gate_premature", "gate_overrun")
        evaluation: Signals = {name: float(rng.random()) for name in names}
        evaluation |= {"calibrated_gate_threshold": float(rng.uniform(0.1, 0.9)), "stop_rate": 1.0}
        evaluation |= {"val_mel_loss": loss * float(rng.uniform(1, 1.5)), "val_total_loss": loss}
        if trouble == "gaps":
            gone = set(rng.choice(list(signals), 4))
            signals = {name: None if name in gone else value for name, value in signals.items()}
            evaluation = {name: None if rng.random() < 0.5 else value for name, value in evaluation.items()}
        loud = {f"u{int(rng.integers(30))}": float(rng.uniform(5, 500))} if trouble == "loud utterance" else {}
        return signals, evaluation, loud

    return trace


cases = st.tuples(st.integers(0, 10**6), st.lists(st.sampled_from(TROUBLES), min_size=1, max_size=6).map(tuple))


def sick_loop(case: tuple[int, tuple[str, ...]], **options: Any) -> SimulatedLoop:
    loop = SimulatedLoop(FACTS, sick_trace(*case), **options)
    loop.run(500)
    return loop


@given(cases)
@settings(max_examples=15)
def test_knobs_stay_within_bounds_and_move_by_a_factor_of_two_at_most(case: tuple[int, tuple[str, ...]]) -> None:
    loop = sick_loop(case)
    for _, before, after in loop.turns:
        assert not (before and after) or 0.5 - 1e-9 <= after / before <= 2 + 1e-9
    for _, order in loop.orders:
        for name, value in order.knobs.items():
            assert FACTS.knobs[name].low <= value <= FACTS.knobs[name].high
        for arm in order.arms:
            assert all(FACTS.knobs[name].low <= value <= FACTS.knobs[name].high for name, value in arm.items())


@given(cases, st.integers(0, 6))
@settings(max_examples=15)
def test_the_budget_is_never_exceeded(case: tuple[int, tuple[str, ...]], budget: int) -> None:
    loop = sick_loop(case, settings=Settings.model_validate({"supervision": {"intervention_budget": budget}}))
    steering = [d for d in loop.decisions("intervention") if "remedy" in d and d["remedy"] not in FREE_REMEDIES]
    assert len(steering) <= budget
    races = [order for _, order in loop.orders if order.action == "race"]
    extra = sum(len(order.arms) * order.n_steps for order in races)
    assert extra <= loop.settings.supervision.work_budget * FACTS.planned_steps


@given(cases)
@settings(max_examples=15)
def test_the_supervisor_knows_where_the_knobs_stand(case: tuple[int, tuple[str, ...]]) -> None:
    loop = sick_loop(case)
    assert loop.supervisor.state.knobs == loop.knobs


@given(cases)
@settings(max_examples=15)
def test_no_knob_goes_there_and_back_within_a_cooldown(case: tuple[int, tuple[str, ...]]) -> None:
    treatments = [d for d in sick_loop(case).decisions("intervention") if "remedy" in d and "knob" in d]
    for earlier, later in zip(treatments, treatments[1:], strict=False):
        if earlier["knob"] == later["knob"] and later["to"] == earlier["from"] and later["step"] >= earlier["step"]:
            assert later["step"] - earlier["step"] >= EVERY


@given(cases, st.booleans())
@settings(max_examples=15)
def test_replay_decides_the_same(case: tuple[int, tuple[str, ...]], advise: bool) -> None:
    loop = sick_loop(case, advise=advise)
    told = Replay()
    for record in loop.records:
        told.on_record(record)
    assert first_difference(told) is None
    assert len(told.recomputed) == len(loop.decisions())


@given(cases, st.integers(0, 3), st.booleans())
@settings(max_examples=25)
def test_what_another_policy_would_have_done_can_always_be_told(
    case: tuple[int, tuple[str, ...]], budget: int, races: bool
) -> None:
    loop = sick_loop(case)
    policy = {"intervention_budget": budget, "strong_checks": races}
    told = Replay(Settings.model_validate({"supervision": policy}))
    for record in loop.records:
        told.on_record(record)
    assert told.supervisor is not None and told.supervisor.state.step == loop.step


@given(cases, st.integers(0, 100))
@settings(max_examples=15)
def test_a_restart_in_the_middle_changes_no_decision(case: tuple[int, tuple[str, ...]], place: int) -> None:
    """The process ends after some record and another one goes on with what the first had saved."""
    loop = sick_loop(case)
    told = Replay()
    cut = len(loop.records) * place // 100
    for record in loop.records[:cut]:
        told.on_record(record)
    if told.supervisor is not None:
        saved = json.loads(json.dumps(told.supervisor.state_dict()))
        told.supervisor = Supervisor(FACTS, told.supervisor.settings)
        told.supervisor.load_state_dict(saved)
    for record in loop.records[cut:]:
        told.on_record(record)
    assert first_difference(told) is None


@given(cases)
@settings(max_examples=10)
def test_every_intervention_says_what_it_expects_and_is_judged_once(case: tuple[int, tuple[str, ...]]) -> None:
    loop = sick_loop(case)
    treatments = [d for d in loop.decisions("intervention") if "remedy" in d]
    assert all({"signal", "direction", "by_step"} <= d["expected"].keys() for d in treatments)
    verdicts = [d for d in loop.decisions("follow_up") if "verdict" in d]
    waiting = loop.supervisor.state.watching
    open_ones = len(waiting) + (loop.supervisor.state.pending is not None)
    assert len(treatments) == len(verdicts) + open_ones


@pytest.mark.parametrize("trouble", TROUBLES[1:-1])
def test_the_troubles_of_these_tests_are_noticed(trouble: str) -> None:
    assert sick_loop((1, (trouble,))).decisions("diagnosis")
