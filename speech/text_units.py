"""Units of a text: pieces that a voice speaks one at a time, none longer than the texts it was trained on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from corpus.text.scripts import SENTENCE_MARKS, is_unspaced
from speech.abbreviations import is_abbreviation

SENTENCE_PAUSE, PARAGRAPH_PAUSE = 0.35, 0.6  # seconds
CLAUSE_PAUSES = dict.fromkeys(";:–—-；：؛", 0.25) | dict.fromkeys(",，、،", 0.15)
WORD_PAUSE = 0.05
MAX_PAUSE_SECONDS = 30.0
PAUSE_MARK = re.compile(r"\[pause(?:\s+(\d*[.,]?\d+))?\s*(?:s|sec|seconds?)?\]", re.IGNORECASE)
USUAL_PAUSE = "0.5"  # of a mark without a number
SENTENCE_END = re.compile(rf"""(?<=[{"".join(SENTENCE_MARKS)}])(["'»”’)\]]*)\s+|(?<=[。！？।])\s*""")
CONJUNCTIONS = {
    "en": "and|but|or|because|which|that|while|when|where|if|so|although",
    "de": "und|aber|oder|weil|dass|während|wenn|wo|sondern|denn|obwohl|damit",
    "ru": "и|но|или|потому|что|который|которая|которые|когда|где|если|а|хотя|чтобы",
}
WORD_SPACE = re.compile(r"\s+(?![^\[]*\]\])")  # not within [[phonemes]]
TRAILING_MARKS = ".!?…,;:–—-，、；："
BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")


@dataclass(frozen=True)
class Unit:
    """A piece of text, and the silence after it."""

    text: str
    pause_seconds: float


LengthOf = Callable[[str], int]
"""Number of symbols of a text."""


def split_units(text: str, language: str, *, length_of: LengthOf, longest: int | None) -> Iterator[Unit]:
    """Split at lines, [pause 0.5] marks and sentences; a sentence longer than `longest` symbols at its clauses.

    The pauses follow the punctuation. Without `longest` sentences stay whole. A paragraph is split when it is needed.
    """
    units: list[Unit] = []
    for paragraph in _paragraphs(text):
        for piece, pause in _split_at_pause_marks(paragraph):
            for sentence in split_sentences(piece, language):
                clauses = _fit(sentence, language, length_of, longest)
                units += [Unit(clause, clause_pause(clause)) for clause in clauses[:-1]]
                units += [Unit(clause, SENTENCE_PAUSE) for clause in clauses[-1:]]
            if pause is not None and units:
                earlier = units[-1].pause_seconds if not piece else 0.0  # of a mark right before this one
                units[-1] = replace(units[-1], pause_seconds=min(MAX_PAUSE_SECONDS, earlier + pause))
        if units and units[-1].pause_seconds == SENTENCE_PAUSE:
            units[-1] = replace(units[-1], pause_seconds=PARAGRAPH_PAUSE)
        yield from units[:-1]
        units = units[-1:]  # a mark at the beginning of the next paragraph makes its pause longer
    yield from units


def _paragraphs(text: str) -> list[str]:
    """Parts between blank lines, whose lines are wrapped text; without a blank line each line is a paragraph."""
    if BLANK_LINE.search(text.strip()):
        return [" ".join(part.split()) for part in BLANK_LINE.split(text.strip())]
    return [line.strip() for line in text.splitlines() if line.strip()]


def _split_at_pause_marks(text: str) -> Iterator[tuple[str, float | None]]:
    """Yield the texts between the marks, each with the seconds of the mark after it."""
    parts = PAUSE_MARK.split(text)
    marks = [float((seconds or USUAL_PAUSE).replace(",", ".")) for seconds in parts[1::2]]
    for piece, seconds in zip(parts[::2], [*marks, None], strict=True):
        yield piece.strip(), None if seconds is None else min(MAX_PAUSE_SECONDS, seconds)


def split_sentences(text: str, language: str) -> list[str]:
    """Split after sentence ends; not after abbreviations, initials, and dots that a small letter follows."""
    has_capitals = any(c.isupper() for c in text)
    sentences, start = [], 0
    for match in SENTENCE_END.finditer(text):
        before, after = text[start : match.end()].strip(), text[match.end() :]
        goes_on = before[-1:] in tuple(".…") and has_capitals and after[:1].islower()
        if goes_on or (before.endswith(".") and is_abbreviation(before, language, after)):
            continue
        sentences.append(before)
        start = match.end()
    return [sentence for sentence in (*sentences, text[start:].strip()) if sentence]


def _fit(sentence: str, language: str, length_of: LengthOf, longest: int | None) -> list[str]:
    """Split a sentence that is too long: after strong marks, then commas, then before conjunctions, then at words."""
    if longest is None or length_of(sentence) <= longest:
        return [sentence]
    conjunctions = CONJUNCTIONS.get(language.split("-")[0])
    for pattern in (
        r"(?<=[;:–—؛])\s+|(?<=\s-)\s+|(?<=[；：])",
        r"(?<=[,،])\s+|(?<=[，、])",
        *([rf"\s+(?=(?:{conjunctions})\s)"] if conjunctions else []),
        rf"(?<![\d$€£])(?:{WORD_SPACE.pattern})(?!\d)",  # numbers stay with what they count
        WORD_SPACE.pattern,
    ):
        parts = [part for part in re.split(pattern, sentence) if part]
        if len(parts) > 1:
            packed = _pack(parts, length_of, longest)
            return [unit for part in packed for unit in _fit(part, language, length_of, longest)]
    return _chunks(sentence, -(-length_of(sentence) // longest)) if any(map(is_unspaced, sentence)) else [sentence]


def _chunks(text: str, n: int) -> list[str]:
    """Pieces of about equal length of a text whose words have no spaces between them."""
    bounds = [round(i * len(text) / n) for i in range(n + 1)]
    return [text[first:last] for first, last in pairwise(bounds)]


def _pack(parts: Sequence[str], length_of: LengthOf, longest: int) -> list[str]:
    """Join neighbours into as few pieces as fit, of about equal length."""
    whole = sum(map(length_of, parts))
    target = whole / -(-whole // longest)
    packed = [parts[0]]
    for part in parts[1:]:
        joined = f"{packed[-1]} {part}"
        if length_of(joined) > longest or length_of(packed[-1]) >= target:
            packed.append(part)
        else:
            packed[-1] = joined
    return packed


def clause_pause(clause: str) -> float:
    return CLAUSE_PAUSES.get(clause.rstrip()[-1:], WORD_PAUSE)


def with_ending(text: str, ending: str) -> str:
    """Text that ends as training texts do: a comma or dash at the end of a clause becomes `ending`."""
    stripped = text.rstrip()
    if not ending or stripped.rstrip("\"'»”’)]")[-1:] in SENTENCE_MARKS:
        return stripped
    return stripped.rstrip(TRAILING_MARKS + " ") + ending
