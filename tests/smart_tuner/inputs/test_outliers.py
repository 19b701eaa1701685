from __future__ import annotations

import json

from smart_tuner.inputs.outliers import Appearance, OutlierHistory


def remembered() -> OutlierHistory:
    memory = OutlierHistory()
    memory.record(10, {"loud": 8.0, "broken": None})
    memory.record(20, {"loud": 9.0})
    return memory


def test_every_appearance_is_kept_by_utterance() -> None:
    found = remembered().appearances
    assert found == {"loud": [Appearance(10, 8.0), Appearance(20, 9.0)], "broken": [Appearance(10, None)]}


def test_what_was_dealt_with_is_forgotten() -> None:
    memory = remembered()
    memory.remove(("loud", "never seen"))
    assert set(memory.appearances) == {"broken"}


def test_its_state_goes_through_json_and_back() -> None:
    memory = OutlierHistory()
    memory.record(1, {"old": 7.0})
    memory.load_state_dict(json.loads(json.dumps(remembered().state_dict())))
    assert memory.appearances == remembered().appearances


def test_a_state_is_no_window_into_the_memory() -> None:
    memory = remembered()
    state = memory.state_dict()
    memory.record(30, {"loud": 9.0})
    assert state == remembered().state_dict()
