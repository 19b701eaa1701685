"""Signals computed from reports: numbers with one definition, None where there is none."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.measures.alignment import Alignment, measure_alignment
from monitoring.measures.mel_distance import mel_distance
from monitoring.measures.score import composite_tts_score
from reports import DecodeReport, EvaluationReport, StepReport

GATE_TOLERANCE_FRAMES = 5
"""A gate may open this far from the true end; at least two decoder steps where those are longer."""

LENGTH_TOLERANCE = 0.15
"""Without a gate speech ends where it should when it is as long as its recording, but for this share."""

HUGE_DURATION = 10.0
"""A symbol is given far too long with this many times the frames that its recording has for a symbol."""

GATE_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))

CUT_OFF_SHARE = 0.8
"""A decode with fewer steps than tokens was cut off if it lasted less than this share of its recording."""

OUTLIER_RATIO = 5.0
"""An utterance stands out when its loss is this many times the median of its batch."""

Signals = dict[str, float | None]


def step_signals(report: StepReport) -> Signals:
    """Signals of one step; a non-finite step has no gradient_norm, so that no statistic can take it in."""
    total_loss = finite(report.total_loss)
    return {
        **{name: finite(part) for name, part in {**report.loss_parts, **report.measures}.items()},
        "total_loss": total_loss,
        "gradient_norm": None if total_loss is None else finite(report.gradient_norm),
        "learning_rate": finite(report.learning_rate),
        "update_ratio": finite(report.update_ratio),
        "frames_per_second": finite(report.frames_per_second),
        "data_wait_share": finite(report.data_wait_share),
        "memory_bytes": float(report.memory_bytes),
        "nonfinite_steps": float(report.nonfinite_steps),
        "out_of_memory_steps": float(report.out_of_memory_steps),
        "outlier_utterances": float(len(outlier_utterances(report))),
    }


def outlier_utterances(report: StepReport) -> dict[str, float | None]:
    """Utterances whose loss stands out of their batch, as a multiple of its median; None: the loss is not finite.

    Nobody stands out of a batch in which no loss is finite: then it is the model that is broken.
    """
    finite = [loss for loss in report.utterance_losses if math.isfinite(loss)]
    if not finite:
        return {}
    middle = statistics.median(finite)
    losses = dict(zip(report.utterance_ids, report.utterance_losses, strict=True))
    return {
        id_: loss / middle if math.isfinite(loss) else None
        for id_, loss in losses.items()
        if not math.isfinite(loss) or loss >= OUTLIER_RATIO * middle > 0
    }


@dataclass(frozen=True)
class UtteranceSignals:
    """How one held-out utterance was spoken freely, and what its teacher-forced gate did."""

    free_diagonality: float | None
    mel_distance: float | None
    length_ratio: float | None
    gate: str | None  # the signal it counts for
    ends_right: bool | None
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
    ratio, gate = _length_ratio(decode), gate_verdict(decode)
    if decode.forced_gate is None:
        ends_right = None if ratio is None else abs(ratio - 1) <= LENGTH_TOLERANCE
    else:
        ends_right = None if gate is None else gate == "gate_accuracy"
    return UtteranceSignals(
        free_diagonality=free_diagonality(decode),
        mel_distance=mel_distance(decode.free_mel, decode.recorded_mel),
        length_ratio=ratio,
        gate=gate,
        ends_right=ends_right,
        stopped=decode.stopped,
    )


def evaluation_signals(report: EvaluationReport, utterances: Sequence[UtteranceSignals] | None = None) -> Signals:
    """Signals of one evaluation: means over the utterances for which they can be said, None where there is none.

    `utterances` are those of its decodes, where someone has measured them already.
    """
    decodes = report.decodes
    utterances = list(map(utterance_signals, decodes)) if utterances is None else utterances
    signals: Signals = {
        **_alignment_signals([measure_alignment(decode.forced_attention) for decode in decodes]),
        "free_diagonality": _mean(utterance.free_diagonality for utterance in utterances),
        **_ending_signals(decodes, utterances),
        **_duration_signals(decodes),
        "stop_rate": _mean(float(utterance.stopped) for utterance in utterances),
        "length_ratio": _mean(utterance.length_ratio for utterance in utterances),
        "mel_distance": _mean(utterance.mel_distance for utterance in utterances),
        **{name: finite(loss) for name, loss in report.losses.items()},
    }
    signals["composite_tts_score"] = composite_tts_score(
        diagonality=signals["free_diagonality"],
        ending_accuracy=signals["length_accuracy" if "length_accuracy" in signals else "gate_accuracy"],
        stop_rate=signals["stop_rate"],
        mel_distance=signals["mel_distance"],
    )
    return signals


def free_diagonality(decode: DecodeReport) -> float | None:
    """Diagonality of the free-running decode; 0 where it ended far too soon to have said its text, which fits the
    recording: leaving such a decode out as undefined would hide the worst of failures.
    """
    (n_spoken, n_tokens), n_recorded = decode.free_attention.shape, len(decode.forced_attention)
    if n_spoken < n_tokens <= n_recorded and n_spoken < CUT_OFF_SHARE * n_recorded:
        return 0.0
    return measure_alignment(decode.free_attention).diagonality


def _alignment_signals(alignments: Sequence[Alignment]) -> Signals:
    return {
        "focus": _mean(alignment.focus for alignment in alignments),
        "path_ratio": _mean(alignment.path_ratio for alignment in alignments),
        "coverage": _mean(alignment.coverage for alignment in alignments),
        "diagonality": _mean(alignment.diagonality for alignment in alignments),
    }


def _ending_signals(decodes: Sequence[DecodeReport], utterances: Sequence[UtteranceSignals]) -> Signals:
    """Of gates, or of a model that has none."""
    if decodes and all(decode.forced_gate is None for decode in decodes):
        right = [utterance.ends_right for utterance in utterances]
        return {"length_accuracy": _mean(None if is_right is None else float(is_right) for is_right in right)}
    verdicts = [utterance.gate for utterance in utterances if utterance.gate is not None]
    counts = Counter(verdicts)
    shares: Signals = {
        name: counts[name] / len(verdicts) if verdicts else None
        for name in ("gate_accuracy", "gate_premature", "gate_overrun")
    }
    return shares | {"calibrated_gate_threshold": calibrated_gate_threshold(decodes)}


def _duration_signals(decodes: Sequence[DecodeReport]) -> Signals:
    """Shares of all symbols that are given nothing beyond the one frame each gets anyway, or far too much."""
    told = [(decode.durations, decode.recorded_mel.shape[1]) for decode in decodes if decode.durations is not None]
    if not told:
        return {}
    frames = np.concatenate([durations for durations, _ in told])
    usual = np.concatenate([np.full(len(durations), n_recorded / len(durations)) for durations, n_recorded in told])
    is_known = bool(np.isfinite(frames).all())
    return {
        "zero_duration_share": float((frames <= 1).mean()) if is_known else None,
        "huge_duration_share": float((frames > HUGE_DURATION * usual).mean()) if is_known else None,
    }


def calibrated_gate_threshold(decodes: Sequence[DecodeReport]) -> float | None:
    """The threshold with which most gates would open at the true end; of several, the middle one."""
    counts = {
        threshold: sum(gate_verdict(decode, threshold) == "gate_accuracy" for decode in decodes)
        for threshold in GATE_THRESHOLDS
    }
    most = max(counts.values())
    best = [threshold for threshold, count in counts.items() if count == most]
    return best[len(best) // 2] if most else None


def gate_verdict(decode: DecodeReport, threshold: float | None = None) -> str | None:
    """Name the signal this utterance's teacher-forced gate counts for; None when there is none or it is not finite.

    The end the gate names is the last frame of the first step that exceeds the threshold; never is an overrun.
    """
    if decode.forced_gate is None or not np.isfinite(decode.forced_gate).all():
        return None
    opened = np.flatnonzero(decode.forced_gate > (decode.gate_threshold if threshold is None else threshold))
    if opened.size == 0:
        return "gate_overrun"
    frames_late = (int(opened[0]) + 1) * decode.n_frames_per_step - decode.recorded_mel.shape[1]
    if abs(frames_late) <= max(GATE_TOLERANCE_FRAMES, 2 * decode.n_frames_per_step):
        return "gate_accuracy"
    return "gate_premature" if frames_late < 0 else "gate_overrun"


def _length_ratio(decode: DecodeReport) -> float | None:
    recorded_frames = decode.recorded_mel.shape[1]
    return decode.free_mel.shape[1] / recorded_frames if recorded_frames else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def finite(value: float | None) -> float | None:
    """None for what is no number, or no finite one."""
    return float(value) if value is not None and math.isfinite(value) else None
