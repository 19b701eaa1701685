"""A message to people and its priority."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any


class Priority(IntEnum):
    """Priority of a message; a full outbox drops the lowest first. Outbox files hold the numbers."""

    PROGRESS = 0
    PHASE = 1
    INTERVENTION = 3
    ANSWER = 4
    END = 5
    CRITICAL = 6


@dataclass(frozen=True)
class Button:
    """Button below a message; pressing it sends back `command`, a bot command without its slash."""

    label: str
    command: str


@dataclass(frozen=True)
class Message:
    """Plain text, which each transport escapes as it needs; pictures and voice are paths of files."""

    kind: str
    priority: Priority
    title: str
    lines: tuple[str, ...] = ()
    step: int = 0
    pictures: tuple[str, ...] = ()
    voice: str | None = None
    buttons: tuple[Button, ...] = ()
    times: int = 1  # number of messages merged into this one

    @property
    def headline(self) -> str:
        return self.title if self.times == 1 else f"{self.title} (× {self.times})"

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        return values | {"importance": values.pop("priority")}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Message:
        fields = dict(values)
        fields["priority"] = Priority(fields.pop("importance"))
        fields |= {name: tuple(values[name]) for name in ("lines", "pictures")}
        fields["buttons"] = tuple(Button(**button) for button in values["buttons"])
        return Message(**fields)
