"""Summary of a run for people: one sentence about its voice, and recommendations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from monitoring.journal.journal import Record
from monitoring.journal.journal_state import JournalState
from monitoring.language.base import Language, format_number
from monitoring.report.decision_text import name_list

MIN_DIAGONALITY = 0.7  # free-running, of a voice that speaks, by its attention
MIN_POSTERIOR_DIAGONALITY = 0.25
"""The same by the symbols' posterior, of a model with durations: on real speech 0.09 without an alignment, and 0.4 to
0.5 of a voice with 18 % of the characters misheard."""
MIN_STOP_ACCURACY = 0.8  # stop_rate, and accuracy of gate or length, of a voice that stops
MIN_PLAIN_STOP_RATE = 0.6
MAX_MEL_DISTANCE = 0.9  # above it a voice sounds rough
MIN_GAIN = 0.01  # difference of scores that is worth mentioning
OVERFITTING_FACTOR = 1.05  # held-out loss, relative to its lowest
EVALUATIONS_TO_JUDGE = 3


def status_text(state: JournalState, language: Language) -> str:
    return language.statuses["running" if state.end is None else state.end["status"]]


def summary_sentence(state: JournalState, language: Language) -> str:
    """Status, quality of the voice and number of interventions, in one sentence."""
    text = f"{status_text(state, language)}: {voice_quality(state, language)}"
    if (best := state.best_evaluation) is not None:
        score = format_number(best["signals"]["composite_tts_score"])
        text += f" ({language.text('score_at', score=score, step=best['step'])})"
    return f"{text}; {intervention_counts(state, language)}."


def voice_quality(state: JournalState, language: Language) -> str:
    """Quality at the best evaluation, or at the latest if none has a score."""
    evaluation = state.best_evaluation or (state.evaluations[-1] if state.evaluations else None)
    if evaluation is None:
        return language.text("voice_not_evaluated")
    if not is_aligned(evaluation):
        return language.text("voice_not_speaking")
    if not is_stopping(evaluation):
        return language.text("voice_not_stopping")
    if evaluation["signals"].get("plain_stop_rate", 1.0) < MIN_PLAIN_STOP_RATE:
        return language.text("voice_lost_in_plain_texts")
    return language.text("voice_rough" if is_rough(evaluation) else "voice_good")


def intervention_counts(state: JournalState, language: Language) -> str:
    advice = [entry for entry in state.interventions if entry.is_advice]
    by_people = [entry for entry in state.interventions if entry.by == "person"]
    verdicts = [entry.verdict for entry in state.interventions if not entry.is_advice and entry.by != "person"]
    if verdicts:
        counts = {
            "helped": verdicts.count("helped"),
            "failed": verdicts.count("no_effect") + verdicts.count("harmful"),
            "unknown": verdicts.count("unknown"),
        }
        parts = [language.text("intervention_counts", n=len(verdicts), **counts)]
    else:
        parts = [language.text("no_intervention_needed")]
    parts += [language.text("advice_count", n=len(advice))] if advice else []
    parts += [language.text("changes_by_people", n=len(by_people))] if by_people else []
    return ", ".join(parts)


def is_aligned(evaluation: Record) -> bool:
    signals = evaluation["signals"]
    least = MIN_POSTERIOR_DIAGONALITY if "length_accuracy" in signals else MIN_DIAGONALITY
    return (signals.get("free_diagonality") or 0.0) >= least


def is_stopping(evaluation: Record) -> bool:
    signals = evaluation["signals"]
    accuracy = signals.get("gate_accuracy", signals.get("length_accuracy"))
    return min(accuracy or 0.0, signals.get("stop_rate") or 0.0) >= MIN_STOP_ACCURACY


def is_rough(evaluation: Record) -> bool:
    return (evaluation["signals"].get("mel_distance") or 0.0) > MAX_MEL_DISTANCE


def recommendations(state: JournalState, language: Language) -> list[str]:
    """Advice on the next steps of a person, the most important first."""
    advice = [*_advice_on_end(state, language), *_advice_on_voice(state, language)]
    if state.quarantined_ids:
        names = name_list(sorted(set(state.quarantined_ids)), language)
        advice.append(language.text("advise_quarantined", names=names))
    if not advice and state.is_over:
        advice.append(language.text("advise_listen"))
    return advice


def _advice_on_end(state: JournalState, language: Language) -> list[str]:
    if state.end is None:
        return []
    status = state.end["status"]
    if status == "failed":
        return [language.text("advise_failed", reason=state.end["reason"])]
    if status == "interrupted":
        return [language.text("advise_resume", step=state.step)]
    return [language.text("advise_hopeless")] if status == "stopped" else []


def _advice_on_voice(state: JournalState, language: Language) -> list[str]:
    if not state.evaluations:
        return [language.text("advise_longer")] if state.is_over else []
    latest = state.evaluations[-1]
    advice = []
    if not is_aligned(latest):
        advice.append(language.text("advise_alignment"))
    elif not is_stopping(latest):
        advice.append(language.text("advise_stopping"))
    elif is_rough(latest):
        advice.append(language.text("advise_rough", distance=format_number(latest["signals"]["mel_distance"])))
    return [*advice, *_advice_on_trend(state, language)] if state.is_over else advice


def _advice_on_trend(state: JournalState, language: Language) -> list[str]:
    losses = _log_losses(state)
    lowest = min(losses, key=lambda point: point[1], default=None)
    limit = math.log(OVERFITTING_FACTOR)
    if lowest is not None and losses[-1][1] > lowest[1] + limit and len(losses) > EVALUATIONS_TO_JUDGE:
        return [language.text("advise_overfitting", step=lowest[0])]
    scores = _measured(state, "composite_tts_score")
    if len(scores) <= EVALUATIONS_TO_JUDGE:
        return []
    (step, before), (_, last) = scores[-2:]
    if last - before >= MIN_GAIN and last == max(score for _, score in scores):
        return [language.text("advise_continue", gain=format_number(last - before), step=step)]
    recent = scores[-EVALUATIONS_TO_JUDGE:]
    spread = max(score for _, score in recent) - min(score for _, score in recent)
    return [language.text("advise_enough", step=recent[0][0])] if spread < MIN_GAIN else []


def _log_losses(state: JournalState) -> list[tuple[int, float]]:
    """Logarithms of the held-out mel losses; a negative log-likelihood is a logarithm already."""
    mel = [(step, math.log(loss)) for step, loss in _measured(state, "val_mel_loss") if loss > 0]
    return mel or _measured(state, "val_nll_loss")


def _measured(state: JournalState, signal: str) -> list[tuple[int, float]]:
    """Steps and values of a signal at the evaluations that measured it."""
    points = ((evaluation["step"], evaluation["signals"].get(signal)) for evaluation in state.evaluations)
    return [(step, value) for step, value in points if value is not None]


def run_facts(state: JournalState) -> Mapping[str, Any]:
    """Model, data and machine of the run, keyed by their texts; empty until training has started."""
    if state.start is None:
        return {}
    start, hparams = state.start, state.start["hparams"]
    return {
        "model": hparams.get("model"),
        "data": start["data"] if start["data"] is not None else "demo",
        "language": hparams.get("language"),
        "train_utterances": start["train_utterances"],
        "held_out_utterances": start["held_out_utterances"],
        "device": f"{start['choices']['device']}, {start['choices']['precision']}",
        "steps": state.step,
    }
