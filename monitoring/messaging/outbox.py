"""Messages that wait to be sent: bounded, kept on the disk, the least important given up first."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path

from files import write_atomically
from monitoring.language.base import Words
from monitoring.messaging.message import Importance, Message

CAPACITY = 100
MOST_LINES = 500
"""Of a message that many became one in; their number is told all the same."""
JOINT, DIGEST = "alerts", "digest"  # kinds of messages that several became
FEW = 5
"""Messages that are sent one by one even after an outage."""


class Outbox:
    """What was put in leaves in this order: critical first, then as it came.

    Progress replaces progress; a critical message joins a waiting one of the same title. Over its capacity the oldest
    of the least important goes; critical ones never do: two become one that holds both.
    """

    def __init__(self, path: Path, words: Words) -> None:
        self._path, self._words = path, words
        self._lock = threading.RLock()
        self._waiting: list[Message] = []
        self._dropped = 0
        self._saved: bytes | None = None
        self.filled = threading.Event()
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._waiting = [Message.from_json(values) for values in kept["waiting"]]
            self._dropped = int(kept["dropped"])

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)

    def put(self, message: Message) -> None:
        with self._lock:
            if not self._join(message):
                self._waiting.append(message)
            while len(self._waiting) > CAPACITY:
                self._make_room()
        self.filled.set()

    def first(self, *, only_critical: bool = False) -> Message | None:
        """The one to be sent next; it stays until it is done."""
        with self._lock:
            critical = [waiting for waiting in self._waiting if waiting.importance is Importance.CRITICAL]
            return next(iter(critical or ([] if only_critical else self._waiting)), None)

    def done(self, message: Message) -> None:
        """It was sent or can never be; what joined it meanwhile goes on waiting."""
        with self._lock:
            self._waiting = [waiting for waiting in self._waiting if waiting != message]

    def digest(self) -> None:
        """After an outage all that waits becomes one message, unless it is just a few.

        Answers have come too late; a question keeps its buttons.
        """
        with self._lock:
            told = [waiting for waiting in self._waiting if waiting.importance is not Importance.ANSWER]
            questions = [waiting for waiting in told if waiting.buttons]
            told = [waiting for waiting in told if not waiting.buttons]
            if len(told) > FEW:
                told = [self._digest_of(told)]
                self._dropped = 0
            self._waiting = questions + told

    def save_if_possible(self) -> None:
        """A full disk does not keep messages from being sent."""
        with contextlib.suppress(OSError):
            self.save()

    def save(self) -> None:
        """To the disk, if anything has changed."""
        with self._lock:
            kept = {"waiting": [message.to_json() for message in self._waiting], "dropped": self._dropped}
            content = json.dumps(kept, ensure_ascii=False).encode("utf-8", "backslashreplace")
            if content != self._saved:
                write_atomically(self._path, content)
                self._saved = content

    def _join(self, message: Message) -> bool:
        for i, waiting in enumerate(self._waiting):
            if waiting.kind == message.kind and message.importance is Importance.PROGRESS:
                self._waiting[i] = message
                return True
            if (waiting.kind, waiting.title) == (message.kind, message.title) and _is_critical(message):
                self._waiting[i] = waiting.again(message)
                return True
        return False

    def _make_room(self) -> None:
        least = min(self._waiting, key=lambda waiting: waiting.importance)  # the first, which is the oldest, of them
        self._waiting.remove(least)
        if not _is_critical(least):
            self._dropped += 1
            return
        other = self._waiting.pop(0)
        lines = dict.fromkeys([*_titles(least), *_titles(other)])
        self._waiting.insert(
            0,
            Message(
                JOINT,
                Importance.CRITICAL,
                self._words.say("several_alerts"),
                tuple(lines)[:MOST_LINES],
                step=other.step,
                times=least.times + other.times,
            ),
        )

    def _digest_of(self, told: Sequence[Message]) -> Message:
        ordered = sorted(told, key=lambda message: not _is_critical(message))
        lines = list(dict.fromkeys(line for message in ordered for line in _titles(message)))[:MOST_LINES]
        return Message(
            DIGEST,
            max(message.importance for message in told),
            self._words.say("digest"),
            tuple(lines),
            step=told[-1].step,
            pictures=next((message.pictures for message in reversed(told) if message.pictures), ()),
            voice=next((message.voice for message in reversed(told) if message.voice), None),
            times=self._dropped + sum(message.times for message in told),
        )


def _is_critical(message: Message) -> bool:
    return message.importance is Importance.CRITICAL


def _titles(message: Message) -> list[str]:
    """One line for it or, if several became one in it, for each."""
    return list(message.lines) if message.kind in (JOINT, DIGEST) else [message.headline]
