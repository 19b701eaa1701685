"""Signals of an evaluation: of each held-out utterance, and their means over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.measures.alignment import Alignment, measure_alignment
from monitoring.measures.gate import calibrated_gate_threshold, classify_gate
from monitoring.measures.mel_distance import mel_distance
from monitoring.measures.score import composite_tts_score
from monitoring.measures.signals import Signals, finite, mean_of_known
from reports import DecodeReport, EvaluationReport, PlainDecodeReport

LENGTH_TOLERANCE = 0.15
"""Without a gate an utterance ends right if its length differs from its recording by at most this share."""

HUGE_DURATION = 10.0
"""A predicted duration is huge above this many times the mean duration of a symbol in the recording."""

SHORTEST, LONGEST = 0.5, 2.0
"""Length of a decode that ends in time, as a multiple of the expected one."""

CUT_OFF_SHARE = 0.8
"""A decode with fewer steps than tokens counts as cut off if it is shorter than this share of its recording."""


@dataclass(frozen=True)
class UtteranceSignals:
    """Signals of one held-out utterance; the field names are keys in the journal."""

    free_diagonality: float | None
    mel_distance: float | None
    length_ratio: float | None  # free-running frames / recorded frames
    gate: str | None  # gate_accuracy, gate_premature or gate_overrun, from the teacher-forced gate
    ends_right: bool | None  # by the gate, or by the length in a model without one
    stopped: bool

    @property
    def score(self) -> float | None:
        """The composite_tts_score of this utterance alone."""
        return composite_tts_score(
            diagonality=self.free_diagonality,
            ending_accuracy=None if self.ends_right is None else float(self.ends_right),
            stop_rate=float(self.stopped),
            mel_distance=self.mel_distance,
        )


def utterance_signals(decode: DecodeReport) -> UtteranceSignals:
    length_ratio, gate = _length_ratio(decode), classify_gate(decode)
    if decode.forced_gate is None:
        ends_right = None if length_ratio is None else abs(length_ratio - 1) <= LENGTH_TOLERANCE
    else:
        ends_right = None if gate is None else gate == "gate_accuracy"
    return UtteranceSignals(
        free_diagonality=_free_diagonality(decode),
        mel_distance=mel_distance(decode.free_mel, decode.recorded_mel),
        length_ratio=length_ratio,
        gate=gate,
        ends_right=ends_right,
        stopped=decode.stopped,
    )


def evaluation_signals(report: EvaluationReport, utterances: Sequence[UtteranceSignals] | None = None) -> Signals:
    """Return means over the utterances for which a signal is defined.

    `utterances`: signals of the report's decodes, if they are computed already.
    """
    decodes = report.decodes
    utterances = list(map(utterance_signals, decodes)) if utterances is None else utterances
    signals: Signals = {
        **_alignment_signals([measure_alignment(decode.forced_attention) for decode in decodes]),
        "free_diagonality": mean_of_known(utterance.free_diagonality for utterance in utterances),
        **_ending_signals(decodes, utterances),
        **_duration_signals(decodes),
        "stop_rate": mean_of_known(float(utterance.stopped) for utterance in utterances),
        "length_ratio": mean_of_known(utterance.length_ratio for utterance in utterances),
        "mel_distance": mean_of_known(utterance.mel_distance for utterance in utterances),
        **{name: finite(loss) for name, loss in report.losses.items()},
    }
    if report.plain_decodes:
        signals["plain_stop_rate"] = mean_of_known(float(_ends_in_time(decode)) for decode in report.plain_decodes)
    signals["composite_tts_score"] = composite_tts_score(
        diagonality=signals["free_diagonality"],
        ending_accuracy=signals["length_accuracy" if "length_accuracy" in signals else "gate_accuracy"],
        stop_rate=signals["stop_rate"],
        mel_distance=signals["mel_distance"],
    )
    return signals


def _ends_in_time(decode: PlainDecodeReport) -> bool:
    """Whether a decode ended by itself, at about the expected length."""
    return decode.stopped and SHORTEST <= decode.n_frames / decode.expected_frames <= LONGEST


def _free_diagonality(decode: DecodeReport) -> float | None:
    """Diagonality of the free-running decode, 0 if it was cut off.

    A cut-off decode has fewer steps than tokens and so no diagonality; leaving it out would hide the worst failures.
    """
    (n_free_steps, n_tokens), n_recorded_steps = decode.free_attention.shape, len(decode.forced_attention)
    if n_free_steps < n_tokens <= n_recorded_steps and n_free_steps < CUT_OFF_SHARE * n_recorded_steps:
        return 0.0
    return measure_alignment(decode.free_attention).diagonality


def _length_ratio(decode: DecodeReport) -> float | None:
    n_recorded_frames = decode.recorded_mel.shape[1]
    return decode.free_mel.shape[1] / n_recorded_frames if n_recorded_frames else None


def _alignment_signals(alignments: Sequence[Alignment]) -> Signals:
    return {
        "focus": mean_of_known(alignment.focus for alignment in alignments),
        "path_ratio": mean_of_known(alignment.path_ratio for alignment in alignments),
        "coverage": mean_of_known(alignment.coverage for alignment in alignments),
        "diagonality": mean_of_known(alignment.diagonality for alignment in alignments),
    }


def _ending_signals(decodes: Sequence[DecodeReport], utterances: Sequence[UtteranceSignals]) -> Signals:
    """Shares of the three gate classes and the calibrated threshold; length_accuracy for a model without a gate."""
    if decodes and all(decode.forced_gate is None for decode in decodes):
        endings = [utterance.ends_right for utterance in utterances]
        return {"length_accuracy": mean_of_known(None if right is None else float(right) for right in endings)}
    gates = [utterance.gate for utterance in utterances if utterance.gate is not None]
    counts = Counter(gates)
    shares: Signals = {
        name: counts[name] / len(gates) if gates else None
        for name in ("gate_accuracy", "gate_premature", "gate_overrun")
    }
    return shares | {"calibrated_gate_threshold": calibrated_gate_threshold(decodes)}


def _duration_signals(decodes: Sequence[DecodeReport]) -> Signals:
    """Shares of all symbols with a duration of at most one frame, which every symbol gets, and with a huge duration."""
    predictions = [
        (decode.durations, decode.recorded_mel.shape[1]) for decode in decodes if decode.durations is not None
    ]
    if not predictions:
        return {}
    all_durations = np.concatenate([durations for durations, _ in predictions])
    mean_durations = np.concatenate(
        [np.full(len(durations), n_frames / len(durations)) for durations, n_frames in predictions]
    )
    is_finite = bool(np.isfinite(all_durations).all())
    return {
        "zero_duration_share": float((all_durations <= 1).mean()) if is_finite else None,
        "huge_duration_share": float((all_durations > HUGE_DURATION * mean_durations).mean()) if is_finite else None,
    }
