"""What a person in a chat may ask, and how it is answered."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from monitoring.journal.control_file import RequestFile
from monitoring.journal.run_state import JournalState
from monitoring.language.base import Words
from monitoring.messaging.message import Button, Importance, Message
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.progress_message import progress_lines, progress_title, sample_file
from monitoring.report.curves import curves_picture
from monitoring.report.plots import pixels, save_png
from monitoring.report.summary import act_story, act_title, judged, verdict

CONFIRM_SECONDS = 120.0
LONGEST_SPEECH = 500  # characters
MOST_SPEECHES = 10  # files; by then the first of them was sent
JOURNAL_ENTRIES = 10
LONGEST_NUMBER, LONGEST_SHOWN = 9, 100  # characters

Speak = Callable[[str, Path], None]
"""Has the run's voice say a text into a WAV file; raises ValueError where it cannot."""


class Person:
    """Answers questions from the run's folder, and passes orders on to the training."""

    def __init__(self, run: Path, outbox: Outbox, words: Words, speak: Speak) -> None:
        self._run, self._outbox, self._words, self._speak = run, outbox, words, speak
        self._orders = RequestFile(run)
        self._speaking, self._speeches = threading.Lock(), 0
        self._stop_code, self._stop_until = "", 0.0

    def hear(self, text: str, user: int, *, pressed: bool) -> str:
        """One command, as `set learning_rate_multiplier 0.5`; returns a word for whoever pressed a button."""
        head, *rest = text.split(maxsplit=1) or [""]
        command, arguments = head.lower(), rest[0].split() if rest else []
        if command == "say":
            self._say("".join(rest).strip())
        elif command == "stop":
            return self._stop("".join(rest) if pressed else "", user)
        elif command == "set" and len(arguments) == 2:
            self._set(*arguments, user=user)
        elif command in ("approve", "reject") and len(arguments) == 1:
            self._answer_proposal(command, arguments[0].removeprefix("#"), user)
        elif command in ("pause", "resume") and not arguments:
            self._order(command, user)
        elif command in ("status", "plot", "journal") and not arguments:
            {"status": self._status, "plot": self._plot, "journal": self._journal}[command]()
        else:
            self._answer(self._words.say("help_title"), *self._words.say("help").splitlines())
        return self._words.say("heard")

    def _answer(self, title: str, *lines: str, pictures: tuple[str, ...] = (), voice: str | None = None) -> None:
        answer = Message("answer", Importance.ANSWER, title, lines, pictures=pictures, voice=voice)
        self._outbox.put(answer)

    def _order(self, order: str, user: int, **fields: object) -> None:
        """The training will say what became of it, if it is under way."""
        if JournalState.load(self._run).is_over:
            self._answer(self._words.say("is_over"))
        else:
            self._orders.append(order, f"user {user}", **fields)

    def _answer_proposal(self, order: str, number: str, user: int) -> None:
        if number.isdecimal() and len(number) <= LONGEST_NUMBER:
            self._order(order, user, number=int(number))
        else:
            self._answer(self._words.say("not_a_number", value=number[:LONGEST_SHOWN]))

    def _status(self) -> None:
        state = JournalState.load(self._run)
        lines = [*progress_lines(state, self._words), verdict(state, self._words)]
        self._answer(progress_title(state, self._words), *lines)

    def _plot(self) -> None:
        state = JournalState.load(self._run)
        curves = self._run / "companion" / "plot.png"
        save_png(pixels(curves_picture(state, self._words)), curves)
        pictures = [sample_file(self._run, evaluation, ".png") for evaluation in reversed(state.evaluations)]
        newest = [picture for picture in pictures if picture is not None][:1]
        self._answer(progress_title(state, self._words), pictures=(str(curves), *newest))

    def _journal(self) -> None:
        entries = JournalState.load(self._run).interventions[-JOURNAL_ENTRIES:]
        if not entries:
            return self._answer(self._words.say("no_interventions"))
        lines = []
        for entry in entries:
            title = f"#{entry.number} {act_title(entry, self._words)}: {judged(entry, self._words)}"
            lines += ["", title, *act_story(entry, self._words)]
        return self._answer(self._words.say("interventions"), *lines)

    def _say(self, text: str) -> None:
        """One at a time: a voice that speaks takes a core."""
        if not text or len(text) > LONGEST_SPEECH:
            return self._answer(self._words.say("say_length", most=LONGEST_SPEECH))
        if not self._speaking.acquire(blocking=False):
            return self._answer(self._words.say("speaking"))
        try:
            self._speeches += 1
            path = self._run / "companion" / f"said-{self._speeches % MOST_SPEECHES}.wav"
            self._speak(text, path)
        except ValueError as error:
            return self._answer(self._words.say("cannot_say"), str(error))
        finally:
            self._speaking.release()
        return self._answer(text, voice=str(path))

    def _set(self, knob: str, value: str, *, user: int) -> None:
        try:
            position = float(value.replace(",", "."))
        except ValueError:
            position = math.nan
        if math.isfinite(position):
            self._order("set", user, knob=knob[:LONGEST_SHOWN], value=position)
        else:
            self._answer(self._words.say("not_a_number", value=value[:LONGEST_SHOWN]))

    def _stop(self, argument: str, user: int) -> str:
        """Asks first: the button holds a code that only this question knows, and not for long."""
        if argument == "no":
            self._stop_code = ""
            return self._words.say("goes_on")
        if self._stop_code and argument == self._stop_code and time.monotonic() < self._stop_until:
            self._stop_code = ""
            self._order("stop", user)
            return self._words.say("heard")
        if argument:
            return self._words.say("too_late")
        self._stop_code, self._stop_until = secrets.token_hex(4), time.monotonic() + CONFIRM_SECONDS
        buttons = (
            Button(self._words.say("yes_stop"), f"stop {self._stop_code}"),
            Button(self._words.say("no"), "stop no"),
        )
        question = Message("answer", Importance.ANSWER, self._words.say("really_stop"), buttons=buttons)
        self._outbox.put(question)
        return self._words.say("heard")
