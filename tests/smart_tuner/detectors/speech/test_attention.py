from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from smart_tuner.detectors.speech.attention import (
    detect_alignment_not_forming,
    detect_attention_lost,
    detect_attention_not_forming,
)
from smart_tuner.inputs.run_view import RunView
from tests.smart_tuner.histories import Values, every, make_facts, make_view, on_series

PATIENCE = 400
diagnose_not_forming = on_series(detect_attention_not_forming)


def flat(n_evaluations: int, level: float = 0.1) -> RunView:
    return evaluations([level] * n_evaluations)


def evaluations(free: Sequence[float | None], forced: Sequence[float | None] | None = None) -> RunView:
    return make_view(
        {"free_diagonality": every(100, free), "diagonality": every(100, free if forced is None else forced)}
    )


def test_diagonality_that_stays_low_is_not_forming() -> None:
    diagnosis = detect_attention_not_forming(flat(6))
    assert diagnosis is not None
    assert (diagnosis.ailment, diagnosis.severity) == ("attention_not_forming", "warning")
    assert (diagnosis.step, diagnosis.since) == (600, 100)
    evidence = dict(diagnosis.evidence)
    assert evidence.pop("expected") == pytest.approx(0.1)
    assert evidence == {"best": 0.1, "free_diagonality": 0.1, "diagonality": 0.1}


def searched(level: float, n_evaluations: int = 6) -> RunView:
    """Evaluations of a model whose alignment is found by search."""
    facts = make_facts(alignment_patience_steps=0, search_patience_steps=PATIENCE)
    return replace(flat(n_evaluations, level), facts=facts)


@pytest.mark.parametrize(("level", "severity"), [(0.06, "critical"), (0.16, "warning"), (0.3, None)])
def test_an_alignment_that_is_found_by_search_has_levels_of_its_own(level: float, severity: str | None) -> None:
    diagnosis = detect_alignment_not_forming(searched(level, n_evaluations=12))
    assert (None if diagnosis is None else (diagnosis.ailment, diagnosis.severity)) == (
        None if severity is None else ("alignment_not_forming", severity)
    )
    assert detect_attention_not_forming(searched(level)) is None
    assert detect_alignment_not_forming(flat(12, level)) is None  # it has attention


@pytest.mark.parametrize(("n_evaluations", "is_diagnosed"), [(5, False), (6, True)])
def test_an_alignment_that_has_formed_by_half_may_take_half_as_long_again(
    n_evaluations: int, is_diagnosed: bool
) -> None:
    assert (detect_attention_not_forming(flat(n_evaluations, 0.4)) is not None) is is_diagnosed


def test_not_forming_is_not_diagnosed_before_the_patience_is_over() -> None:
    assert detect_attention_not_forming(flat(3)) is None
    assert detect_attention_not_forming(flat(4)) is not None


@pytest.mark.parametrize(("n_evaluations", "severity"), [(11, "warning"), (12, "critical")])
def test_not_forming_is_critical_after_three_times_the_patience(n_evaluations: int, severity: str) -> None:
    diagnosis = detect_attention_not_forming(flat(n_evaluations))
    assert diagnosis is not None and diagnosis.severity == severity


def test_half_formed_attention_is_allowed_at_first_and_never_critical() -> None:
    assert detect_attention_not_forming(flat(7, 0.5)) is None
    for n_evaluations in (8, 40):
        diagnosis = detect_attention_not_forming(flat(n_evaluations, 0.5))
        assert diagnosis is not None and diagnosis.severity == "warning"
    assert detect_attention_not_forming(flat(40, 0.7)) is None


def test_a_trend_that_leads_to_the_target_is_allowed() -> None:
    rising = [0.06, 0.2, 0.34, 0.48]
    assert detect_attention_not_forming(evaluations(rising)) is None
    diagnosis = detect_attention_not_forming(evaluations([value / 3 for value in rising]))
    assert diagnosis is not None and diagnosis.evidence["expected"] == pytest.approx(0.16 + 0.0014 / 3 * PATIENCE / 2)


def test_teacher_forced_attention_counts_as_forming() -> None:
    assert detect_attention_not_forming(evaluations([0.1] * 6, [0.49] * 6)) is not None
    assert detect_attention_not_forming(evaluations([0.1] * 6, [0.5] * 6)) is None


