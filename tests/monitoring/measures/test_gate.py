"""Classes of teacher-forced gates, and the calibrated threshold."""

import numpy as np
import pytest

from monitoring.measures.evaluation import evaluation_signals
from monitoring.measures.gate import GATE_THRESHOLDS, calibrated_gate_threshold, classify_gate
from reports import DecodeReport
from tests.monitoring.measures.sample_reports import N_STEPS, make_decode, make_evaluation, make_gate


@pytest.mark.parametrize(
    ("n_frames_per_step", "open_step", "expected"),
    [
        (1, 39, "gate_accuracy"),
        (1, 34, "gate_accuracy"),  # 35 of 40 frames: five early
        (1, 33, "gate_premature"),
        (1, 44, "gate_accuracy"),
        (1, 45, "gate_overrun"),
        (4, 9, "gate_accuracy"),
        (4, 7, "gate_accuracy"),  # 32 of 40 frames: two steps early
        (4, 6, "gate_premature"),
        (4, 11, "gate_accuracy"),
        (4, 12, "gate_overrun"),
        (1, None, "gate_overrun"),
    ],
)
def test_a_gate_is_accurate_within_five_frames_or_two_steps(
    n_frames_per_step: int, open_step: int | None, expected: str
) -> None:
    decode = make_decode(forced_gate=make_gate(open_step, steps=50), n_frames_per_step=n_frames_per_step)
    assert classify_gate(decode) == expected


def test_the_first_step_above_the_threshold_counts() -> None:
    gate = make_gate(3)
    gate[-1] = 0.9
    assert classify_gate(make_decode(forced_gate=gate)) == "gate_premature"
    assert classify_gate(make_decode(forced_gate=gate, gate_threshold=0.9)) == "gate_overrun"


def make_closed_decode(probability: float, step: int = N_STEPS - 1) -> DecodeReport:
    """Decode with a gate of 0.01 except for one step."""
    gate = np.full(N_STEPS, 0.01)
    gate[step] = probability
    return make_decode(forced_gate=gate)


def test_the_threshold_is_lowered_for_gates_that_open_little() -> None:
    decodes = [make_closed_decode(0.22), make_closed_decode(0.2), make_closed_decode(0.17)]
    signals = evaluation_signals(make_evaluation(decodes=decodes))
    threshold = calibrated_gate_threshold(decodes)
    assert signals["gate_accuracy"] == 0.0
    assert threshold is not None and 0.05 <= threshold < 0.17
    assert {classify_gate(decode, threshold) for decode in decodes} == {"gate_accuracy"}
    assert signals["calibrated_gate_threshold"] == threshold


def test_the_threshold_is_raised_for_a_gate_that_opens_early_too() -> None:
    flickering = make_closed_decode(0.9)
    assert flickering.forced_gate is not None
    flickering.forced_gate[3] = 0.62
    assert calibrated_gate_threshold([flickering]) == 0.75  # the middle of .65 to .85
    assert calibrated_gate_threshold([flickering, make_closed_decode(0.7), make_closed_decode(0.7)]) == 0.65


def test_the_threshold_makes_most_gates_accurate() -> None:
    assert calibrated_gate_threshold([make_closed_decode(p) for p in (0.1, 0.1, 0.9, 0.01)]) == 0.05


def test_without_an_accurate_gate_there_is_no_threshold() -> None:
    assert calibrated_gate_threshold([]) is None
    assert calibrated_gate_threshold([make_closed_decode(0.9, step=2), make_closed_decode(0.0)]) is None
    assert calibrated_gate_threshold([make_decode(forced_gate=np.full(N_STEPS, np.nan))]) is None


def test_of_equal_thresholds_the_middle_one_is_chosen() -> None:
    assert calibrated_gate_threshold([make_decode()]) == 0.5
    assert GATE_THRESHOLDS[0] == 0.05 and GATE_THRESHOLDS[-1] == 0.95
