from __future__ import annotations

import json

from smart_tuner.inputs.outliers import Appearance, OutlierHistory


def make_history() -> OutlierHistory:
    history = OutlierHistory()
    history.record(10, {"loud": 8.0, "broken": None})
    history.record(20, {"loud": 9.0})
    return history


def test_appearances_are_kept_by_utterance() -> None:
    assert make_history().appearances == {
        "loud": [Appearance(10, 8.0), Appearance(20, 9.0)],
        "broken": [Appearance(10, None)],
    }


def test_removed_utterances_have_no_appearances() -> None:
    history = make_history()
    history.remove(("loud", "never an outlier"))
    assert set(history.appearances) == {"broken"}


def test_the_state_survives_json() -> None:
    history = OutlierHistory()
    history.record(1, {"old": 7.0})
    history.load_state_dict(json.loads(json.dumps(make_history().state_dict())))
    assert history.appearances == make_history().appearances


def test_a_state_does_not_change_with_the_history() -> None:
    history = make_history()
    state = history.state_dict()
    history.record(30, {"loud": 9.0})
    assert state == make_history().state_dict()
