"""Names and texts for people, in English and Russian."""

from __future__ import annotations

from monitoring.language.base import Language, LanguageCode
from monitoring.language.english import ENGLISH
from monitoring.language.russian import RUSSIAN

LANGUAGES: dict[LanguageCode, Language] = {"en": ENGLISH, "ru": RUSSIAN}
