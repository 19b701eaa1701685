"""How a run stands, short enough for a phone."""

from __future__ import annotations

from pathlib import Path

from monitoring.journal.run_state import Record, RunStory
from monitoring.language.base import Words, number
from monitoring.report.summary import judged, what_was_done

SHOWN = (
    *("composite_tts_score", "free_diagonality", "gate_accuracy", "length_accuracy", "total_loss", "gradient_norm"),
)


def progress_title(story: RunStory, words: Words) -> str:
    if story.end is not None:
        return f"{words.say(story.end['status'])}: {story.name}, {words.say('step', step=story.step)}"
    if story.planned_steps is None:
        return f"{story.name}: {words.say('step', step=story.step)}"
    said = words.say("of_steps", step=f"{story.step:,}", planned=f"{story.planned_steps:,}")
    left = story.seconds_left
    return f"{story.name}: {said}" + ("" if left is None else f", {words.say('left', time=words.duration(left))}")


def progress_lines(story: RunStory, words: Words) -> list[str]:
    """Phase, the signals that matter, and the last thing that was done."""
    lines = []
    if story.phases:
        lines.append(words.say("phase_is", phase=words.phases.get(story.phases[-1][1], story.phases[-1][1])))
    known = [name for name in SHOWN if story.latest.get(name) is not None]
    lines += [f"{words.name(name)}: {number(story.latest[name])}" for name in known]
    if story.acts:
        act = story.acts[-1]
        what = words.remedies.get(act.record.get("remedy", "")) or what_was_done(act.record, words)
        lines.append(words.say("last_act", number=act.number, what=what, verdict=judged(act, words)))
    return lines


def sample_file(run: Path, evaluation: Record, suffix: str) -> str | None:
    """Sound or picture of the first sample of an evaluation."""
    files = [run / f"{sample['file']}{suffix}" for sample in evaluation.get("samples", ())]
    return next((str(file) for file in files if file.is_file()), None)
