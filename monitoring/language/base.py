"""What people read about a run, in their language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Language = Literal["en", "ru"]


@dataclass(frozen=True)
class Words:
    """Names of all that the journal names, and sentences with places for values."""

    ailments: Mapping[str, str]
    remedies: Mapping[str, str]
    actions: Mapping[str, str]
    signals: Mapping[str, str]
    knobs: Mapping[str, str]
    phases: Mapping[str, str]
    verdicts: Mapping[str | None, str]
    severities: Mapping[str, str]
    texts: Mapping[str, str]

    def say(self, text: str, **values: Any) -> str:
        return self.texts[text].format(**values)

    def name(self, what: str) -> str:
        """Of a signal, a knob, an ailment or, where nobody has named it, whatever the journal calls it."""
        known = (self.signals, self.knobs, self.ailments)
        return next((names[what] for names in known if what in names), what.replace("_", " "))

    def values(self, values: Mapping[str, Any]) -> str:
        """Names and values, in a row."""
        return ", ".join(f"{self.name(name)} {self._value(value)}" for name, value in values.items())

    def _value(self, value: Any) -> str:
        return self.ailments.get(value, value) if isinstance(value, str) else number(value)

    def duration(self, seconds: float) -> str:
        minutes = round(seconds / 60)
        if seconds < 90:
            return self.say("seconds", n=round(seconds))
        return self.say("minutes", n=minutes) if minutes < 90 else self.say("hours", h=minutes // 60, m=minutes % 60)


def number(value: Any) -> str:
    """As few digits as a person wants to read; what was not measured is a dash."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def words_of(language: Language) -> Words:
    from monitoring.language.english import ENGLISH
    from monitoring.language.russian import RUSSIAN

    return {"en": ENGLISH, "ru": RUSSIAN}[language]
