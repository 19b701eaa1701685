"""How a run stands, short enough for a phone."""

from __future__ import annotations

from pathlib import Path

from monitoring.journal.journal import Record
from monitoring.journal.run_state import JournalState
from monitoring.language.base import Words, number
from monitoring.report.summary import judged, what_was_done

SHOWN = (
    *("composite_tts_score", "free_diagonality", "gate_accuracy", "length_accuracy", "total_loss", "gradient_norm"),
)


def progress_title(state: JournalState, words: Words) -> str:
    if state.end is not None:
        return f"{words.say(state.end['status'])}: {state.name}, {words.say('step', step=state.step)}"
    if state.planned_steps is None:
        return f"{state.name}: {words.say('step', step=state.step)}"
    said = words.say("of_steps", step=f"{state.step:,}", planned=f"{state.planned_steps:,}")
    left = state.seconds_left
    return f"{state.name}: {said}" + ("" if left is None else f", {words.say('left', time=words.duration(left))}")


def progress_lines(state: JournalState, words: Words) -> list[str]:
    """Phase, the signals that matter, and the last thing that was done."""
    lines = []
    if state.phases:
        lines.append(words.say("phase_is", phase=words.phases.get(state.phases[-1][1], state.phases[-1][1])))
    known = [name for name in SHOWN if state.latest_signals.get(name) is not None]
    lines += [f"{words.name(name)}: {number(state.latest_signals[name])}" for name in known]
    if state.interventions:
        entry = state.interventions[-1]
        what = words.remedies.get(entry.record.get("remedy", "")) or what_was_done(entry.record, words)
        lines.append(words.say("last_act", number=entry.number, what=what, verdict=judged(entry, words)))
    return lines


def sample_file(run: Path, evaluation: Record, suffix: str) -> str | None:
    """Sound or picture of the first sample of an evaluation."""
    files = [run / f"{sample['file']}{suffix}" for sample in evaluation.get("samples", ())]
    return next((str(file) for file in files if file.is_file()), None)
