"""Signals of evaluations keep to their definitions; an undefined signal is None."""

import math

import numpy as np
import pytest

from monitoring.measures.evaluation import evaluation_signals, utterance_signals
from monitoring.measures.score import composite_tts_score
from monitoring.measures.signals import Signals
from reports import DecodeReport, PlainDecodeReport
from tests.monitoring.measures.sample_reports import (
    N_FRAMES,
    N_MEL,
    N_STEPS,
    N_TOKENS,
    make_decode,
    make_diagonal,
    make_evaluation,
    make_gate,
)

UNIFORM = np.full((N_STEPS, N_TOKENS), 1 / N_TOKENS)


def signals_of(*decodes: DecodeReport) -> Signals:
    return evaluation_signals(make_evaluation(decodes=decodes))


def test_a_perfect_evaluation() -> None:
    expected: Signals = dict.fromkeys(
        ("focus", "path_ratio", "coverage", "diagonality", "free_diagonality", "gate_accuracy", "stop_rate"), 1.0
    )
    expected |= {"length_ratio": 1.0, "gate_premature": 0.0, "gate_overrun": 0.0, "mel_distance": 0.0}
    expected |= {"calibrated_gate_threshold": 0.5}
    expected |= {"val_mel_loss": 0.5, "val_total_loss": 0.75, "composite_tts_score": 1.0}
    assert signals_of(make_decode()) == expected


def test_diagonality_is_teacher_forced_and_free_diagonality_is_free_running() -> None:
    signals = signals_of(make_decode(free_attention=UNIFORM))
    assert signals["diagonality"] == 1.0
    assert signals["free_diagonality"] == pytest.approx(0.4)
    signals = signals_of(make_decode(forced_attention=UNIFORM))
    assert signals["diagonality"] == pytest.approx(0.4)
    assert signals["focus"] == pytest.approx(0.2)
    assert signals["free_diagonality"] == 1.0


def test_utterances_without_a_measure_are_left_out_of_its_mean() -> None:
    few_steps = make_decode(forced_attention=np.eye(N_TOKENS)[:3])
    signals = signals_of(make_decode(), few_steps)
    assert signals["diagonality"] == 1.0
    assert signals["coverage"] == pytest.approx((1.0 + 3 / N_TOKENS) / 2)
    assert signals_of(few_steps)["diagonality"] is None


def test_without_utterances_every_signal_is_none() -> None:
    signals = signals_of()
    assert signals.pop("val_mel_loss") == 0.5
    assert signals.pop("val_total_loss") == 0.75
    assert set(signals.values()) == {None}
    assert "gate_premature" in signals


def test_a_nonfinite_validation_loss_is_none() -> None:
    assert evaluation_signals(make_evaluation(losses={"val_mel_loss": math.nan}))["val_mel_loss"] is None


def test_duration_shares_count_the_symbols_of_all_utterances() -> None:
    mean = N_FRAMES / N_TOKENS
    short = make_decode(durations=np.array([0.2, 1.0, 1.01, mean, 10 * mean]))
    long = make_decode(durations=np.array([mean, 10.1 * mean, 11 * mean, mean, mean]))
    signals = signals_of(short, long)
    assert (signals["zero_duration_share"], signals["huge_duration_share"]) == (0.2, 0.2)
    nonfinite = signals_of(short, make_decode(durations=np.full(N_TOKENS, np.nan)))
    assert (nonfinite["zero_duration_share"], nonfinite["huge_duration_share"]) == (None, None)
    assert "zero_duration_share" not in signals_of(make_decode())


def decode_without_gate(n_frames: int) -> DecodeReport:
    return make_decode(forced_gate=None, free_mel=np.zeros((N_MEL, n_frames)))


def test_without_a_gate_an_utterance_ends_right_at_the_length_of_its_recording() -> None:
    signals = signals_of(*(decode_without_gate(round(share * N_FRAMES)) for share in (1.0, 1.14, 0.8)))
    assert signals["length_accuracy"] == pytest.approx(2 / 3)
    assert not {"gate_accuracy", "gate_premature", "gate_overrun", "calibrated_gate_threshold"} & signals.keys()
    assert signals["composite_tts_score"] == pytest.approx((2 / 3) ** 0.25)
    assert [utterance_signals(decode_without_gate(n)).score for n in (N_FRAMES, N_FRAMES // 2)] == [1.0, 0.0]


def test_gate_shares_leave_out_nonfinite_gates() -> None:
    gates = (make_gate(N_STEPS - 1), make_gate(N_STEPS - 1), make_gate(2), make_gate(None), np.full(N_STEPS, np.nan))
    signals = signals_of(*(make_decode(forced_gate=gate) for gate in gates))
    assert (signals["gate_accuracy"], signals["gate_premature"], signals["gate_overrun"]) == (0.5, 0.25, 0.25)


def test_stop_rate_length_and_distance_of_the_free_running_decode() -> None:
    endless = make_decode(stopped=False, free_mel=np.full((N_MEL, 3 * N_FRAMES), 0.5))
    signals = signals_of(make_decode(), endless)
    assert signals["stop_rate"] == 0.5
    assert signals["length_ratio"] == pytest.approx(2.0)
    assert signals["mel_distance"] == pytest.approx(0.25)


def test_the_score_is_computed_from_free_running_signals() -> None:
    bad_forced = make_decode(forced_attention=UNIFORM, free_mel=np.full((N_MEL, N_FRAMES), 0.6))
    signals = signals_of(bad_forced, make_decode(stopped=False), make_decode(forced_gate=make_gate(None)))
    assert signals["composite_tts_score"] == composite_tts_score(
        diagonality=1.0, ending_accuracy=2 / 3, stop_rate=2 / 3, mel_distance=signals["mel_distance"]
    )


def test_a_cut_off_decode_has_a_free_diagonality_of_zero() -> None:
    cut_off = make_decode(free_attention=make_diagonal()[: N_TOKENS - 1])
    assert signals_of(cut_off)["free_diagonality"] == 0.0


def test_a_decode_hardly_shorter_than_its_recording_is_left_out() -> None:
    dense = make_decode(forced_attention=np.eye(N_TOKENS), free_attention=np.eye(N_TOKENS)[: N_TOKENS - 1])
    assert len(dense.free_attention) >= 0.8 * N_TOKENS
    assert signals_of(dense)["free_diagonality"] is None
    assert signals_of(make_decode(), dense)["free_diagonality"] == 1.0


def test_a_text_longer_than_its_recording_has_no_free_diagonality() -> None:
    crowded = np.eye(N_TOKENS)[: N_TOKENS - 1]
    assert signals_of(make_decode(forced_attention=crowded, free_attention=crowded))["free_diagonality"] is None


@pytest.mark.parametrize(
    ("n_frames", "stopped", "rate"), [(100, True, 1.0), (49, True, 0.0), (201, True, 0.0), (100, False, 0.0)]
)
def test_a_plain_text_ends_in_time_by_itself_and_at_about_the_expected_length(
    n_frames: int, stopped: bool, rate: float
) -> None:
    decode = PlainDecodeReport(text="x", n_frames=n_frames, expected_frames=100.0, stopped=stopped)
    assert evaluation_signals(make_evaluation(plain_decodes=(decode,)))["plain_stop_rate"] == rate


def test_without_plain_texts_there_is_no_such_signal() -> None:
    assert "plain_stop_rate" not in evaluation_signals(make_evaluation())
