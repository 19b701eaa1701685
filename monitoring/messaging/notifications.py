"""Notifications: journal records become messages to people."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from monitoring.journal.journal import Record
from monitoring.journal.journal_state import SESSION_STARTS, JournalState
from monitoring.language.base import Language
from monitoring.messaging.message import Button, Message, Priority
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.progress_message import progress_lines, progress_title, sample_file
from monitoring.report.curves_picture import curves_picture
from monitoring.report.decision_text import (
    diagnosis_line,
    follow_up_text,
    intervention_lines,
    intervention_title,
    remedy_name,
)
from monitoring.report.plots import pixels, save_png
from monitoring.report.summary import recommendations, summary_sentence

MAX_AGE_SECONDS = 300.0  # older records are no news to somebody who gets messages of this run for the first time

MessageBuilder = Callable[[], Message]


class Notifications:
    """Journal subscriber that puts messages into an outbox."""

    def __init__(
        self, run: Path, outbox: Outbox, language: Language, *, progress_seconds: float, sample_seconds: float
    ) -> None:
        self._run, self._outbox, self._language = run, outbox, language
        self._progress_seconds, self._sample_seconds = progress_seconds, sample_seconds
        self._state: dict[str, Any] = {"progress_at": 0.0, "sample_at": 0.0}
        self._pending: list[MessageBuilder] = []
        # Messages with samples wait until their sound files are made, which removes the file of decoded arrays.
        self._awaiting_samples: list[tuple[Path, MessageBuilder]] = []
        self._not_before = time.time() - MAX_AGE_SECONDS

    def on_record(self, record: Record, state: JournalState) -> None:
        if _timestamp(record) < self._not_before:
            return
        handlers = {
            **dict.fromkeys(SESSION_STARTS, self._on_start),
            "steps": self._on_steps,
            "evaluation": self._on_evaluation,
            "phase": self._on_phase,
            "diagnosis": self._on_diagnosis,
            "proposal": self._on_proposal,
            "intervention": self._on_intervention,
            "follow_up": self._on_follow_up,
            "order": self._on_request,
            "finished": self._on_finish,
        }
        if handle := handlers.get(record["kind"]):
            handle(record, state)

    def flush(self) -> None:
        ready = [waiting for waiting in self._awaiting_samples if not waiting[0].exists()]
        # Build all messages first: building may fail on a full disk, and then nothing must be sent twice.
        messages = [build() for build in [*self._pending, *(build for _, build in ready)]]
        for message in messages:
            self._outbox.put(message)
        self._pending = []
        self._awaiting_samples = [waiting for waiting in self._awaiting_samples if waiting not in ready]
        self._outbox.save()

    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """With the state of an earlier process, no record is too old to be reported."""
        self._state |= state
        self._not_before = 0.0 if state else self._not_before

    def close(self) -> None:
        """Send without sound what still waits for it."""
        for _, build in self._awaiting_samples:
            self._outbox.put(build())
        self._outbox.save()

    def _add(self, kind: str, priority: Priority, title: str, lines: list[str], step: int, **fields: Any) -> None:
        message = Message(kind, priority, title, tuple(lines), step=step, **fields)
        self._pending.append(lambda: message)

    def _add_with_samples(self, evaluation: Record | None, build: MessageBuilder) -> None:
        if evaluation is None or "spoken" not in evaluation:
            self._pending.append(build)
        else:
            self._awaiting_samples.append((self._run / evaluation["spoken"], build))

    def _on_start(self, record: Record, state: JournalState) -> None:
        language, hparams, is_resumed = self._language, record["hparams"], record["kind"] == "resumed"
        model = hparams.get("model")
        if record.get("weights"):
            model = f"{model}, {record['weights'] / 1e6:.1f} M"
        data = record.get("corpus") or record["data"] or "demo"
        lines = [language.text("step", step=record["step"])] if is_resumed else []
        lines.append(language.text("model_and_language", model=model, language=hparams.get("language")))
        lines.append(language.text("data_and_size", data=data, n=record["train_utterances"]))
        if (seconds := record.get("forecast_seconds")) is not None:
            duration = language.format_duration(max(0.0, seconds))
            steps = max(0, record["planned_steps"] - record["step"])
            lines.append(language.text("time_and_steps", time=duration, steps=f"{steps:,}"))
        title = language.text("training_resumed" if is_resumed else "training_started", name=state.name)
        self._add(record["kind"], Priority.INTERVENTION, title, lines, record["step"])
        self._state |= {"progress_at": _timestamp(record), "sample_at": 0.0}

    def _on_steps(self, record: Record, state: JournalState) -> None:
        if _timestamp(record) < self._state["progress_at"] + self._progress_seconds:
            return
        self._state["progress_at"] = _timestamp(record)
        title, lines = progress_title(state, self._language), progress_lines(state, self._language)
        self._add("progress", Priority.PROGRESS, title, lines, record["step"])

    def _on_evaluation(self, record: Record, state: JournalState) -> None:
        if _timestamp(record) < self._state["sample_at"] + self._sample_seconds:
            return
        self._state["sample_at"] = _timestamp(record)
        title, lines = progress_title(state, self._language), tuple(progress_lines(state, self._language))
        curves = pixels(curves_picture(state, self._language))

        def build() -> Message:
            picture, voice = sample_file(self._run, record, ".png"), sample_file(self._run, record, ".wav")
            pictures = (self._save_curves(curves), *([picture] if picture else []))
            return Message("sample", Priority.PROGRESS, title, lines, record["step"], pictures, voice)

        self._add_with_samples(record, build)

    def _save_curves(self, picture: Any) -> str:
        path = self._run / "companion" / "curves.png"
        save_png(picture, path)
        return str(path)

    def _on_phase(self, record: Record, _state: JournalState) -> None:
        title = self._language.text("phase", phase=self._language.name(record["to"]))
        self._add("phase", Priority.PHASE, title, [self._language.format_values(record["signals"])], record["step"])

    def _on_diagnosis(self, record: Record, _state: JournalState) -> None:
        if record["severity"] != "critical":
            return  # its intervention reports it
        title = self._language.text("alarm", ailment=self._language.name(record["ailment"]))
        lines = [self._language.text("step", step=record["step"]), diagnosis_line(record, self._language)]
        self._add("alarm", Priority.CRITICAL, title, lines, record["step"])

    def _on_proposal(self, record: Record, _state: JournalState) -> None:
        language, number = self._language, record["number"]
        timeout = language.format_duration(record["timeout_seconds"])
        lines = [diagnosis_line(record, language), language.text("time_to_answer", time=timeout)]
        buttons = tuple(Button(language.text(answer), f"{answer} {number}") for answer in ("approve", "reject"))
        title = language.text("proposal", number=number, remedy=remedy_name(record, language))
        self._add("proposal", Priority.CRITICAL, title, lines, record["step"], buttons=buttons)

    def _on_intervention(self, record: Record, state: JournalState) -> None:
        if not state.interventions or state.interventions[-1].record is not record:
            return  # a further turn of a knob on the way to its target, which is no entry of its own
        entry = state.interventions[-1]
        title = f"#{entry.number} {intervention_title(entry, self._language)}"
        lines = intervention_lines(entry, self._language)
        self._add("intervention", Priority.INTERVENTION, title, lines, record["step"])

    def _on_follow_up(self, record: Record, state: JournalState) -> None:
        entries = (entry for entry in state.interventions if entry.follow_ups and entry.follow_ups[-1] is record)
        entry = next(entries, None)
        if entry is None or "verdict" not in record:
            return
        verdict = self._language.verdicts[entry.verdict]
        title = f"#{entry.number} {verdict}: {intervention_title(entry, self._language)}"
        lines = [follow_up_text(record, self._language)]
        self._add("follow_up", Priority.INTERVENTION, title, lines, record["step"])

    def _on_request(self, record: Record, _state: JournalState) -> None:
        """Report the result of a person's request."""
        if (record["order"], record["result"]) == ("set", "done"):
            return  # the intervention reports it
        key, reason = f"request_{record['result']}", record.get("reason")
        title = self._language.text(key, request=record["order"], step=record["step"])
        self._add("answer", Priority.ANSWER, title, [reason] if reason else [], record["step"])

    def _on_finish(self, record: Record, state: JournalState) -> None:
        language, is_bad = self._language, record["status"] in ("failed", "stopped")
        lines = [str(record["reason"])] if is_bad else []
        lines += [*progress_lines(state, language), *(f"• {advice}" for advice in recommendations(state, language))]
        title = f"{state.name}: {summary_sentence(state, language)}"
        priority = Priority.CRITICAL if is_bad else Priority.END
        best, curves = state.best_evaluation, pixels(curves_picture(state, language))

        def build() -> Message:
            voice = None if best is None else sample_file(self._run, best, ".wav")
            pictures = (self._save_curves(curves),)
            return Message("finished", priority, title, tuple(lines), record["step"], pictures, voice)

        self._add_with_samples(best, build)


def _timestamp(record: Record) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()
