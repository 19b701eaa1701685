"""What people are told of a run without asking: records of the journal become messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from monitoring.journal.journal import Record
from monitoring.journal.run_state import SESSION_STARTS, JournalState
from monitoring.language.base import Words
from monitoring.messaging.message import Button, Importance, Message
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.progress_message import progress_lines, progress_title, sample_file
from monitoring.report.curves import curves_picture
from monitoring.report.plots import pixels, save_png
from monitoring.report.summary import act_story, act_title, found, outcome, recommendations, verdict

HISTORY_SECONDS = 300.0
"""What is older when somebody is told of a run for the first time is no news."""


class Messages:
    """Puts into an outbox what a person would want to know; how often about progress, they say."""

    def __init__(
        self, run: Path, outbox: Outbox, words: Words, *, progress_seconds: float, sample_seconds: float
    ) -> None:
        self._run, self._outbox, self._words = run, outbox, words
        self._progress_seconds, self._sample_seconds = progress_seconds, sample_seconds
        self._state: dict[str, Any] = {"progress_at": 0.0, "sample_at": 0.0}
        self._left: list[Callable[[], Message]] = []
        self._later: list[tuple[Path, Callable[[], Message]]] = []  # until what was spoken can be heard
        self._not_before = time.time() - HISTORY_SECONDS

    def on_record(self, record: Record, state: JournalState) -> None:
        if _seconds(record) < self._not_before:
            return
        known = {
            **dict.fromkeys(SESSION_STARTS, self._start),
            "steps": self._steps,
            "evaluation": self._evaluation,
            "phase": self._phase,
            "diagnosis": self._diagnosis,
            "proposal": self._proposal,
            "intervention": self._intervention,
            "follow_up": self._follow_up,
            "order": self._order,
            "finished": self._finish,
        }
        if handle := known.get(record["kind"]):
            handle(record, state)

    def flush(self) -> None:
        audible = [told for told in self._later if not told[0].exists()]
        messages = [make() for make in [*self._left, *(make for _, make in audible)]]
        for message in messages:
            self._outbox.put(message)
        self._left = []
        self._later = [told for told in self._later if told not in audible]
        self._outbox.save()

    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """One who has told of this run before leaves nothing out."""
        self._state |= state
        self._not_before = 0.0 if state else self._not_before

    def close(self) -> None:
        """What nobody has made audible is told without its sound."""
        for _, make in self._later:
            self._outbox.put(make())
        self._outbox.save()

    def _put(self, kind: str, importance: Importance, title: str, lines: list[str], step: int, **more: Any) -> None:
        message = Message(kind, importance, title, tuple(lines), step=step, **more)
        self._left.append(lambda: message)

    def _start(self, record: Record, state: JournalState) -> None:
        words, hparams = self._words, record["hparams"]
        title = words.say("goes_on_from" if record["kind"] == "resumed" else "has_begun", name=state.name)
        model = f"{hparams.get('model')}, {record['weights'] / 1e6:.1f} M" if record.get("weights") else ""
        lines = [
            words.say("what", model=model or hparams.get("model"), language=hparams.get("language")),
            words.say("on_what", data=record.get("corpus") or record["data"] or "demo", n=record["train_utterances"]),
        ]
        if (seconds := record.get("forecast_seconds")) is not None:
            steps = max(0, record["planned_steps"] - record["step"])
            lines.append(words.say("how_long", time=words.duration(max(0.0, seconds)), steps=f"{steps:,}"))
        if record["kind"] == "resumed":
            lines.insert(0, words.say("step", step=record["step"]))
        self._put(record["kind"], Importance.INTERVENTION, title, lines, record["step"])
        self._state |= {"progress_at": _seconds(record), "sample_at": 0.0}

    def _steps(self, record: Record, state: JournalState) -> None:
        if _seconds(record) < self._state["progress_at"] + self._progress_seconds:
            return
        self._state["progress_at"] = _seconds(record)
        title, lines = progress_title(state, self._words), progress_lines(state, self._words)
        self._put("progress", Importance.PROGRESS, title, lines, record["step"])

    def _evaluation(self, record: Record, state: JournalState) -> None:
        if _seconds(record) < self._state["sample_at"] + self._sample_seconds:
            return
        self._state["sample_at"] = _seconds(record)
        title, lines = progress_title(state, self._words), progress_lines(state, self._words)
        curves = pixels(curves_picture(state, self._words))

        def message() -> Message:
            picture, voice = sample_file(self._run, record, ".png"), sample_file(self._run, record, ".wav")
            pictures = (self._save(curves), *([picture] if picture else []))
            return Message(
                "sample", Importance.PROGRESS, title, tuple(lines), step=record["step"], pictures=pictures, voice=voice
            )

        self._when_audible(record, message)

    def _when_audible(self, evaluation: Record | None, message: Callable[[], Message]) -> None:
        if evaluation is None or "spoken" not in evaluation:
            self._left.append(message)
        else:
            self._later.append((self._run / evaluation["spoken"], message))

    def _save(self, picture: Any) -> str:
        path = self._run / "companion" / "curves.png"
        save_png(picture, path)
        return str(path)

    def _phase(self, record: Record, _state: JournalState) -> None:
        phase = self._words.phases.get(record["to"], record["to"])
        lines = [self._words.values(record["signals"])]
        self._put("phase", Importance.PHASE, self._words.say("phase_is", phase=phase), lines, record["step"])

    def _diagnosis(self, record: Record, _state: JournalState) -> None:
        if record["severity"] != "critical":
            return  # what is done about it tells of it
        title = self._words.say("alarm", ailment=self._words.ailments.get(record["ailment"], record["ailment"]))
        lines = [self._words.say("step", step=record["step"]), found(record, self._words)]
        self._put("alarm", Importance.CRITICAL, title, lines, record["step"])

    def _proposal(self, record: Record, _state: JournalState) -> None:
        words, name = self._words, self._words.remedies.get(record["remedy"], record["remedy"])
        lines = [found(record, words), words.say("answer_within", time=words.duration(record["timeout_seconds"]))]
        buttons = tuple(Button(words.say(order), f"{order} {record['number']}") for order in ("approve", "reject"))
        title = words.say("may_i", number=record["number"], remedy=name)
        self._put("proposal", Importance.CRITICAL, title, lines, record["step"], buttons=buttons)

    def _intervention(self, record: Record, state: JournalState) -> None:
        if not state.interventions or state.interventions[-1].record is not record:
            return  # a knob on its way
        entry = state.interventions[-1]
        title = f"#{entry.number} {act_title(entry, self._words)}"
        self._put("intervention", Importance.INTERVENTION, title, act_story(entry, self._words), record["step"])

    def _follow_up(self, record: Record, state: JournalState) -> None:
        entry = next(
            (entry for entry in state.interventions if entry.follow_ups and entry.follow_ups[-1] is record), None
        )
        if entry is None or "verdict" not in record:
            return
        title = f"#{entry.number} {self._words.verdicts[entry.verdict]}: {act_title(entry, self._words)}"
        self._put("follow_up", Importance.INTERVENTION, title, [outcome(record, self._words)], record["step"])

    def _order(self, record: Record, _state: JournalState) -> None:
        if (record["order"], record["result"]) == ("set", "done"):
            return  # the intervention tells of it
        words = self._words
        title = words.say(f"order_{record['result']}", order=record["order"], step=record["step"])
        reason = record.get("reason")
        self._put("answer", Importance.ANSWER, title, [reason] if reason else [], record["step"])

    def _finish(self, record: Record, state: JournalState) -> None:
        words, is_bad = self._words, record["status"] in ("failed", "stopped")
        lines = [str(record["reason"])] if is_bad else []
        lines += [*progress_lines(state, words), *(f"• {advice}" for advice in recommendations(state, words))]
        title = f"{state.name}: {verdict(state, words)}"
        importance = Importance.CRITICAL if is_bad else Importance.END
        best, curves = state.best_evaluation, pixels(curves_picture(state, words))

        def message() -> Message:
            voice = None if best is None else sample_file(self._run, best, ".wav")
            pictures = (self._save(curves),)
            return Message("finished", importance, title, tuple(lines), record["step"], pictures, voice=voice)

        self._when_audible(best, message)


def _seconds(record: Record) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()
