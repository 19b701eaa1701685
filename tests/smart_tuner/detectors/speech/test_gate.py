from __future__ import annotations

from collections.abc import Sequence

from smart_tuner.detectors.speech.gate import detect_gate_never_fires, detect_premature_stop
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import every, make_facts, on_series

ALIGNED = 0.9
diagnose_overruns = on_series(detect_gate_never_fires)


def overruns(
    *values: float | None, aligned: Sequence[float | None] | None = None, active: bool = False
) -> Diagnosis | None:
    forced = [ALIGNED] * len(values) if aligned is None else aligned
    series = {"gate_overrun": every(100, values), "diagonality": every(100, forced)}
    return diagnose_overruns(series, active={"gate_never_fires": 100} if active else {})


def test_four_evaluations_with_most_gates_closed_are_diagnosed() -> None:
    assert overruns(1.0, 1.0, 1.0) is None
    diagnosis = overruns(1.0, 0.75, 0.8, 1.0)
    assert diagnosis is not None
    assert (diagnosis.ailment, diagnosis.severity) == ("gate_never_fires", "warning")
    assert (diagnosis.step, diagnosis.since) == (400, 100)
    assert diagnosis.evidence == {"gate_overrun": 1.0, "limit": 0.3}
    assert overruns(1.0, 0.74, 0.8, 1.0) is None


def test_other_gate_signals_are_part_of_the_evidence() -> None:
    series = {"gate_overrun": every(100, [0.9] * 4), "diagonality": every(100, [0.9] * 4)}
    other_signals: dict[str, dict[int, float | None]] = {
        "gate_accuracy": {400: 0.1},
        "stop_rate": {400: 0.2},
        "calibrated_gate_threshold": {400: 0.05},
    }
    diagnosis = diagnose_overruns(series | other_signals)
    assert diagnosis is not None
    for name, values in other_signals.items():
        assert diagnosis.evidence[name] == values[400]


def test_overruns_without_attention_are_not_diagnosed() -> None:
    assert overruns(*[1.0] * 4, aligned=[0.9, 0.9, 0.9, 0.49]) is None
    assert overruns(*[1.0] * 4, aligned=[0.1, 0.1, 0.1, 0.5]) is not None
    assert overruns(*[0.5] * 8, aligned=[0.69, *[0.9] * 7]) is None
    assert overruns(*[0.5] * 8, aligned=[0.7] * 8) is not None


def test_premature_ends_are_no_overruns() -> None:
    series = {"gate_premature": every(100, [1.0] * 6), "diagonality": every(100, [0.9] * 6)}
    assert diagnose_overruns(series) is None


def test_a_gate_that_is_learning_gets_more_time() -> None:
    assert overruns(0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4) is None
    assert overruns(0.7, 0.65, 0.6, 0.55, 0.5, 0.4, active=True) is not None
    assert overruns(0.7, 0.69, 0.68, 0.67, 0.66, 0.65, 0.64, 0.63) is not None


def test_missing_overrun_shares_are_not_diagnosed() -> None:
    assert overruns() is None
    assert overruns(None, None, None, None) is None
    assert overruns(1.0, None, 1.0, 1.0) is None
    assert overruns(*[1.0] * 4, aligned=[None] * 4) is None
    assert overruns(1.0, None, 1.0, 1.0, 1.0) is not None


def test_too_large_a_gate_weight_does_not_explain_overruns() -> None:
    series = {"gate_overrun": every(100, [1.0, 0.9]), "diagonality": every(100, [0.1, 0.1])}
    facts = make_facts(balanced_gate_weight=10.0)
    assert diagnose_overruns(series, facts, knobs={"gate_positive_weight": 5000.0}) is None


diagnose_premature_ends = on_series(detect_premature_stop)


def premature_ends(
    *values: float | None, aligned: Sequence[float | None] | None = None, active: bool = False
) -> Diagnosis | None:
    forced = [ALIGNED] * len(values) if aligned is None else aligned
    series = {"gate_premature": every(100, values), "diagonality": every(100, forced)}
    return diagnose_premature_ends(series, active={"premature_stop": 100} if active else {})


