"""A run in words: the verdict in one sentence, the story of each intervention, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.journal.interventions import InterventionEntry
from monitoring.journal.journal import Record
from monitoring.journal.run_state import JournalState
from monitoring.language.base import Words, number

ALIGNED, STOPS, ROUGH = 0.7, 0.8, 0.9  # free_diagonality; gate or length accuracy, and stop_rate; mel_distance
LEAST_GAIN = 0.01  # of the score, to speak of
RISEN = 1.05  # of the held-out loss, against its best
EVALUATIONS_TO_JUDGE = 3
MOST_NAMED = 5  # utterances


def verdict(state: JournalState, words: Words) -> str:
    """One sentence: is there a voice, how good is it, and what did it take?"""
    status = words.say("running" if state.end is None else state.end["status"])
    parts = [f"{status}: {quality(state, words)}"]
    if state.best_evaluation is not None:
        score = number(state.best_evaluation["signals"]["composite_tts_score"])
        parts[0] += f" ({words.say('score_at', score=score, step=state.best_evaluation['step'])})"
    return f"{'; '.join([*parts, interventions(state, words)])}."


def quality(state: JournalState, words: Words) -> str:
    """By the best evaluation, as far as there is one."""
    told = state.best_evaluation or (state.evaluations[-1] if state.evaluations else None)
    if told is None:
        return words.say("quality_unknown")
    if not is_aligned(told):
        return words.say("quality_mute")
    if not ends_sentences(told):
        return words.say("quality_endless")
    return words.say("quality_rough" if is_rough(told) else "quality_good")


def interventions(state: JournalState, words: Words) -> str:
    done = [entry for entry in state.interventions if not entry.is_advice and entry.by != "person"]
    helped = sum(entry.verdict == "helped" for entry in done)
    failed = sum(entry.verdict in ("no_effect", "harmful") for entry in done)
    said = [words.say("acts", n=len(done), helped=helped, failed=failed) if done else words.say("left_alone")]
    for kind, entries in (
        ("advised", [entry for entry in state.interventions if entry.is_advice]),
        ("by_people", [entry for entry in state.interventions if entry.by == "person"]),
    ):
        said += [words.say(kind, n=len(entries))] if entries else []
    return ", ".join(said)


def judged(entry: InterventionEntry, words: Words) -> str:
    """What became of it; whatever a person or the watchdog does is nobody's to judge."""
    if entry.is_advice:
        return words.say("only_advised")
    if entry.verdict is None and (entry.by != "supervisor" or entry.is_superseded):
        return words.say("not_judged")
    return words.verdicts[entry.verdict]


def is_aligned(evaluation: Record) -> bool:
    return (evaluation["signals"].get("free_diagonality") or 0.0) >= ALIGNED


def ends_sentences(evaluation: Record) -> bool:
    signals = evaluation["signals"]
    ending = signals.get("gate_accuracy", signals.get("length_accuracy"))
    return min(ending or 0.0, signals.get("stop_rate") or 0.0) >= STOPS


def is_rough(evaluation: Record) -> bool:
    return (evaluation["signals"].get("mel_distance") or 0.0) > ROUGH


def act_title(entry: InterventionEntry, words: Words) -> str:
    if entry.by == "person":
        return f"{words.say('step', step=entry.step)}: {what_was_done(entry.record, words)} ({words.say('by_person')})"
    remedy = words.remedies.get(entry.record["remedy"], entry.record["remedy"])
    return f"{words.say('step', step=entry.step)}: {remedy}"


def act_story(entry: InterventionEntry, words: Words) -> list[str]:
    """Evidence, action, what was expected, what came of it; a line each."""
    lines = [found(entry.record, words)] if entry.record.get("evidence") is not None else []
    if names := entry.record.get("utterances"):
        lines.append(words.say("about", utterances=listed(names, words)))
    lines.append(
        words.say("would_do" if entry.record.get("advice") else "done", what=what_was_done(entry.record, words))
    )
    if (expected := entry.record.get("expected")) is not None:
        direction = f"goes_{expected['direction']}"
        lines.append(words.say(direction, signal=words.name(expected["signal"]), step=expected["by_step"]))
    return [*lines, *(outcome(told, words) for told in entry.follow_ups)]


def found(record: Record, words: Words) -> str:
    return words.say(
        "found",
        ailment=words.ailments.get(record["ailment"], record["ailment"]),
        severity=words.severities[record["severity"]],
        evidence=words.values({name: value for name, value in record["evidence"].items() if value is not None}),
    )


