"""The true times of phones and words beside an utterance, and how the characters of its IPA lie on them."""

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
    """Phones and words in their order; pauses belong to none."""

    phones: list[TimedLabel]
    words: list[TimedLabel]


def write_timings(path: Path, timings: Timings) -> None:
    """Write `{"phones": [[label, start, end], …], "words": […]}`, times in seconds."""
    rows = {"phones": _rows(timings.phones), "words": _rows(timings.words)}
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def read_timings(path: Path) -> Timings:
    """Read what `write_timings` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return Timings(
        phones=[TimedLabel(*row) for row in rows["phones"]], words=[TimedLabel(*row) for row in rows["words"]]
    )


def align_characters(ipa: str, phones: list[TimedLabel]) -> list[tuple[float, float] | None]:
    """Start and end of every character of `phonemize`'s IPA, in seconds; `None` for spaces, marks and unmatched ones.

    All characters of a phone get its whole span; stress marks get that of the phone they precede, length marks,
    diacritics and the digits of tones that of the phone they follow.
    """
    letters = [place for place, character in enumerate(ipa) if _is_letter(character)]
    spoken = [(_bare(character), phone) for phone in phones for character in phone.label if _is_letter(character)]
    matcher = SequenceMatcher(None, [_bare(ipa[place]) for place in letters], [bare for bare, _ in spoken], False)
    spans: list[tuple[float, float] | None] = [None] * len(ipa)
    for in_ipa, in_spoken, length in matcher.get_matching_blocks():
        for place, (_, phone) in zip(letters[in_ipa : in_ipa + length], spoken[in_spoken:], strict=False):
            spans[place] = (phone.start_seconds, phone.end_seconds)
    for place in range(1, len(ipa)):
        if _follows_a_letter(ipa[place]):
            spans[place] = spans[place - 1]
    for place in reversed(range(len(ipa) - 1)):
        if ipa[place] in _STRESS:
            spans[place] = spans[place + 1]
    return spans


def _rows(timed: Iterable[TimedLabel]) -> list[tuple[str, float, float]]:
    return [(one.label, round(one.start_seconds, 6), round(one.end_seconds, 6)) for one in timed]


def _is_letter(character: str) -> bool:
    """Whether both `phonemize` and `speak` report the character; a modifier letter as ʲ can be a phone of its own."""
    is_silent = character.isspace() or character in MARKS or character in _STRESS
    return not is_silent and not _follows_a_letter(character)


def _follows_a_letter(character: str) -> bool:
    return character == _LENGTH or unicodedata.category(character) in ("Mn", "Nd")


def _bare(character: str) -> str:
    """The character without a diacritic that Unicode has composed with it."""
    return unicodedata.normalize("NFD", character)[0]
