"""Outliers: utterances whose loss was far above the rest of their batch, as bad recordings always are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Outliers = Mapping[str, float | None]
"""Utterance id → its loss as a multiple of the batch's median; None: its loss was not finite."""


@dataclass(frozen=True)
class Appearance:
    """One step in which an utterance was an outlier."""

    step: int
    ratio: float | None


@dataclass
class OutlierHistory:
    """Appearances by utterance, kept for the whole run: most utterances never are outliers."""

    appearances: dict[str, list[Appearance]] = field(default_factory=dict)

    def record(self, step: int, outliers: Outliers) -> None:
        for utterance, ratio in outliers.items():
            self.appearances.setdefault(utterance, []).append(Appearance(step, ratio))

    def remove(self, utterances: tuple[str, ...]) -> None:
        for utterance in utterances:
            self.appearances.pop(utterance, None)

    def state_dict(self) -> dict[str, Any]:
        return {name: [[a.step, a.ratio] for a in appearances] for name, appearances in self.appearances.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.appearances = {name: [Appearance(*pair) for pair in pairs] for name, pairs in state.items()}
