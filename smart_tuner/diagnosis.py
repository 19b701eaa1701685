"""A diagnosis: an ailment with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["notice", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("notice", "warning", "critical")
"""In ascending order; a notice is recorded but not treated."""


@dataclass(frozen=True)
class Diagnosis:
    """An ailment found at `step` that began at `since`; `evidence` holds the signal values that show it."""

    ailment: str
    severity: Severity
    step: int
    since: int
    evidence: Mapping[str, float]
    utterances: tuple[str, ...] = field(default=())