def test_eight_evaluations_with_too_many_premature_ends_are_diagnosed() -> None:
    assert premature_ends(*[0.6] * 7) is None
    diagnosis = premature_ends(*[0.6] * 8)
    assert diagnosis is not None
    assert (diagnosis.ailment, diagnosis.severity) == ("premature_stop", "warning")
    assert (diagnosis.step, diagnosis.since) == (800, 100)
    assert diagnosis.evidence == {"gate_premature": 0.6, "limit": 0.3}


def test_four_evaluations_suffice_if_most_utterances_end_early() -> None:
    assert premature_ends(0.9, 0.8, 0.9) is None
    assert premature_ends(0.9, 0.8, 0.9, 1.0) is not None


def test_one_good_evaluation_of_eight_prevents_the_diagnosis() -> None:
    assert premature_ends(0.6, 0.6, 0.6, 0.3, 0.6, 0.6, 0.6, 0.6) is None


def test_premature_ends_without_attention_are_not_diagnosed() -> None:
    assert premature_ends(*[0.6] * 8, aligned=[0.5] * 8) is None


def test_overruns_are_no_premature_ends() -> None:
    series = {"gate_overrun": every(100, [1.0] * 6), "diagonality": every(100, [0.9] * 6)}
    assert diagnose_premature_ends(series) is None


def test_an_active_ailment_ends_at_a_share_of_a_fifth() -> None:
    assert premature_ends(*[0.25] * 8) is None
    assert premature_ends(*[0.25] * 8, active=True) is not None
    assert premature_ends(*[0.2] * 8, active=True) is None


def test_missing_premature_shares_are_not_diagnosed() -> None:
    assert premature_ends(None, 0.6) is None
    assert premature_ends(*[0.6] * 8, aligned=[None] * 8) is None


def test_two_evaluations_suffice_if_the_gate_weight_is_far_off() -> None:
    series = {"gate_premature": every(100, [1.0, 0.9]), "diagonality": every(100, [0.1, 0.3])}
    facts = make_facts(balanced_gate_weight=10.0)
    assert diagnose_premature_ends(series, facts, knobs={"gate_positive_weight": 80.0}) is not None
    assert diagnose_premature_ends(series, facts, knobs={"gate_positive_weight": 79.0}) is None
    assert diagnose_premature_ends(series, facts, knobs={"gate_positive_weight": 0.1}) is None
    wavering = {"gate_premature": every(100, [1.0, 0.4, 1.0]), "diagonality": every(100, [0.9] * 3)}
    assert diagnose_premature_ends(wavering, facts, knobs={"gate_positive_weight": 80.0}) is not None
    better = {"gate_premature": every(100, [1.0, 1.0, 0.4]), "diagonality": every(100, [0.9] * 3)}
    assert diagnose_premature_ends(better, facts, knobs={"gate_positive_weight": 80.0}) is None


def test_free_running_attention_counts_too() -> None:
    forced = {"gate_premature": every(100, [1.0] * 4), "diagonality": every(100, [0.4] * 4)}
    assert diagnose_premature_ends(forced) is None
    assert diagnose_premature_ends(forced | {"free_diagonality": every(100, [0.9] * 4)}) is not None


def test_a_share_of_few_utterances_must_exceed_its_standard_error() -> None:
    series = {"gate_premature": every(100, [4 / 12] * 8), "diagonality": every(100, [0.9] * 8)}
    assert diagnose_premature_ends(series, make_facts(evaluated_utterances=12)) is None
    assert diagnose_premature_ends(series, make_facts(evaluated_utterances=300)) is not None
    assert diagnose_premature_ends(series, make_facts(evaluated_utterances=0)) is not None


def test_a_dominating_gate_weight_is_diagnosed_without_attention() -> None:
    series = {"gate_premature": every(100, [1.0, 0.9]), "diagonality": every(100, [0.1, 0.1])}
    facts = make_facts(balanced_gate_weight=10.0)
    assert diagnose_premature_ends(series, facts, knobs={"gate_positive_weight": 500.0}) is not None
    assert diagnose_premature_ends(series, facts, knobs={"gate_positive_weight": 499.0}) is None
    unknown_balance = make_facts(balanced_gate_weight=None)
    assert diagnose_premature_ends(series, unknown_balance, knobs={"gate_positive_weight": 500.0}) is None