def what_was_done(record: Record, words: Words) -> str:
    if "knob" in record:
        return words.say(
            "turned", knob=words.name(record["knob"]), before=number(record["from"]), after=number(record["to"])
        )
    if "action" not in record:  # of the watchdog
        return words.remedies[record["remedy"]]
    actions = [record["action"], *record.get("besides", ())]
    said = ", ".join(words.actions.get(action, action) for action in actions)
    if "to_step" in record:
        said = words.say("to_step", action=said, step=record["to_step"])
    settings = {**record.get("knobs", {}), **record.get("settings", {})}
    return words.say("with_settings", what=said, settings=words.values(settings)) if settings else said


def outcome(record: Record, words: Words) -> str:
    """Of a follow-up."""
    if "superseded_by" in record:
        return words.say("superseded")
    if "verdict" not in record:
        return words.say("race", step=record["from_step"])
    expected = record["expected"]
    said = words.say(
        "came",
        verdict=words.verdicts[record["verdict"]],
        signal=words.name(expected["signal"]),
        value=number(record["value"]),
    )
    if evidence := record.get("evidence"):
        said += f" ({words.values(evidence)})"
    elif expected["forecast"] is not None:
        said += f", {words.say('without_it', value=number(expected['forecast']))}"
    return f"{said}; {words.say('reverted')}" if record.get("reverted") else said


def listed(names: Sequence[str], words: Words) -> str:
    first = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return words.say("and_more", names=first, n=more) if more > 0 else first


def recommendations(state: JournalState, words: Words) -> list[str]:
    """What a person may do next, most important first."""
    advice = [*_of_the_end(state, words), *_of_the_voice(state, words)]
    if state.quarantined_ids:
        advice.append(words.say("advise_quarantined", names=listed(sorted(set(state.quarantined_ids)), words)))
    if not advice and state.is_over:
        advice.append(words.say("advise_listen"))
    return advice


def _of_the_end(state: JournalState, words: Words) -> list[str]:
    if state.end is None:
        return []
    status = state.end["status"]
    if status == "failed":
        return [words.say("advise_failed", reason=state.end["reason"])]
    if status == "interrupted":
        return [words.say("advise_resume", step=state.step)]
    return [words.say("advise_hopeless")] if status == "stopped" else []


def _of_the_voice(state: JournalState, words: Words) -> list[str]:
    if not state.evaluations:
        return [words.say("advise_longer")] if state.is_over else []
    latest = state.evaluations[-1]
    advice = []
    if not is_aligned(latest):
        advice.append(words.say("advise_alignment"))
    elif not ends_sentences(latest):
        advice.append(words.say("advise_ends"))
    elif is_rough(latest):
        advice.append(words.say("advise_rough", distance=number(latest["signals"]["mel_distance"])))
    return [*advice, *_of_the_trend(state, words)] if state.is_over else advice


def _of_the_trend(state: JournalState, words: Words) -> list[str]:
    losses = _log_losses(state)
    lowest = min(losses, key=lambda point: point[1], default=None)
    if lowest is not None and losses[-1][1] > lowest[1] + math.log(RISEN) and len(losses) > EVALUATIONS_TO_JUDGE:
        return [words.say("advise_overfitting", step=lowest[0])]
    scores = _known(state, "composite_tts_score")
    if len(scores) <= EVALUATIONS_TO_JUDGE:
        return []
    (step, before), (_, last) = scores[-2:]
    if last - before >= LEAST_GAIN and last == max(score for _, score in scores):
        return [words.say("advise_go_on", gain=number(last - before), step=step)]
    recent = scores[-EVALUATIONS_TO_JUDGE:]
    spread = max(score for _, score in recent) - min(score for _, score in recent)
    return [words.say("advise_enough", step=recent[0][0])] if spread < LEAST_GAIN else []


def _log_losses(state: JournalState) -> list[tuple[int, float]]:
    """Of the held-out spectra; a likelihood is a logarithm already."""
    mel = [(step, math.log(loss)) for step, loss in _known(state, "val_mel_loss") if loss > 0]
    return mel or _known(state, "val_nll_loss")


def _known(state: JournalState, name: str) -> list[tuple[int, float]]:
    points = ((told["step"], told["signals"].get(name)) for told in state.evaluations)
    return [(step, value) for step, value in points if value is not None]


def facts(state: JournalState) -> Mapping[str, Any]:
    """What the run is made of, by the names of texts; nothing before it has said so."""
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
