from __future__ import annotations

from collections.abc import Sequence

from smart_tuner.detectors.speech.premature_stop import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import every, false_alarms, make_facts, make_view

ALIGNED = 0.9


def shares(
    *values: float | None, aligned: Sequence[float | None] | None = None, active: bool = False
) -> Diagnosis | None:
    forced = [ALIGNED] * len(values) if aligned is None else aligned
    series = {"gate_premature": every(100, values), "diagonality": every(100, forced)}
    return detect(make_view(series, active={"premature_stop": 100} if active else {}))


def test_speech_that_is_cut_off_is_found_at_eight_evaluations() -> None:
    assert shares(*[0.6] * 7) is None
    found = shares(*[0.6] * 8)
    assert found is not None
    assert (found.ailment, found.severity, found.step, found.since) == ("premature_stop", "warning", 800, 100)
    assert found.evidence == {"gate_premature": 0.6, "limit": 0.3}


def test_when_nearly_all_of_it_is_cut_off_four_suffice() -> None:
    assert shares(0.9, 0.8, 0.9) is None
    assert shares(0.9, 0.8, 0.9, 1.0) is not None


def test_now_and_then_is_chance() -> None:
    assert shares(0.6, 0.6, 0.6, 0.3, 0.6, 0.6, 0.6, 0.6) is None


def test_without_attention_nobody_knows_where_the_end_is() -> None:
    assert shares(*[0.6] * 8, aligned=[0.5] * 8) is None


def test_overruns_are_another_ailment() -> None:
    series = {"gate_overrun": every(100, [1.0] * 6), "diagonality": every(100, [0.9] * 6)}
    assert detect(make_view(series)) is None


def test_once_entered_it_leaves_at_two_tenths() -> None:
    assert shares(*[0.25] * 8) is None
    assert shares(*[0.25] * 8, active=True) is not None
    assert shares(*[0.2] * 8, active=True) is None


def test_gaps_say_nothing() -> None:
    assert shares(None, 0.6) is None
    assert shares(*[0.6] * 8, aligned=[None] * 8) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("premature_stop") == []


def test_two_suffice_when_the_weight_of_the_gate_says_why() -> None:
    series = {"gate_premature": every(100, [1.0, 0.9]), "diagonality": every(100, [0.1, 0.3])}
    facts = make_facts(balanced_gate_weight=10.0)
    assert detect(make_view(series, facts, knobs={"gate_positive_weight": 80.0})) is not None
    assert detect(make_view(series, facts, knobs={"gate_positive_weight": 79.0})) is None
    assert detect(make_view(series, facts, knobs={"gate_positive_weight": 0.1})) is None
    wavering = {"gate_premature": every(100, [1.0, 0.4, 1.0]), "diagonality": every(100, [0.9] * 3)}
    assert detect(make_view(wavering, facts, knobs={"gate_positive_weight": 80.0})) is not None
    better = {"gate_premature": every(100, [1.0, 1.0, 0.4]), "diagonality": every(100, [0.9] * 3)}
    assert detect(make_view(better, facts, knobs={"gate_positive_weight": 80.0})) is None


def test_attention_of_the_free_running_decode_counts_too() -> None:
    forced = {"gate_premature": every(100, [1.0] * 4), "diagonality": every(100, [0.4] * 4)}
    assert detect(make_view(forced)) is None
    assert detect(make_view(forced | {"free_diagonality": every(100, [0.9] * 4)})) is not None


def test_a_third_of_twelve_utterances_may_be_chance() -> None:
    series = {"gate_premature": every(100, [4 / 12] * 8), "diagonality": every(100, [0.9] * 8)}
    assert detect(make_view(series, make_facts(evaluated_utterances=12))) is None
    assert detect(make_view(series, make_facts(evaluated_utterances=300))) is not None
    assert detect(make_view(series, make_facts(evaluated_utterances=0))) is not None


def test_a_weight_that_drowns_all_else_keeps_attention_from_forming() -> None:
    series = {"gate_premature": every(100, [1.0, 0.9]), "diagonality": every(100, [0.1, 0.1])}
    facts = make_facts(balanced_gate_weight=10.0)
    assert detect(make_view(series, facts, knobs={"gate_positive_weight": 500.0})) is not None
    assert detect(make_view(series, facts, knobs={"gate_positive_weight": 499.0})) is None
    assert detect(make_view(series, knobs={"gate_positive_weight": 500.0})) is None  # nobody knows what is balanced
