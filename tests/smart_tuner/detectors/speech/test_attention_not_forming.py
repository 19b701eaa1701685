from __future__ import annotations

from collections.abc import Sequence

import pytest

from smart_tuner.detectors.speech.attention_not_forming import detect
from smart_tuner.inputs.run_view import RunView
from tests.smart_tuner.histories import every, false_alarms, make_facts, make_view

PATIENCE = 400


def stuck(n_evaluations: int, level: float = 0.1) -> RunView:
    return evaluated([level] * n_evaluations)


def evaluated(free: Sequence[float | None], forced: Sequence[float | None] | None = None) -> RunView:
    return make_view(
        {"free_diagonality": every(100, free), "diagonality": every(100, free if forced is None else forced)}
    )


def test_attention_that_stays_flat_is_not_forming() -> None:
    found = detect(stuck(6))
    assert found is not None
    assert (found.ailment, found.severity, found.step, found.since) == ("attention_not_forming", "warning", 600, 100)
    assert found.evidence["best"] == found.evidence["free_diagonality"] == found.evidence["diagonality"] == 0.1
    assert found.evidence["expected"] == pytest.approx(0.1)


def test_it_has_its_time() -> None:
    assert detect(stuck(3)) is None
    assert detect(stuck(4)) is not None


@pytest.mark.parametrize(("n_evaluations", "severity"), [(11, "warning"), (12, "critical")])
def test_after_three_times_its_time_it_is_critical(n_evaluations: int, severity: str) -> None:
    found = detect(stuck(n_evaluations))
    assert found is not None and found.severity == severity


def test_half_formed_is_enough_at_first_and_a_warning_later_but_never_critical() -> None:
    assert detect(stuck(7, 0.5)) is None
    for n_evaluations in (8, 40):
        found = detect(stuck(n_evaluations, 0.5))
        assert found is not None and found.severity == "warning"
    assert detect(stuck(40, 0.7)) is None


def test_what_is_on_its_way_is_waited_for() -> None:
    rising = [0.06, 0.2, 0.34, 0.48]
    assert detect(evaluated(rising)) is None
    found = detect(evaluated([value / 3 for value in rising]))
    assert found is not None and found.evidence["expected"] == pytest.approx(0.16 + 0.0014 / 3 * PATIENCE / 2)


def test_forming_under_teacher_forcing_counts() -> None:
    assert detect(evaluated([0.1] * 6, [0.49] * 6)) is not None
    assert detect(evaluated([0.1] * 6, [0.5] * 6)) is None


def test_a_model_without_attention_has_none_to_form() -> None:
    view = stuck(20)
    assert detect(make_view({}, make_facts(alignment_patience_steps=0), history=view.history, step=2000)) is None


def test_a_new_attempt_has_its_time_again() -> None:
    view = stuck(14)
    assert detect(make_view({}, history=view.history, step=1400, begin=1100)) is None
    found = detect(make_view({}, history=view.history, step=1400, begin=1000))
    assert found is not None and (found.since, found.severity) == (1100, "warning")


def test_without_measurements_nothing_is_said() -> None:
    nothing: list[float | None] = [None] * 20
    assert detect(evaluated(nothing)) is None
    assert detect(evaluated([0.1] * 20, nothing)) is None
    assert detect(evaluated(nothing, [0.1] * 20)) is None
    assert detect(evaluated([*nothing, 0.1])) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("attention_not_forming") == []
