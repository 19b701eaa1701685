"""Signals keep to their definitions, and what cannot be said is None."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from monitoring.measures.score import composite_tts_score
from monitoring.measures.signals import evaluation_signals, gate_verdict, step_signals, utterance_signals
from reports import DecodeReport, EvaluationReport, SentenceReport, StepReport

CHANNELS, FRAMES, TOKENS, R = 4, 40, 5, 2


def diagonal(steps: int = FRAMES // R, tokens: int = TOKENS) -> np.ndarray:
    return np.eye(tokens)[np.linspace(0, tokens - 1, steps).round().astype(int)]


def gate(opens_at: int | None, steps: int = FRAMES // R) -> np.ndarray:
    probabilities = np.full(steps, 0.1)
    if opens_at is not None:
        probabilities[opens_at] = 0.9
    return probabilities


@dataclass(frozen=True)
class Step(StepReport):
    step: int = 7
    epoch: int = 1
    total_loss: float | None = 1.75
    loss_parts: Mapping[str, float | None] = field(
        default_factory=lambda: {"mel_loss": 1.0, "gate_loss": 0.5, "guide_loss": 0.25}
    )
    measures: Mapping[str, float | None] = field(default_factory=dict)
    gradient_norm: float | None = 3.0
    learning_rate: float = 1e-3
    update_ratio: float | None = 2e-3
    frames_per_second: float = 9000.0
    data_wait_share: float = 0.01
    memory_bytes: int = 2**33
    nonfinite_steps: int = 2
    out_of_memory_steps: int = 0
    utterance_ids: tuple[str, ...] = ("a", "b", "c")
    utterance_losses: tuple[float, ...] = (1.0, 1.1, 0.9)


@dataclass(frozen=True)
class Decode(DecodeReport):
    id: str = "a"
    text: str = "Hello."
    symbol_ids: tuple[int, ...] = (1, 2, 3, 1, 2)
    forced_attention: np.ndarray = field(default_factory=diagonal)
    free_attention: np.ndarray = field(default_factory=diagonal)
    forced_gate: np.ndarray | None = field(default_factory=lambda: gate(FRAMES // R - 1))
    gate_threshold: float = 0.5
    durations: np.ndarray | None = None
    n_frames_per_step: int = R
    recorded_mel: np.ndarray = field(default_factory=lambda: np.zeros((CHANNELS, FRAMES)))
    forced_mel: np.ndarray = field(default_factory=lambda: np.zeros((CHANNELS, FRAMES)))
    free_mel: np.ndarray = field(default_factory=lambda: np.zeros((CHANNELS, FRAMES)))
    stopped: bool = True


@dataclass(frozen=True)
class Evaluation(EvaluationReport):
    decodes: Sequence[DecodeReport] = (Decode(),)
    losses: dict[str, float] = field(default_factory=lambda: {"val_mel_loss": 0.5, "val_total_loss": 0.75})
    step: int = 1000
    epoch: int = 3
    training_seconds: float = 2.5
    sentences: Sequence[SentenceReport] = ()


def signals_of(*decodes: Decode) -> dict[str, float | None]:
    report: EvaluationReport = Evaluation(decodes=decodes)
    return evaluation_signals(report)


def test_step_signals_carry_every_number_of_the_report() -> None:
    report: StepReport = Step()
    assert step_signals(report) == {
        "mel_loss": 1.0,
        "gate_loss": 0.5,
        "guide_loss": 0.25,
        "total_loss": 1.75,
        "gradient_norm": 3.0,
        "learning_rate": 1e-3,
        "update_ratio": 2e-3,
        "frames_per_second": 9000.0,
        "data_wait_share": 0.01,
        "memory_bytes": 2**33,
        "nonfinite_steps": 2,
        "out_of_memory_steps": 0,
        "outlier_utterances": 0,
    }


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_a_nonfinite_step_has_no_gradient_norm(loss: float | None) -> None:
    signals = step_signals(Step(total_loss=loss))
    assert signals["total_loss"] is None
    assert signals["gradient_norm"] is None


def test_a_nonfinite_gradient_is_none_beside_a_finite_loss() -> None:
    signals = step_signals(Step(gradient_norm=math.inf))
    assert (signals["gradient_norm"], signals["total_loss"]) == (None, 1.75)


def test_a_perfect_evaluation() -> None:
    signals = signals_of(Decode())
    expected = dict.fromkeys(
        ("focus", "path_ratio", "coverage", "diagonality", "free_diagonality", "gate_accuracy", "stop_rate"), 1.0
    )
    expected |= {"length_ratio": 1.0, "gate_premature": 0.0, "gate_overrun": 0.0, "mel_distance": 0.0}
    expected |= {"calibrated_gate_threshold": 0.5}
    expected |= {"val_mel_loss": 0.5, "val_total_loss": 0.75, "composite_tts_score": 1.0}
    assert signals == expected


def test_forced_and_free_attention_are_told_apart() -> None:
    signals = signals_of(Decode(free_attention=np.full((20, TOKENS), 1 / TOKENS)))
    assert signals["diagonality"] == 1.0
    assert signals["free_diagonality"] == pytest.approx(0.4)
    signals = signals_of(Decode(forced_attention=np.full((20, TOKENS), 1 / TOKENS)))
    assert signals["diagonality"] == pytest.approx(0.4)
    assert signals["focus"] == pytest.approx(0.2)
    assert signals["free_diagonality"] == 1.0


def test_utterances_without_a_measure_are_left_out_of_its_mean() -> None:
    few_steps = Decode(forced_attention=np.eye(TOKENS)[:3])
    signals = signals_of(Decode(), few_steps)
    assert signals["diagonality"] == 1.0
    assert signals["coverage"] == pytest.approx((1.0 + 3 / TOKENS) / 2)
    assert signals_of(few_steps)["diagonality"] is None


def test_without_utterances_every_signal_is_none() -> None:
    signals = signals_of()
    assert signals.pop("val_mel_loss") == 0.5
    assert signals.pop("val_total_loss") == 0.75
    assert set(signals.values()) == {None}
    assert "gate_premature" in signals


def test_a_nonfinite_validation_loss_is_none() -> None:
    assert evaluation_signals(Evaluation(losses={"val_mel_loss": math.nan}))["val_mel_loss"] is None


def spoken_for(n_frames: int) -> Decode:
    """By a model that has no gate."""
    return Decode(forced_gate=None, free_mel=np.zeros((CHANNELS, n_frames)))


def test_durations_are_counted_over_all_symbols_as_shares_of_what_a_recording_has_for_one() -> None:
    usual = FRAMES / TOKENS
    spoken = Decode(durations=np.array([0.2, 1.0, 1.01, usual, 10 * usual]))
    hasty = Decode(durations=np.array([usual, 10.1 * usual, 11 * usual, usual, usual]))
    signals = signals_of(spoken, hasty)
    assert (signals["zero_duration_share"], signals["huge_duration_share"]) == (0.2, 0.2)
    broken = signals_of(spoken, Decode(durations=np.full(TOKENS, np.nan)))
    assert (broken["zero_duration_share"], broken["huge_duration_share"]) == (None, None)
    assert "zero_duration_share" not in signals_of(Decode())


def test_without_a_gate_speech_ends_right_when_it_is_as_long_as_its_recording() -> None:
    signals = signals_of(spoken_for(FRAMES), spoken_for(round(1.14 * FRAMES)), spoken_for(round(0.8 * FRAMES)))
    assert signals["length_accuracy"] == pytest.approx(2 / 3)
    assert not {"gate_accuracy", "gate_premature", "gate_overrun", "calibrated_gate_threshold"} & signals.keys()
    assert signals["composite_tts_score"] == pytest.approx((2 / 3) ** 0.25)
    assert [utterance_signals(spoken_for(n)).score for n in (FRAMES, FRAMES // 2)] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("r", "opens_at", "verdict"),
    [
        (1, 39, "gate_accuracy"),
        (1, 34, "gate_accuracy"),  # 35 of 40 frames: five early
        (1, 33, "gate_premature"),
        (1, 44, "gate_accuracy"),
        (1, 45, "gate_overrun"),
        (4, 9, "gate_accuracy"),
        (4, 7, "gate_accuracy"),  # 32 of 40: two steps early
        (4, 6, "gate_premature"),
        (4, 11, "gate_accuracy"),
        (4, 12, "gate_overrun"),
        (1, None, "gate_overrun"),
    ],
)
def test_the_gate_may_miss_the_end_by_five_frames_or_two_steps(r: int, opens_at: int | None, verdict: str) -> None:
    assert gate_verdict(Decode(forced_gate=gate(opens_at, steps=50), n_frames_per_step=r)) == verdict


def test_the_first_opening_counts_and_must_exceed_the_threshold() -> None:
    twice = gate(3)
    twice[-1] = 0.9
    assert gate_verdict(Decode(forced_gate=twice)) == "gate_premature"
    assert gate_verdict(Decode(forced_gate=twice, gate_threshold=0.9)) == "gate_overrun"


def test_gate_shares_are_of_the_utterances_that_can_be_judged() -> None:
    nonfinite = Decode(forced_gate=np.full(20, np.nan))
    signals = signals_of(Decode(), Decode(), Decode(forced_gate=gate(2)), Decode(forced_gate=gate(None)), nonfinite)
    assert (signals["gate_accuracy"], signals["gate_premature"], signals["gate_overrun"]) == (0.5, 0.25, 0.25)


def test_stopping_length_and_distance_of_the_free_decode() -> None:
    endless = replace(Decode(), stopped=False, free_mel=np.full((CHANNELS, 3 * FRAMES), 0.5))
    signals = signals_of(Decode(), endless)
    assert signals["stop_rate"] == 0.5
    assert signals["length_ratio"] == pytest.approx(2.0)
    assert signals["mel_distance"] == pytest.approx(0.25)


def test_the_score_is_made_of_the_free_running_signals() -> None:
    bad_forced = Decode(forced_attention=np.full((20, TOKENS), 1 / TOKENS), free_mel=np.full((CHANNELS, FRAMES), 0.6))
    signals = signals_of(bad_forced, Decode(stopped=False), Decode(forced_gate=gate(None)))
    assert signals["composite_tts_score"] == composite_tts_score(
        diagonality=1.0, ending_accuracy=2 / 3, stop_rate=2 / 3, mel_distance=signals["mel_distance"]
    )


def test_a_decode_too_short_for_its_text_counts_as_not_diagonal() -> None:
    cut_off = replace(Decode(), free_attention=diagonal()[: TOKENS - 1])
    assert signals_of(cut_off)["free_diagonality"] == 0.0


def test_a_decode_hardly_shorter_than_its_text_is_left_out() -> None:
    dense = replace(Decode(), forced_attention=np.eye(TOKENS), free_attention=np.eye(TOKENS)[: TOKENS - 1])
    assert len(dense.free_attention) >= 0.8 * TOKENS
    assert signals_of(dense)["free_diagonality"] is None
    assert signals_of(Decode(), dense)["free_diagonality"] == 1.0


def test_a_text_longer_than_its_recording_has_no_free_diagonality() -> None:
    crowded = np.eye(TOKENS)[: TOKENS - 1]
    assert signals_of(replace(Decode(), forced_attention=crowded, free_attention=crowded))["free_diagonality"] is None
