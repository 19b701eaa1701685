"""Properties that a supervisor has whatever the signals are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.measures.signals import Signals
from smart_tuner.replay import Replay, first_difference
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor
from smart_tuner.treatment.selection import FREE_REMEDIES
from tests.smart_tuner.simulated_loop import SimulatedLoop, replay_records
from tests.smart_tuner.simulated_runs import EVALUATION_STEPS, FACTS

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


def troubled_trace(seed: int, troubles: tuple[str, ...]) -> Any:
    """Signals with another kind of trouble every 60 steps of work; repeated steps have other values."""

    def trace(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        rng = np.random.default_rng([seed, work])
        trouble = troubles[work // 60 % len(troubles)]
        loss = 3.0 * float(np.exp(-step / 300 + rng.normal(0, 0.1)))
        loss *= {"spikes": 4.0, "saw": 1 + step // 7 % 2}.get(trouble, 1.0)
        norm = 3.0 * float(np.exp(rng.normal(0, 0.4))) * (1e5 if trouble == "explodes" else 1.0)
        ratio = {"fast": 0.2, "slow": 2e-5}.get(trouble, 0.004)
        is_nonfinite = trouble == "not finite" and rng.random() < 0.5
        signals: Signals = {
            "total_loss": None if is_nonfinite else loss,
            "mel_loss": None if is_nonfinite else loss,
            "gradient_norm": None if is_nonfinite else norm,
            "learning_rate": 1e-3,
            "update_ratio": None if is_nonfinite or step % 10 else ratio,
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
            missing = set(rng.choice(list(signals), 4))
            signals = {name: None if name in missing else value for name, value in signals.items()}
            evaluation = {name: None if rng.random() < 0.5 else value for name, value in evaluation.items()}
        outliers = {f"u{int(rng.integers(30))}": float(rng.uniform(5, 500))} if trouble == "loud utterance" else {}
        return signals, evaluation, outliers

    return trace


cases = st.tuples(st.integers(0, 10**6), st.lists(st.sampled_from(TROUBLES), min_size=1, max_size=6).map(tuple))


def simulate_troubles(case: tuple[int, tuple[str, ...]], **options: Any) -> SimulatedLoop:
    loop = SimulatedLoop(FACTS, troubled_trace(*case), **options)
    loop.run(500)
    return loop


@given(cases)
@settings(max_examples=15)
def test_knobs_stay_within_bounds_and_move_by_a_factor_of_two_at_most(case: tuple[int, tuple[str, ...]]) -> None:
    loop = simulate_troubles(case)
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
    loop = simulate_troubles(case, settings=Settings.model_validate({"supervision": {"intervention_budget": budget}}))
    budgeted = [d for d in loop.decisions("intervention") if "remedy" in d and d["remedy"] not in FREE_REMEDIES]
    assert len(budgeted) <= budget
    races = [order for _, order in loop.orders if order.action == "race"]
    extra = sum(len(order.arms) * order.n_steps for order in races)
    assert extra <= loop.settings.supervision.work_budget * FACTS.planned_steps


@given(cases)
@settings(max_examples=15)
def test_the_supervisor_knows_the_positions_of_the_knobs(case: tuple[int, tuple[str, ...]]) -> None:
    loop = simulate_troubles(case)
    assert loop.supervisor.state.knobs == loop.knobs


@given(cases)
@settings(max_examples=15)
def test_no_knob_is_turned_and_returned_within_a_cooldown(case: tuple[int, tuple[str, ...]]) -> None:
    interventions = [d for d in simulate_troubles(case).decisions("intervention") if "remedy" in d and "knob" in d]
    for earlier, later in zip(interventions, interventions[1:], strict=False):
        if earlier["knob"] == later["knob"] and later["to"] == earlier["from"] and later["step"] >= earlier["step"]:
            assert later["step"] - earlier["step"] >= EVALUATION_STEPS


@given(cases, st.booleans())
@settings(max_examples=15)
def test_replay_decides_the_same(case: tuple[int, tuple[str, ...]], advise: bool) -> None:
    loop = simulate_troubles(case, advise=advise)
    replayed = replay_records(loop.records)
    assert first_difference(replayed) is None
    assert len(replayed.recomputed) == len(loop.decisions())


@given(cases, st.integers(0, 3), st.booleans())
@settings(max_examples=25)
def test_replay_with_other_settings_reaches_the_end(
    case: tuple[int, tuple[str, ...]], budget: int, races: bool
) -> None:
    loop = simulate_troubles(case)
    supervision = {"intervention_budget": budget, "strong_checks": races}
    replayed = replay_records(loop.records, Settings.model_validate({"supervision": supervision}))
    assert replayed.supervisor is not None and replayed.supervisor.state.step == loop.step


@given(cases, st.integers(0, 100))
@settings(max_examples=15)
def test_a_saved_and_loaded_supervisor_decides_the_same(case: tuple[int, tuple[str, ...]], cut_percent: int) -> None:
    """The process ends after some record, and another one continues with the saved state."""
    loop = simulate_troubles(case)
    replayed = Replay()
    cut = len(loop.records) * cut_percent // 100
    for record in loop.records[:cut]:
        replayed.on_record(record)
    if replayed.supervisor is not None:
        saved = json.loads(json.dumps(replayed.supervisor.state_dict()))
        replayed.supervisor = Supervisor(FACTS, replayed.supervisor.settings)
        replayed.supervisor.load_state_dict(saved)
    for record in loop.records[cut:]:
        replayed.on_record(record)
    assert first_difference(replayed) is None


@given(cases)
@settings(max_examples=10)
def test_every_intervention_has_an_expectation_and_one_verdict(case: tuple[int, tuple[str, ...]]) -> None:
    loop = simulate_troubles(case)
    interventions = [d for d in loop.decisions("intervention") if "remedy" in d]
    assert all({"signal", "direction", "by_step"} <= d["expected"].keys() for d in interventions)
    verdicts = [d for d in loop.decisions("follow_up") if "verdict" in d]
    state = loop.supervisor.state
    n_open = len(state.watching) + len(state.awaiting_outcome) + (state.pending is not None)
    assert len(interventions) == len(verdicts) + n_open


@pytest.mark.parametrize("trouble", TROUBLES[1:-1])
def test_every_trouble_of_these_tests_is_diagnosed(trouble: str) -> None:
    assert simulate_troubles((1, (trouble,))).decisions("diagnosis")
