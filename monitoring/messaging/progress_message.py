"""State of a run, short enough for a phone."""

from __future__ import annotations

from pathlib import Path

from monitoring.journal.journal import Record
from monitoring.journal.journal_state import JournalState
from monitoring.language.base import Language, format_number
from monitoring.report.decision_text import change_text, verdict_text
from monitoring.report.summary import status_text

SIGNALS = (
    *("composite_tts_score", "free_diagonality", "gate_accuracy", "length_accuracy", "plain_stop_rate"),
    *("total_loss", "gradient_norm"),
)


def progress_title(state: JournalState, language: Language) -> str:
    step = language.text("step", step=state.step)
    if state.is_over:
        return f"{status_text(state, language)}: {state.name}, {step}"
    if state.planned_steps is None:
        return f"{state.name}: {step}"
    parts = [language.text("step_of", step=f"{state.step:,}", planned=f"{state.planned_steps:,}")]
    if (seconds := state.seconds_left) is not None:
        parts.append(language.text("time_left", time=language.format_duration(seconds)))
    return f"{state.name}: {', '.join(parts)}"


def progress_lines(state: JournalState, language: Language) -> list[str]:
    """Phase, the most important signals and the last intervention."""
    lines = []
    if state.phases:
        lines.append(language.text("phase", phase=language.name(state.phases[-1][1])))
    measured = [name for name in SIGNALS if state.latest_signals.get(name) is not None]
    lines += [f"{language.name(name)}: {format_number(state.latest_signals[name])}" for name in measured]
    if state.interventions:
        entry = state.interventions[-1]
        change = language.remedies.get(entry.record.get("remedy", "")) or change_text(entry.record, language)
        verdict = verdict_text(entry, language)
        lines.append(language.text("last_intervention", number=entry.number, change=change, verdict=verdict))
    return lines


def sample_file(run: Path, evaluation: Record, suffix: str) -> str | None:
    """Path of the evaluation's first sample file with this suffix, if there is one."""
    files = [run / f"{sample['file']}{suffix}" for sample in evaluation.get("samples", ())]
    return next((str(file) for file in files if file.is_file()), None)
