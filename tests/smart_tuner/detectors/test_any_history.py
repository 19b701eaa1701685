"""Random signals: no detector fails, and every diagnosis contains finite numbers."""

from __future__ import annotations

import math
from itertools import accumulate
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from smart_tuner.detectors import DETECTORS
from smart_tuner.diagnosis import SEVERITIES
from smart_tuner.inputs.outliers import OutlierHistory
from smart_tuner.inputs.run_view import RunView
from smart_tuner.phases import next_phase
from smart_tuner.settings import Phases
from smart_tuner.treatment.verdicts.forecast import LEVEL_POINTS, forecast_signal, signal_level
from smart_tuner.treatment.verdicts.judgement import judge_mechanism
from tests.smart_tuner.histories import Values, make_facts, make_view

SHARES = ("free_diagonality", "diagonality", "gate_accuracy", "gate_overrun", "gate_premature")
COUNTS = ("nonfinite_steps", "out_of_memory_steps", "outlier_utterances")
LOSSES = ("total_loss", "mel_loss", "val_mel_loss", "val_total_loss")
OTHERS = ("gradient_norm", "update_ratio", "learning_rate", "data_wait_share", "disk_free_bytes", "checkpoint_bytes")
MEASURED_EVERY_20_STEPS = (*SHARES, "val_mel_loss", "val_total_loss", "disk_free_bytes", "checkpoint_bytes")
TYPICAL_VALUES = {"total_loss": 2.0, "mel_loss": 1.5, "val_mel_loss": 1.5, "val_total_loss": 2.0, "learning_rate": 1e-3}
TYPICAL_FACTORS, EXTREME_FACTORS = (1.0, 0.5, 1.3, 2.0, 4.0), (0.0, -1.0, 1e-300, 1e-30, 1e-5, 30.0, 1e5, 1e30, 1e300)


def random_value(name: str, rng: Random) -> float:
    if name in SHARES:
        return rng.choice([0.0, 0.1, 0.4, 0.6, 0.9, 1.0])
    if name in COUNTS:
        return rng.choice([0.0, 0.0, 1.0])
    factors = TYPICAL_FACTORS if rng.random() < 0.6 else EXTREME_FACTORS
    return TYPICAL_VALUES.get(name, 1.0) * rng.choice(factors) * rng.choice([1.0, rng.uniform(0.8, 1.2)])


def random_series(name: str, n_steps: int, rng: Random) -> Values:
    """A few stretches of one to three values that repeat, so that thresholds of all kinds are crossed."""
    interval = 20 if name in MEASURED_EVERY_20_STEPS else 10 if name == "update_ratio" else 1
    n_stretches, n_points = rng.randint(0, 3), n_steps // interval
    values: list[float | None] = []
    for number in range(1, n_stretches + 1):
        pattern = [random_value(name, rng) if rng.random() < 0.8 else None for _ in range(rng.randint(1, 3))]
        repeated = pattern * rng.choice([1, 3, n_points])
        values += repeated[: n_points * number // n_stretches - len(values)]
    if name in COUNTS:
        values = list(accumulate(value or 0.0 for value in values))
    first = n_steps - interval * (len(values) - 1)  # all series end at the last step
    return {first + interval * i: value for i, value in enumerate(values)}


@st.composite
def views(draw: st.DrawFn) -> RunView:
    n_steps, rng = draw(st.sampled_from([20, 120, 240])), draw(st.randoms(use_true_random=True))
    names = (*SHARES, *COUNTS, *LOSSES, *OTHERS)
    ailments = st.dictionaries(st.sampled_from(list(DETECTORS)), st.integers(0, n_steps), max_size=6)
    outliers = OutlierHistory()
    for step in draw(st.lists(st.integers(1, n_steps + 50), max_size=4)):
        outliers.record(step, {draw(st.sampled_from("ab")): draw(st.none() | st.floats(5, 1e30))})
    facts = make_facts(
        steps_per_evaluation=draw(st.sampled_from([20, 60, 1000])),
        steps_per_epoch=draw(st.sampled_from([1, 6, 400])),
        warmup_steps=draw(st.sampled_from([0, 50])),
        alignment_patience_steps=draw(st.sampled_from([0, 40])),
    )
    return make_view(
        {name: random_series(name, n_steps, rng) for name in names},
        facts,
        step=n_steps,
        attempt_start=draw(st.sampled_from([0, 0, 0, n_steps // 2, n_steps])),
        outliers=outliers,
        phase=draw(st.sampled_from(list(Phases.model_fields))),
        active=draw(ailments),
        untreatable=draw(ailments),
    )


@given(views())
def test_every_diagnosis_is_valid(view: RunView) -> None:
    for ailment, detect in DETECTORS.items():
        diagnosis = detect(view)
        if diagnosis is None:
            continue
        assert diagnosis.ailment == ailment
        assert diagnosis.severity in SEVERITIES
        assert diagnosis.step == view.step
        assert 0 <= diagnosis.since <= view.step
        assert all(math.isfinite(value) for value in diagnosis.evidence.values()), diagnosis


@given(views())
def test_phase_changes_and_forecasts_are_finite(view: RunView) -> None:
    change = next_phase(view, Phases())
    if change is not None:
        assert change.phase != view.phase
        assert all(math.isfinite(value) for value in change.evidence.values())
    for signal in ("free_diagonality", "val_total_loss", *LEVEL_POINTS):
        value = signal_level(view, signal)
        expected = forecast_signal(view, signal, "down", by_step=view.step + 100)
        assert (expected.forecast is None) == (value is None)
        assert math.isfinite(expected.noise)
        judge_mechanism(expected, value, view.facts)
