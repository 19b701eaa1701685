from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports import SentenceReport
from speech.decode_check import Pace, check_decode, longest_rest, resting_step

PACE = Pace(symbol_seconds=0.08, frame_seconds=0.0116, step_seconds=0.0348)
N = 40


def report(positions: list[int] | np.ndarray, *, stopped: bool = True) -> SentenceReport:
    """A decode whose attention follows these symbols, three frames a step."""
    attention = np.zeros((len(positions), N))
    attention[np.arange(len(positions)), positions] = 1.0
    mel = np.zeros((80, 3 * len(positions)))
    return SentenceReport(
        id="x", text="x", symbol_ids=tuple(range(N)), free_attention=attention, free_mel=mel, stopped=stopped
    )


STRAIGHT = np.repeat(np.arange(N), 2)


def reason(positions: list[int] | np.ndarray, *, stopped: bool = True, has_attention: bool = True) -> str:
    return check_decode(report(positions, stopped=stopped), PACE, has_attention=has_attention).reason


def test_a_decode_along_the_text_is_good() -> None:
    assert check_decode(report(STRAIGHT), PACE, has_attention=True).badness == 0
    assert reason(STRAIGHT[::2]) == ""  # each symbol for one step: fast, not skipping


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (np.concatenate([STRAIGHT[:20], STRAIGHT[50:], STRAIGHT[-1:].repeat(20)]), "skips words"),
        (np.concatenate([STRAIGHT[:60], STRAIGHT[20:]]), "repeats words"),
        (STRAIGHT[:60], "skips words"),  # it ends in the middle
        (np.repeat(np.arange(N), 8), "is much too long"),
        (STRAIGHT[:10], "is much too short"),
    ],
)
def test_faults_are_found(positions: np.ndarray, expected: str) -> None:
    assert reason(positions) == expected


def test_endless_speech_is_the_worst_fault() -> None:
    assert reason(np.concatenate([STRAIGHT[:60], STRAIGHT[20:]]), stopped=False) == "does not end by itself"


def test_without_attention_only_length_counts() -> None:
    assert reason(STRAIGHT[:60], has_attention=False) == ""
    assert reason(np.repeat(np.arange(N), 8), has_attention=False) == "is much too long"


def test_a_voice_without_a_known_pace_is_not_judged_by_length() -> None:
    pace = Pace(None, PACE.frame_seconds, PACE.step_seconds)
    assert check_decode(report(np.repeat(np.arange(N), 8)), pace, has_attention=True).badness == 0


def test_attention_that_rests_longer_than_in_training_tells_where_to_cut() -> None:
    rest = np.full(40, N - 1)
    attention = report(np.concatenate([STRAIGHT, rest])).free_attention
    longest = longest_rest(attention)
    assert 40 < longest < 50 and longest_rest(report([0, 1]).free_attention) == 0
    patient = replace(PACE, rest_seconds=longest * PACE.step_seconds)
    assert resting_step(attention, patient) is None
    assert resting_step(attention, replace(patient, rest_seconds=(longest - 1) * PACE.step_seconds)) is not None
    step = resting_step(report(np.concatenate([STRAIGHT, rest])).free_attention, PACE)
    assert step is not None and len(STRAIGHT) - 4 <= step <= len(STRAIGHT) + 6
    assert resting_step(report(STRAIGHT).free_attention, PACE) is None
    assert resting_step(report(np.concatenate([STRAIGHT, [0] * 40])).free_attention, PACE) is None
