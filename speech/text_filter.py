"""Filter for texts: words in other scripts, emoji and other signs that a voice cannot say are left out and named."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from corpus.text.scripts import UNSPACED, letter_script

MAX_NAMED = 5
SPOKEN_SYMBOLS = "%‰&+=§°$€£¥@#*/^~|<>_\\№©®™×÷±−⁻µ√≈≤≥Ω"
"""Signs that stand for words, which the front end or espeak-ng may read."""
URL = re.compile(r"(?:https?://|www\.)[^\s<>\"]+|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
URL_WORDS = {
    "en": {".": "dot", "/": "slash", "@": "at", "-": "dash", "_": "underscore", ":": "colon"},
    "de": {".": "Punkt", "/": "Schrägstrich", "@": "at", "-": "Bindestrich", "_": "Unterstrich", ":": "Doppelpunkt"},
    "ru": {".": "точка", "/": "слэш", "@": "собака", "-": "дефис", "_": "подчёркивание", ":": "двоеточие"},
}
FOOTNOTE = re.compile(r"(?<=[\w.,;:!?\"”’»)])\[\d{1,3}\]")
READ_IN_ANY_SCRIPT = re.compile(r"\W*(?:[IVXLCDM]+|\d*°[CF])\W*")  # Roman numerals and degrees
GREEK_QUESTION = re.compile("[;\u037e]")
EMPHASIS = re.compile(r"[*_=~#`|]{2,}|(?<!\S)\*(?!\S)(?!\s\d)|(?<![\w*])[*_`](?=\w)|(?<=[\w.,!?])[*_`](?![\w*])")
"""Marks of headings, lines, bold and slanted words."""
BRACKETS = re.compile(r"(\w?)(\s*)[(\[{]([^()\[\]{}]*)[)\]}](\w?)")
END_MARKS = re.compile(r"[.,;:!?…]*$")
MARKUP = re.compile(r"\[\[.*?\]\]|\[pause\b[^\]]*\]", re.IGNORECASE)
"""Phonemes, and pauses."""


@dataclass(frozen=True)
class FilteredText:
    """Text that a voice can say, and the pieces that it leaves out."""

    text: str
    left_out: tuple[str, ...]


def filter_text(text: str, language: str, scripts: Sequence[str] | None) -> FilteredText:
    """Spell out addresses, turn brackets into pauses, and leave out what is in another script or has no sound.

    `scripts`: those of the training texts; None: not known, every letter stays.
    """
    text = FOOTNOTE.sub("", unicodedata.normalize("NFC", text).replace("μ", "µ"))
    if language.split("-")[0] == "el":
        text = GREEK_QUESTION.sub("?", text)
    text = URL.sub(
        lambda match: match[0] if _is_foreign(match[0], scripts) else _spell_address(match[0], language), text
    )
    text = _between_markup(_without_emphasis, text)
    kept, left_out = [], []
    for word in _words(text, scripts):
        if MARKUP.fullmatch(word) or not word.strip():
            kept.append(word)
            continue
        foreign = _is_foreign(word, scripts)
        said = _end_marks(word) if foreign else "".join(c if _has_sound(c) else " " for c in word)
        kept.append(said)
        if foreign or not all(map(_has_sound, word)):
            left_out.append(word.strip(".,;:!?\"'") if foreign else "".join(c for c in word if not _has_sound(c)))
    said = _between_markup(_without_brackets, "".join(kept))
    return FilteredText(re.sub(r",\s*([.!?;:,])", r"\1", said), tuple(dict.fromkeys(filter(None, left_out))))


def _words(text: str, scripts: Sequence[str] | None) -> Iterator[str]:
    """Words, markup and spaces; a word that is partly in the voice's script without spaces in its parts."""
    for word in re.split(rf"({MARKUP.pattern}|\s+)", text, flags=re.IGNORECASE):
        if scripts is not None and not UNSPACED.isdisjoint(scripts) and not MARKUP.fullmatch(word):
            yield from ("".join(part) for _, part in groupby(word, key=lambda c: _has_foreign_letters(c, scripts)))
        else:
            yield word


def describe_left_out(left_out: Sequence[str]) -> str:
    """One line for a person."""
    more = f" and {len(left_out) - MAX_NAMED} more" if len(left_out) > MAX_NAMED else ""
    return f"left out, since this voice cannot say it: {', '.join(left_out[:MAX_NAMED])}{more}"


def _end_marks(word: str) -> str:
    """Punctuation behind a word, which still ends its sentence when the word is left out."""
    match = END_MARKS.search(word)
    return match[0] if match else ""


def _is_foreign(word: str, scripts: Sequence[str] | None) -> bool:
    return _has_foreign_letters(word, scripts) and not READ_IN_ANY_SCRIPT.fullmatch(word)


def _has_foreign_letters(word: str, scripts: Sequence[str] | None) -> bool:
    found = {letter_script(c) for c in word if c not in SPOKEN_SYMBOLS} - {None}
    return scripts is not None and not found <= set(scripts)


def _say_brackets(match: re.Match[str]) -> str:
    """A remark between commas; brackets within a word (`file(s)`) or around a sentence leave no pause."""
    before, space, remark, after = match.groups()
    if re.fullmatch(r"\+?\d{1,5}", remark) and (space or not before):  # of a telephone number
        return f"{before}{space}{remark}{after}"
    if not space and ("[" in match[0] or re.search(r"\d", before + remark + after)):
        return f"{before} {remark.strip()} {after}"
    if (before and not space) or after or not before or not remark.strip():
        return f"{before}{space}{remark.strip()}{after}"
    return f"{before}, {remark.strip()},"


def _has_sound(character: str) -> bool:
    """Letters, marks, digits, punctuation and currency; not emoji, arrows, box drawings and the like."""
    category = unicodedata.category(character)
    return category[0] in "LMNPZ" or category in ("Sc", "Cc", "Cf") or character in SPOKEN_SYMBOLS


def _spell_address(address: str, language: str) -> str:
    words = URL_WORDS.get(language.split("-")[0])
    trailing = re.search(r"[.,;:!?)]*$", address)
    end = trailing[0] if trailing else ""
    address = re.sub(r"^(https?://)?(www\.)?", "", address[: len(address) - len(end)], flags=re.IGNORECASE).rstrip("/")
    if words is None:
        return re.sub(r"[./@_:-]+", " ", address) + end
    return re.sub(r"[./@_:-]", lambda m: f" {words[m[0]]} ", address) + end


def _without_brackets(text: str) -> str:
    """A remark in brackets is said between commas."""
    return BRACKETS.sub(_say_brackets, text)


def _without_emphasis(text: str) -> str:
    return EMPHASIS.sub("", text)


def _between_markup(change: Callable[[str], str], text: str) -> str:
    parts, marks = MARKUP.split(text), MARKUP.findall(text)
    changed = [change(part) for part in parts]
    return changed[0] + "".join(mark + part for mark, part in zip(marks, changed[1:], strict=True))
