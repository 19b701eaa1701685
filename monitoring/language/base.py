"""Language: the names and sentences that describe a run to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

LanguageCode = Literal["en", "ru"]


@dataclass(frozen=True)
class Language:
    """Names of the journal's identifiers, and texts with {placeholders}."""

    ailments: Mapping[str, str]
    remedies: Mapping[str, str]
    actions: Mapping[str, str]
    phases: Mapping[str, str]
    verdicts: Mapping[str | None, str]
    severities: Mapping[str, str]
    statuses: Mapping[str, str]
    signals: Mapping[str, str]
    knobs: Mapping[str, str]
    texts: Mapping[str, str]

    def text(self, key: str, **values: Any) -> str:
        return self.texts[key].format(**values)

    def name(self, identifier: str) -> str:
        """Name of a signal, knob, ailment or phase; an unknown identifier with spaces instead of underscores."""
        known = (self.signals, self.knobs, self.ailments, self.phases)
        return next((names[identifier] for names in known if identifier in names), identifier.replace("_", " "))

    def format_values(self, values: Mapping[str, Any]) -> str:
        """Format names with their values, separated by commas: `loss 9, best 2`."""
        return ", ".join(f"{self.name(name)} {self._format_value(value)}" for name, value in values.items())

    def _format_value(self, value: Any) -> str:
        return self.ailments.get(value, value) if isinstance(value, str) else format_number(value)

    def format_duration(self, seconds: float) -> str:
        minutes = round(seconds / 60)
        if seconds < 90:
            return self.text("seconds", n=round(seconds))
        return self.text("minutes", n=minutes) if minutes < 90 else self.text("hours", h=minutes // 60, m=minutes % 60)


def format_number(value: Any) -> str:
    """Format a float with about three digits; None, which was not measured, is a dash."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
