from __future__ import annotations

import pytest

from smart_tuner.detectors.optimization.learning_rate import (
    first_of_typical,
    peak_update_ratios,
    ratio_before,
    typical_ratio,
)
from smart_tuner.detectors.optimization.learning_rate_too_high import AILMENT
from tests.smart_tuner.histories import every, make_facts, make_view

WARMUP = make_facts(warmup_steps=100)


def test_the_warm_up_is_taken_out() -> None:
    view = make_view({"update_ratio": every(10, [0.0005, 0.001, 0.0015])}, WARMUP)
    assert peak_update_ratios(view) == [
        (10, pytest.approx(0.005)),
        (20, pytest.approx(0.005)),
        (30, pytest.approx(0.005)),
    ]
    view = make_view({"update_ratio": every(10, [0.005] * 30)}, WARMUP)
    assert peak_update_ratios(view) == [(step, 0.005) for step in range(210, 301, 10)]


def test_the_warm_up_begins_anew_with_an_attempt() -> None:
    view = make_view({"update_ratio": {510: 0.0005, 520: 0.001, 530: 0.0015}}, WARMUP, begin=500)
    assert typical_ratio(view) == pytest.approx(0.005)


def test_the_typical_ratio_is_the_middle_one_of_three() -> None:
    assert typical_ratio(make_view({"update_ratio": every(10, [9.0, 0.004, 9.0, 0.005])})) == 0.005
    assert typical_ratio(make_view({"update_ratio": every(10, [0.004, 0.004, 9.0, 0.006, 0.005])})) == 0.006


def test_too_few_or_too_old_measurements_say_nothing() -> None:
    assert typical_ratio(make_view({})) is None
    assert typical_ratio(make_view({"update_ratio": every(10, [0.1, 0.1])})) is None
    assert typical_ratio(make_view({"update_ratio": every(10, [0.1, 0.1, 0.1])}, step=500)) is None


def test_what_is_typical_now_is_told_from_what_was_before() -> None:
    view = make_view({"update_ratio": every(10, [0.003, 0.005, 0.004, 0.1, 0.2, 0.3])})
    assert (typical_ratio(view), first_of_typical(view), ratio_before(view, AILMENT)) == (0.2, 40, 0.004)
    assert ratio_before(make_view({"update_ratio": every(10, [0.1, 0.1, 0.1])}), AILMENT) is None
    warming_up = make_view({"update_ratio": every(10, [0.001, 0.002, 0.003, 0.004])}, WARMUP)
    assert ratio_before(warming_up, AILMENT) == pytest.approx(0.01)
