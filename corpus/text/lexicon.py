"""Lexicon: words that are said otherwise than they are written, as a respelling or as phonemes in [[ ]]."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from corpus.text.scripts import is_unspaced
from hparams import UserError

SEPARATOR = "\t"
INLINE_PHONEMES = re.compile(r"\[\[(.*?)\]\]")


def read_lexicon(path: Path) -> tuple[str, ...]:
    """Read lines of `word<TAB>respelling or [[phonemes]]`, or raise a `UserError` that names the first bad line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"--lexicon {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--lexicon {path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        word, separator, said = (part.strip(" ") for part in line.partition(SEPARATOR))
        if not word or not separator or not said.strip() or said.count("[[") != said.count("]]"):
            raise UserError(f"--lexicon {path}: line {number}: expected word<TAB>respelling or [[phonemes]]")
        entries.append(unicodedata.normalize("NFC", f"{word}{SEPARATOR}{said.strip()}"))
    return tuple(entries)


def merge(*lexicons: Iterable[str]) -> tuple[str, ...]:
    """Entries of several lexicons; for the same word the last one counts."""
    by_word = {entry.partition(SEPARATOR)[0].lower(): entry for lexicon in lexicons for entry in lexicon}
    return tuple(by_word.values())


def _whole_word(word: str) -> str:
    """Pattern of a word that is no part of another one; in scripts without spaces it may stand within a text."""
    before = "" if is_unspaced(word[0]) else r"(?<!\w)"
    after = "" if is_unspaced(word[-1]) else r"(?!\w)"
    return f"{before}{re.escape(word)}{after}"


@dataclass(frozen=True)
class Lexicon:
    """Replacements of whole words, whatever their capitals."""

    entries: tuple[str, ...] = ()

    @cached_property
    def _said(self) -> Mapping[str, str]:
        pairs = (entry.partition(SEPARATOR) for entry in self.entries)
        return {word.lower(): said for word, _, said in pairs}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = sorted(self._said, key=len, reverse=True)
        return re.compile("|".join(map(_whole_word, words)), re.IGNORECASE)

    def apply(self, text: str) -> str:
        if not self.entries:
            return text
        text = unicodedata.normalize("NFC", text.replace("\u00ad", ""))
        parts = INLINE_PHONEMES.split(text)  # every second one is phonemes, which stay
        return "".join(f"[[{x}]]" if i % 2 else self._pattern.sub(self._replace, x) for i, x in enumerate(parts))

    def _replace(self, match: re.Match[str]) -> str:
        return self._said.get(match[0].lower(), match[0])
