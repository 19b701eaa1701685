from __future__ import annotations

from collections.abc import Sequence

from smart_tuner.detectors.speech.gate_never_fires import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import every, false_alarms, make_facts, make_view

ALIGNED = 0.9


def shares(
    *values: float | None, aligned: Sequence[float | None] | None = None, active: bool = False
) -> Diagnosis | None:
    forced = [ALIGNED] * len(values) if aligned is None else aligned
    series = {"gate_overrun": every(100, values), "diagonality": every(100, forced)}
    return detect(make_view(series, active={"gate_never_fires": 100} if active else {}))


def test_gates_that_hardly_open_are_found_at_four_evaluations() -> None:
    assert shares(1.0, 1.0, 1.0) is None
    found = shares(1.0, 0.75, 0.8, 1.0)
    assert found is not None
    assert (found.ailment, found.severity, found.step, found.since) == ("gate_never_fires", "warning", 400, 100)
    assert found.evidence == {"gate_overrun": 1.0, "limit": 0.3}
    assert shares(1.0, 0.74, 0.8, 1.0) is None


def test_what_is_known_of_the_gate_beside_it_is_evidence() -> None:
    series = {"gate_overrun": every(100, [0.9] * 4), "diagonality": every(100, [0.9] * 4)}
    beside: dict[str, dict[int, float | None]] = {
        "gate_accuracy": {400: 0.1},
        "stop_rate": {400: 0.2},
        "calibrated_gate_threshold": {400: 0.05},
    }
    found = detect(make_view(series | beside))
    assert found is not None
    assert {name: found.evidence[name] for name in beside} == {name: value[400] for name, value in beside.items()}


def test_without_attention_nobody_knows_where_the_end_is() -> None:
    assert shares(*[1.0] * 4, aligned=[0.9, 0.9, 0.9, 0.49]) is None
    assert shares(*[1.0] * 4, aligned=[0.1, 0.1, 0.1, 0.5]) is not None
    assert shares(*[0.5] * 8, aligned=[0.69, *[0.9] * 7]) is None
    assert shares(*[0.5] * 8, aligned=[0.7] * 8) is not None


def test_premature_ends_are_another_ailment() -> None:
    series = {"gate_premature": every(100, [1.0] * 6), "diagonality": every(100, [0.9] * 6)}
    assert detect(make_view(series)) is None


def test_a_gate_that_is_learning_is_waited_for() -> None:
    assert shares(0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4) is None
    assert shares(0.7, 0.65, 0.6, 0.55, 0.5, 0.4, active=True) is not None
    assert shares(0.7, 0.69, 0.68, 0.67, 0.66, 0.65, 0.64, 0.63) is not None


def test_gaps_say_nothing() -> None:
    assert shares() is None
    assert shares(None, None, None, None) is None
    assert shares(1.0, None, 1.0, 1.0) is None
    assert shares(*[1.0] * 4, aligned=[None] * 4) is None
    assert shares(1.0, None, 1.0, 1.0, 1.0) is not None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("gate_never_fires") == []


def test_a_heavy_gate_is_no_reason_that_it_does_not_fire() -> None:
    series = {"gate_overrun": every(100, [1.0, 0.9]), "diagonality": every(100, [0.1, 0.1])}
    facts = make_facts(balanced_gate_weight=10.0)
    assert detect(make_view(series, facts, knobs={"gate_positive_weight": 5000.0})) is None
