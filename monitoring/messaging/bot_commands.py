"""Commands that people send to the bot: questions are answered from the run's folder, requests go to the training."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from monitoring.journal.control_file import RequestFile
from monitoring.journal.journal_state import JournalState
from monitoring.language.base import Language
from monitoring.messaging.message import Button, Message, Priority
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.progress_message import progress_lines, progress_title, sample_file
from monitoring.report.curves_picture import curves_picture
from monitoring.report.decision_text import intervention_lines, intervention_title, verdict_text
from monitoring.report.plots import pixels, save_png
from monitoring.report.summary import summary_sentence

CONFIRM_SECONDS = 120.0
MAX_TEXT_LENGTH = 500  # characters
MAX_SOUND_FILES = 10  # the oldest, which was sent long ago, is overwritten
MAX_JOURNAL_ENTRIES = 10
MAX_NUMBER_LENGTH, MAX_ECHO_LENGTH = 9, 100  # characters

Synthesize = Callable[[str, Path], None]
"""Function that writes a text, spoken by the run's voice, to a WAV file; it raises ValueError if it cannot."""


class BotCommands:
    """Handler of commands such as `status` or `set learning_rate_multiplier 0.5`."""

    def __init__(self, run: Path, outbox: Outbox, language: Language, synthesize: Synthesize) -> None:
        self._run, self._outbox, self._language, self._synthesize = run, outbox, language, synthesize
        self._requests = RequestFile(run)
        self._speech_lock, self._n_speeches = threading.Lock(), 0
        self._stop_code, self._stop_deadline = "", 0.0

    def handle(self, text: str, user: int, *, pressed: bool) -> str:
        """Handle one command; return the short reply for a pressed button."""
        head, *rest = text.split(maxsplit=1) or [""]
        command, argument = head.lower(), "".join(rest).strip()
        arguments = argument.split()
        questions = {"status": self._send_status, "plot": self._send_plot, "journal": self._send_journal}
        if command == "say":
            self._speak(argument)
        elif command == "stop":
            return self._stop(argument if pressed else "", user)
        elif command == "set" and len(arguments) == 2:
            self._set_knob(*arguments, user=user)
        elif command in ("approve", "reject") and len(arguments) == 1:
            self._answer_proposal(command, arguments[0].removeprefix("#"), user)
        elif command in ("pause", "resume") and not arguments:
            self._request(command, user)
        elif command in questions and not arguments:
            questions[command]()
        else:
            self._send(self._language.text("help_title"), *self._language.text("help").splitlines())
        return self._language.text("received")

    def _send(self, title: str, *lines: str, pictures: tuple[str, ...] = (), voice: str | None = None) -> None:
        self._outbox.put(Message("answer", Priority.ANSWER, title, lines, pictures=pictures, voice=voice))

    def _request(self, order: str, user: int, **fields: object) -> None:
        """Pass a request on to the training, whose journal will report the result."""
        if JournalState.load(self._run).is_over:
            self._send(self._language.text("training_over"))
        else:
            self._requests.append(order, f"user {user}", **fields)

    def _answer_proposal(self, answer: str, number: str, user: int) -> None:
        if number.isdecimal() and len(number) <= MAX_NUMBER_LENGTH:
            self._request(answer, user, number=int(number))
        else:
            self._send(self._language.text("not_a_number", value=number[:MAX_ECHO_LENGTH]))

    def _set_knob(self, knob: str, value: str, *, user: int) -> None:
        try:
            number = float(value.replace(",", "."))
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            self._request("set", user, knob=knob[:MAX_ECHO_LENGTH], value=number)
        else:
            self._send(self._language.text("not_a_number", value=value[:MAX_ECHO_LENGTH]))

    def _send_status(self) -> None:
        state = JournalState.load(self._run)
        lines = [*progress_lines(state, self._language), summary_sentence(state, self._language)]
        self._send(progress_title(state, self._language), *lines)

    def _send_plot(self) -> None:
        state = JournalState.load(self._run)
        curves = self._run / "companion" / "plot.png"
        save_png(pixels(curves_picture(state, self._language)), curves)
        pictures = [sample_file(self._run, evaluation, ".png") for evaluation in reversed(state.evaluations)]
        newest = [picture for picture in pictures if picture is not None][:1]
        self._send(progress_title(state, self._language), pictures=(str(curves), *newest))

    def _send_journal(self) -> None:
        entries = JournalState.load(self._run).interventions[-MAX_JOURNAL_ENTRIES:]
        lines = []
        for entry in entries:
            title, verdict = intervention_title(entry, self._language), verdict_text(entry, self._language)
            lines += ["", f"#{entry.number} {title}: {verdict}", *intervention_lines(entry, self._language)]
        self._send(self._language.text("interventions" if entries else "no_interventions"), *lines)

    def _speak(self, text: str) -> None:
        """Speak one text at a time, since synthesis takes a whole core."""
        if not text or len(text) > MAX_TEXT_LENGTH:
            return self._send(self._language.text("text_length", max=MAX_TEXT_LENGTH))
        if not self._speech_lock.acquire(blocking=False):
            return self._send(self._language.text("busy_speaking"))
        try:
            self._n_speeches += 1
            path = self._run / "companion" / f"said-{self._n_speeches % MAX_SOUND_FILES}.wav"
            self._synthesize(text, path)
        except ValueError as error:
            return self._send(self._language.text("cannot_speak"), str(error))
        finally:
            self._speech_lock.release()
        return self._send(text, voice=str(path))

    def _stop(self, argument: str, user: int) -> str:
        """Ask for confirmation first: its button sends a code that is valid for a short time and only once."""
        if argument == "no":
            self._stop_code = ""
            return self._language.text("stop_cancelled")
        if self._stop_code and argument == self._stop_code and time.monotonic() < self._stop_deadline:
            self._stop_code = ""
            self._request("stop", user)
            return self._language.text("received")
        if argument:
            return self._language.text("confirm_expired")
        self._stop_code, self._stop_deadline = secrets.token_hex(4), time.monotonic() + CONFIRM_SECONDS
        buttons = (
            Button(self._language.text("confirm_yes"), f"stop {self._stop_code}"),
            Button(self._language.text("confirm_no"), "stop no"),
        )
        self._outbox.put(Message("answer", Priority.ANSWER, self._language.text("confirm_stop"), buttons=buttons))
        return self._language.text("received")
