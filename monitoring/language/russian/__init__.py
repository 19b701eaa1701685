"""Russian names and texts."""

from __future__ import annotations

from monitoring.language.base import Language
from monitoring.language.russian import decisions, signals, texts

RUSSIAN = Language(
    ailments=decisions.AILMENTS,
    remedies=decisions.REMEDIES,
    actions=decisions.ACTIONS,
    phases=decisions.PHASES,
    verdicts=decisions.VERDICTS,
    severities=decisions.SEVERITIES,
    statuses=texts.STATUSES,
    signals=signals.SIGNALS,
    knobs=signals.KNOBS,
    texts=texts.TEXTS,
)
