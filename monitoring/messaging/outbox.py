"""Queue of messages to send: bounded, stored on disk, the least important message dropped first."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from files import write_atomically
from monitoring.language.base import Language
from monitoring.messaging.message import Message, Priority

CAPACITY = 100
MAX_LINES = 500  # of a merged message; its count stays right beyond them
MERGED_ALARMS, DIGEST = "alerts", "digest"  # kinds of merged messages
MAX_SINGLE_MESSAGES = 5  # messages that are sent one by one even after an outage


class Outbox:
    """Queue in order of arrival, critical messages first.

    New progress replaces waiting progress, and a critical message is merged with a waiting one of the same title.
    Beyond the capacity the oldest message of the lowest priority is dropped; critical ones are merged instead.
    """

    def __init__(self, path: Path, language: Language) -> None:
        self._path, self._language = path, language
        self._lock = threading.RLock()
        self._waiting: list[Message] = []
        self._n_dropped = 0
        self._saved: bytes | None = None
        self.has_new = threading.Event()
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            self._waiting = [Message.from_json(values) for values in content["waiting"]]
            self._n_dropped = int(content["dropped"])

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)

    def voices(self) -> set[str]:
        """Return the sound files of the waiting messages."""
        with self._lock:
            return {message.voice for message in self._waiting if message.voice is not None}

    def put(self, message: Message) -> None:
        with self._lock:
            if not self._merge(message):
                self._waiting.append(message)
            while len(self._waiting) > CAPACITY:
                self._make_room()
        self.has_new.set()

    def first(self, *, only_critical: bool = False) -> Message | None:
        """Return the message to send next; it stays in the queue until it is removed."""
        with self._lock:
            critical = [message for message in self._waiting if _is_critical(message)]
            return next(iter(critical or ([] if only_critical else self._waiting)), None)

    def remove(self, message: Message) -> None:
        """Remove a message that was sent or refused; one merged from it meanwhile is a different message and stays."""
        with self._lock:
            self._waiting = [other for other in self._waiting if other != message]

    def condense(self) -> None:
        """After an outage, merge the waiting messages into one digest, unless there are few.

        Answers are dropped, since they come too late; questions keep their buttons.
        """
        with self._lock:
            messages = [message for message in self._waiting if message.priority is not Priority.ANSWER]
            questions = [message for message in messages if message.buttons]
            messages = [message for message in messages if not message.buttons]
            if len(messages) > MAX_SINGLE_MESSAGES:
                messages = [self._digest(messages)]
                self._n_dropped = 0
            self._waiting = questions + messages

    def save(self) -> None:
        """Write the queue to disk if it has changed."""
        with self._lock:
            state = {"waiting": [message.to_json() for message in self._waiting], "dropped": self._n_dropped}
            content = json.dumps(state, ensure_ascii=False).encode("utf-8", "backslashreplace")
            if content != self._saved:
                write_atomically(self._path, content)
                self._saved = content

    def try_save(self) -> None:
        """Save; a full disk must not keep messages from being sent."""
        with contextlib.suppress(OSError):
            self.save()

    def _merge(self, message: Message) -> bool:
        for i, waiting in enumerate(self._waiting):
            if waiting.kind == message.kind and message.priority is Priority.PROGRESS:
                self._waiting[i] = message
                return True
            if (waiting.kind, waiting.title) == (message.kind, message.title) and _is_critical(message):
                self._waiting[i] = replace(message, times=waiting.times + message.times)
                return True
        return False

    def _make_room(self) -> None:
        lowest = min(self._waiting, key=lambda message: message.priority)  # of several, min returns the oldest
        self._waiting.remove(lowest)
        if _is_critical(lowest):
            title = self._language.text("several_alarms")
            self._waiting[0] = _combine(MERGED_ALARMS, title, [lowest, self._waiting[0]])
        else:
            self._n_dropped += 1

    def _digest(self, messages: Sequence[Message]) -> Message:
        critical_first = sorted(messages, key=lambda message: not _is_critical(message))
        digest = _combine(DIGEST, self._language.text("digest"), critical_first)
        return replace(
            digest,
            step=messages[-1].step,
            pictures=next((message.pictures for message in reversed(messages) if message.pictures), ()),
            voice=next((message.voice for message in reversed(messages) if message.voice), None),
            times=self._n_dropped + digest.times,
        )


def _is_critical(message: Message) -> bool:
    return message.priority is Priority.CRITICAL


def _combine(kind: str, title: str, messages: Sequence[Message]) -> Message:
    """Merge messages into one that lists their headlines."""
    lines = dict.fromkeys(line for message in messages for line in _headlines(message))
    priority, times = max(message.priority for message in messages), sum(message.times for message in messages)
    return Message(kind, priority, title, tuple(lines)[:MAX_LINES], messages[-1].step, times=times)


def _headlines(message: Message) -> list[str]:
    """Headline of a message; of a merged one, the headlines of its parts."""
    return list(message.lines) if message.kind in (MERGED_ALARMS, DIGEST) else [message.headline]
