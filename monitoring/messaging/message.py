"""One message to a person: what it says, how much it matters, what goes with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any


class Importance(IntEnum):
    """What is dropped first comes first."""

    PROGRESS = 0
    PHASE = 1
    ADVICE = 2
    INTERVENTION = 3
    ANSWER = 4
    END = 5
    CRITICAL = 6


@dataclass(frozen=True)
class Button:
    """Something to press under a message; what it sends back is a command without its slash."""

    label: str
    command: str


@dataclass(frozen=True)
class Message:
    """Plain text: whoever sends it escapes it. Pictures and the voice are paths of files."""

    kind: str
    importance: Importance
    title: str
    lines: tuple[str, ...] = ()
    step: int = 0
    pictures: tuple[str, ...] = ()
    voice: str | None = None
    buttons: tuple[Button, ...] = ()
    times: int = 1  # how often the same was to be said

    @property
    def headline(self) -> str:
        return self.title if self.times == 1 else f"{self.title} (× {self.times})"

    def again(self, later: Message) -> Message:
        """Both as one."""
        return replace(later, times=self.times + later.times)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Message:
        plain = values | {name: tuple(values[name]) for name in ("lines", "pictures")}
        buttons = tuple(Button(**button) for button in values["buttons"])
        return Message(**plain | {"importance": Importance(values["importance"]), "buttons": buttons})