def test_models_without_attention_have_none_to_form() -> None:
    view = flat(20)
    assert diagnose_not_forming({}, make_facts(alignment_patience_steps=0), history=view.history, step=2000) is None


def test_the_patience_starts_again_with_an_attempt() -> None:
    view = flat(14)
    assert diagnose_not_forming({}, history=view.history, step=1400, attempt_start=1100) is None
    diagnosis = diagnose_not_forming({}, history=view.history, step=1400, attempt_start=1000)
    assert diagnosis is not None and (diagnosis.since, diagnosis.severity) == (1100, "warning")


def test_not_forming_is_not_diagnosed_without_measurements() -> None:
    missing: list[float | None] = [None] * 20
    assert detect_attention_not_forming(evaluations(missing)) is None
    assert detect_attention_not_forming(evaluations([0.1] * 20, missing)) is None
    assert detect_attention_not_forming(evaluations(missing, [0.1] * 20)) is None
    assert detect_attention_not_forming(evaluations([*missing, 0.1])) is None


FORMED = [0.1, 0.4, 0.8, 0.9]
diagnose_lost = on_series(detect_attention_lost)


def after_forming(*later: float | None) -> dict[str, Values]:
    return {"free_diagonality": every(100, [*FORMED, *later])}


def test_a_diagonal_that_disappears_is_lost() -> None:
    diagnosis = diagnose_lost(after_forming(0.1))
    assert diagnosis is not None
    assert (diagnosis.ailment, diagnosis.severity) == ("attention_lost", "critical")
    assert (diagnosis.step, diagnosis.since) == (500, 401)
    assert diagnosis.evidence == {"free_diagonality": 0.1, "best": 0.9, "last_good_step": 400}


def test_below_half_of_the_best_in_two_evaluations_is_lost() -> None:
    assert diagnose_lost(after_forming(0.44)) is None
    diagnosis = diagnose_lost(after_forming(0.44, 0.44))
    assert diagnosis is not None and (diagnosis.since, diagnosis.step) == (401, 600)
    assert diagnose_lost(after_forming(0.44, 0.46)) is None


@pytest.mark.parametrize(("latest", "is_lost"), [(0.29, True), (0.3, False)])
def test_one_evaluation_below_the_threshold_is_lost(latest: float, is_lost: bool) -> None:
    assert (diagnose_lost(after_forming(latest)) is not None) is is_lost


def test_lost_attention_must_return_to_nearly_its_best() -> None:
    active = {"attention_lost": 401}
    assert diagnose_lost(after_forming(0.1, 0.71), active=active) is not None
    assert diagnose_lost(after_forming(0.1, 0.73), active=active) is None
    assert diagnose_lost(after_forming(0.1, 0.71)) is None


def test_one_bad_evaluation_is_no_loss_if_teacher_forced_attention_is_good() -> None:
    forced = {"diagonality": every(100, [0.2, 0.6, 0.9, 0.9, 0.9, 0.9])}
    assert diagnose_lost(after_forming(0.1) | forced, step=500) is None
    assert diagnose_lost(after_forming(0.1, 0.1) | forced) is not None
    assert diagnose_lost(after_forming(0.1) | {"diagonality": every(100, [0.2, 0.6, 0.9, 0.9, 0.3])}) is not None


def test_attention_that_never_formed_cannot_be_lost() -> None:
    assert diagnose_lost({"free_diagonality": every(100, [0.1, 0.5, 0.69, 0.1, 0.1])}) is None


def test_earlier_attempts_do_not_count() -> None:
    assert diagnose_lost(after_forming(0.1, 0.1), attempt_start=400) is None


@pytest.mark.parametrize("values", [[], [0.9], [None, None], [0.9, None], [None, 0.9, None, None]])
def test_missing_evaluations_are_no_loss(values: list[float | None]) -> None:
    assert diagnose_lost({"free_diagonality": every(100, values)}) is None


def test_a_loss_is_seen_despite_missing_evaluations() -> None:
    diagnosis = diagnose_lost(after_forming(None, 0.1, None))
    assert diagnosis is not None and diagnosis.since == 401
