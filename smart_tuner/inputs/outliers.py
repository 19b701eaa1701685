"""Which utterances stood out of their batch, and how often: a bad clip shows itself whenever it comes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Outliers = Mapping[str, float | None]
"""Utterance id → its loss as a multiple of its batch's median; None: its loss was not finite."""


@dataclass(frozen=True)
class Appearance:
    """One step in which an utterance stood out."""

    step: int
    ratio: float | None


@dataclass
class OutlierMemory:
    """Appearances by utterance, for the whole run: most utterances never stand out."""

    appearances: dict[str, list[Appearance]] = field(default_factory=dict)

    def record(self, step: int, outliers: Outliers) -> None:
        for utterance, ratio in outliers.items():
            self.appearances.setdefault(utterance, []).append(Appearance(step, ratio))

    def forget(self, utterances: tuple[str, ...]) -> None:
        """They were dealt with."""
        for utterance in utterances:
            self.appearances.pop(utterance, None)

    def state_dict(self) -> dict[str, Any]:
        return {name: [[a.step, a.ratio] for a in found] for name, found in self.appearances.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.appearances = {name: [Appearance(*pair) for pair in found] for name, found in state.items()}
