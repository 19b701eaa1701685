"""True times of the phones and words of an utterance, and their assignment to the characters of its IPA."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from corpus.text.espeak import MARKS, TimedLabel

_STRESS = "ˈˌ"
_LENGTH = "ː"


@dataclass(frozen=True)
class Timings:
    """Phones and words in order; pauses belong to none of them."""

    phones: list[TimedLabel]
    words: list[TimedLabel]


def write_timings(path: Path, timings: Timings) -> None:
    """Write `{"phones": [[label, start, end], …], "words": […]}`, times in seconds."""
    rows = {"phones": _rows(timings.phones), "words": _rows(timings.words)}
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def read_timings(path: Path) -> Timings:
    """Read a file written by `write_timings`."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return Timings(
        phones=[TimedLabel(*row) for row in rows["phones"]], words=[TimedLabel(*row) for row in rows["words"]]
    )


def align_characters(ipa: str, phones: list[TimedLabel]) -> list[tuple[float, float] | None]:
    """Return start and end in seconds of each character of `phonemize`'s IPA; `None` if it matches no phone.

    All characters of a phone get its whole span. A stress mark gets the span of the phone after it; length marks,
    diacritics and the digits of tones that of the phone before. Spaces and punctuation marks have none.
    """
    ipa_letters = [index for index, character in enumerate(ipa) if _is_letter(character)]
    phone_letters = [
        (_without_diacritic(character), phone) for phone in phones for character in phone.label if _is_letter(character)
    ]
    matcher = SequenceMatcher(
        None, [_without_diacritic(ipa[i]) for i in ipa_letters], [letter for letter, _ in phone_letters], False
    )
    spans: list[tuple[float, float] | None] = [None] * len(ipa)
    for ipa_start, phone_start, length in matcher.get_matching_blocks():
        matched = zip(ipa_letters[ipa_start : ipa_start + length], phone_letters[phone_start:], strict=False)
        for index, (_, phone) in matched:
            spans[index] = (phone.start_seconds, phone.end_seconds)
    for index in range(1, len(ipa)):
        if _belongs_to_previous(ipa[index]):
            spans[index] = spans[index - 1]
    for index in reversed(range(len(ipa) - 1)):
        if ipa[index] in _STRESS:
            spans[index] = spans[index + 1]
    return spans


def _rows(labels: Iterable[TimedLabel]) -> list[tuple[str, float, float]]:
    return [(item.label, round(item.start_seconds, 6), round(item.end_seconds, 6)) for item in labels]


def _is_letter(character: str) -> bool:
    """Whether `phonemize` and `synthesize` both report it; a modifier letter such as ʲ can be a phone by itself."""
    is_silent = character.isspace() or character in MARKS or character in _STRESS
    return not is_silent and not _belongs_to_previous(character)


def _belongs_to_previous(character: str) -> bool:
    return character == _LENGTH or unicodedata.category(character) in ("Mn", "Nd")


def _without_diacritic(character: str) -> str:
    return unicodedata.normalize("NFD", character)[0]
