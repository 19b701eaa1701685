from __future__ import annotations

import pytest

from smart_tuner.detectors.speech.attention_lost import detect
from tests.smart_tuner.histories import Values, every, false_alarms, make_view

FORMED = [0.1, 0.4, 0.8, 0.9]


def free(*later: float | None) -> dict[str, Values]:
    return {"free_diagonality": every(100, [*FORMED, *later])}


def test_a_diagonal_that_is_gone_at_once_is_lost() -> None:
    found = detect(make_view(free(0.1)))
    assert found is not None
    assert (found.ailment, found.severity, found.step, found.since) == ("attention_lost", "critical", 500, 401)
    assert found.evidence == {"free_diagonality": 0.1, "best": 0.9, "last_good_step": 400}


def test_half_of_the_best_at_two_evaluations_is_lost_and_at_one_is_not() -> None:
    assert detect(make_view(free(0.44))) is None
    found = detect(make_view(free(0.44, 0.44)))
    assert found is not None and (found.since, found.step) == (401, 600)
    assert detect(make_view(free(0.44, 0.46))) is None


@pytest.mark.parametrize(("latest", "is_lost"), [(0.29, True), (0.3, False)])
def test_a_single_evaluation_below_the_threshold_is_enough(latest: float, is_lost: bool) -> None:
    assert (detect(make_view(free(latest))) is not None) is is_lost


def test_once_lost_it_takes_nearly_the_best_to_be_found_again() -> None:
    active = {"attention_lost": 401}
    assert detect(make_view(free(0.1, 0.71), active=active)) is not None
    assert detect(make_view(free(0.1, 0.73), active=active)) is None
    assert detect(make_view(free(0.1, 0.71))) is None


def test_few_decodes_that_slip_once_are_no_loss_while_attention_is_well_under_teacher_forcing() -> None:
    forced = {"diagonality": every(100, [0.2, 0.6, 0.9, 0.9, 0.9, 0.9])}
    assert detect(make_view(free(0.1) | forced, step=500)) is None
    assert detect(make_view(free(0.1, 0.1) | forced)) is not None
    assert detect(make_view(free(0.1) | {"diagonality": every(100, [0.2, 0.6, 0.9, 0.9, 0.3])})) is not None


def test_what_never_formed_cannot_be_lost() -> None:
    assert detect(make_view({"free_diagonality": every(100, [0.1, 0.5, 0.69, 0.1, 0.1])})) is None


def test_an_attempt_that_was_given_up_does_not_count() -> None:
    assert detect(make_view(free(0.1, 0.1), begin=400)) is None


@pytest.mark.parametrize("values", [[], [0.9], [None, None], [0.9, None], [None, 0.9, None, None]])
def test_gaps_are_no_loss(values: list[float | None]) -> None:
    assert detect(make_view({"free_diagonality": every(100, values)})) is None


def test_a_gap_hides_no_loss() -> None:
    found = detect(make_view(free(None, 0.1, None)))
    assert found is not None and found.since == 401


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("attention_lost") == []
