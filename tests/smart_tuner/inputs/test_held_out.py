"""Held-out distances: kept in logarithms by evaluation, smoothed over three."""

from __future__ import annotations

import json
import math

import pytest

from smart_tuner.inputs.held_out import DistanceHistory


def make_history(*evaluations: dict[str, float]) -> DistanceHistory:
    history = DistanceHistory()
    for number, distances in enumerate(evaluations, start=1):
        history.record(10 * number, distances)
    return history


def test_three_evaluations_in_a_row_are_smoothed_by_utterance() -> None:
    history = make_history({"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 1.0}, {"a": 2.0, "b": 9.0}, {"a": 8.0, "b": 3.0})
    smoothed = history.smoothed(first_step=1)
    assert [step for step, _ in smoothed] == [30, 40]
    assert smoothed[0][1] == pytest.approx({"a": math.log(2.0), "b": math.log(2.0)})
    assert smoothed[1][1] == pytest.approx({"a": math.log(3.0), "b": math.log(3.0)})


def test_utterances_that_were_not_said_each_time_are_left_out() -> None:
    history = make_history({"a": 1.0, "b": 2.0}, {"a": 1.0}, {"a": 1.0, "b": 0.0})
    assert history.smoothed(1) == [(30, {"a": 0.0})]


def test_evaluations_before_the_attempt_do_not_count() -> None:
    assert make_history({"a": 1.0}, {"a": 1.0}, {"a": 1.0}).smoothed(first_step=11) == []


def test_a_rollback_drops_later_evaluations() -> None:
    history = make_history({"a": 1.0}, {"a": 2.0}, {"a": 3.0})
    history.drop_after(20)
    assert [step for step, _ in history.evaluations] == [10, 20]


def test_the_state_survives_a_resume() -> None:
    history, resumed = make_history({"a": 1.5, "b": 2.0}), DistanceHistory()
    resumed.load_state_dict(json.loads(json.dumps(history.state_dict())))
    assert resumed == history


def test_an_evaluation_without_speech_is_the_latest_one_too() -> None:
    history = make_history({"a": 1.0}, {"a": 0.0})
    assert history.latest() == {} and history.levels() == [0.0]
    assert history.smoothed(1) == []
