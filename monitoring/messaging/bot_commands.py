"""Commands that people send to the bot: questions are answered from the run's folder, requests go to the training."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from monitoring.journal.control_file import RequestFile
from monitoring.journal.current_state import CurrentState
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
MAX_WAITING_SOUNDS = 10  # spoken texts that are not sent yet
MAX_JOURNAL_ENTRIES = 10
MAX_NUMBER_LENGTH, MAX_ECHO_LENGTH = 9, 100  # characters

Synthesize = Callable[[str, Path], None]
"""Function that writes a text, spoken by the run's voice, to a WAV file; it raises ValueError if it cannot."""


class BotCommands:
    """Handler of commands such as `status` or `set learning_rate_multiplier 0.5`."""

    def __init__(self, run: Path, outbox: Outbox, language: Language, synthesize: Synthesize) -> None:
        self._run, self._outbox, self._language, self._synthesize = run, outbox, language, synthesize
        self._requests = RequestFile(run)
        self._current = CurrentState(run)
        self._speech_lock = threading.Lock()
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
        with self._current.read() as state:
            is_over = state.is_over
        if is_over:
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
        with self._current.read() as state:
            lines = [*progress_lines(state, self._language), summary_sentence(state, self._language)]
            self._send(progress_title(state, self._language), *lines)

    def _send_plot(self) -> None:
        curves = self._run / "companion" / "plot.png"
        with self._current.read() as state:
            save_png(pixels(curves_picture(state, self._language)), curves)
            pictures = (sample_file(self._run, evaluation, ".png") for evaluation in reversed(state.evaluations))
            newest = next((picture for picture in pictures if picture is not None), None)
            title = progress_title(state, self._language)
        self._send(title, pictures=(str(curves), *([] if newest is None else [newest])))

    def _send_journal(self) -> None:
        lines = []
        with self._current.read() as state:
            entries = state.interventions[-MAX_JOURNAL_ENTRIES:]
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
            if self._delete_sent_sounds() >= MAX_WAITING_SOUNDS:
                return self._send(self._language.text("sounds_waiting", max=MAX_WAITING_SOUNDS))
            path = self._run / "companion" / f"said-{secrets.token_hex(6)}.wav"
            self._synthesize(text, path)
            return self._send(text, voice=str(path))
        except ValueError as error:
            return self._send(self._language.text("cannot_speak"), str(error))
        finally:
            self._speech_lock.release()

    def _delete_sent_sounds(self) -> int:
        """Delete the spoken texts that no message waits to send; return how many are left."""
        waiting = {Path(voice).name for voice in self._outbox.voices()}
        sounds = list((self._run / "companion").glob("said-*.wav"))
        for path in sounds:
            if path.name not in waiting:
                path.unlink()
        return sum(path.name in waiting for path in sounds)

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
