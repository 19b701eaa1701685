"""An ailment with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["notice", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("notice", "warning", "critical")


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong, since when, and which values say so; a notice is written down and not treated."""

    ailment: str
    severity: Severity
    step: int
    since: int
    evidence: Mapping[str, float]
    utterances: tuple[str, ...] = field(default=())

    @property
    def rank(self) -> int:
        """Higher is worse."""
        return SEVERITIES.index(self.severity)
