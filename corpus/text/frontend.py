"""Text frontend: a transcript in any language to the ids of the symbols that are spoken."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from corpus.text import espeak
from corpus.text.cleaning import clean
from corpus.text.english import normalize as normalize_en
from corpus.text.german import normalize as normalize_de
from corpus.text.lexicon import INLINE_PHONEMES, Lexicon
from corpus.text.replacement_rules import Rules, apply_rules
from corpus.text.russian import normalize as normalize_ru
from corpus.text.symbols import ENGLISH, PAD, PHONEMES, RUSSIAN, STRESS
from corpus.utterances import Utterance
from hparams import HParams, UserError

_MAX_EXAMPLES = 3
"""Utterance ids reported for each unknown symbol."""

FINAL_MARKS = ".!?,;:"

_DOTS_WITHOUT_PAUSE: Rules = (
    (re.compile(r"(?<![\d.])(\d{1,2})\. ?(\d{1,2})\. ?(\d{4})(?!\d)"), r"\1 \2 \3"),  # 24.12.2023
    (re.compile(r"(?<![\w.])([^\W\d_])\.(?=\s?[^\W\d_])"), r"\1 "),  # J. Smith
)
"""Dots within a sentence that espeak-ng would read, or after which a voice would pause."""
_LETTERS = {"en": ENGLISH, "ru": RUSSIAN}


@dataclass(frozen=True)
class TextFrontend:
    """Text to symbol ids, by the letters of the language or by its phonemes."""

    language: str
    alphabet: Literal["graphemes", "phonemes"]
    symbols: tuple[str, ...]
    lexicon: Lexicon = Lexicon()
    normalized_texts: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Cached results of `normalize`; see `text_cache`."""

    def normalize(self, text: str) -> str:
        """Return the text as it is spoken: words in lower case with punctuation, or IPA."""
        cached = self.normalized_texts.get(text)
        return self._normalize(text) if cached is None else cached

    def _normalize(self, text: str) -> str:
        parts = INLINE_PHONEMES.split(self.lexicon.apply(text))  # every second one is phonemes
        if len(parts) == 1:
            return self._normalize_words(parts[0])
        said = [self._inline_phonemes(x) if i % 2 else self._normalize_between(x) for i, x in enumerate(parts)]
        return re.sub(rf"\s+([{re.escape(FINAL_MARKS)}])", r"\1", " ".join(" ".join(said).split()))

    def _normalize_between(self, text: str) -> str:
        """Words between inline phonemes; a mark right behind the phonemes stays, which espeak-ng alone would drop."""
        mark = re.match(rf"\s*([{re.escape(FINAL_MARKS)}])", text)
        return self._normalize_words(text) if mark is None else f"{mark[1]} {self._normalize_words(text[mark.end() :])}"

    def _inline_phonemes(self, phonemes: str) -> str:
        """IPA as it is; what espeak-ng writes in ASCII as IPA. What it does not know stays, to be named as unknown."""
        if not phonemes.isascii():
            return phonemes.strip()
        return espeak.mnemonics_to_ipa(phonemes, self.language) or phonemes

    def _normalize_words(self, text: str) -> str:
        text = clean(text)
        if self.alphabet == "phonemes":
            # espeak-ng follows only some stress marks, and makes no pause for a dash.
            words = _write_in_words(text, self.language).replace(STRESS, "").replace(" - ", ", ")
            return espeak.phonemize(words, self.language)
        if _base_language(self.language) == "en":
            text = normalize_en.fold_to_ascii(text)
        return _write_in_words(text, self.language).lower()

    def encode(self, text: str) -> list[int]:
        """Return the symbol ids [tokens] of a raw transcript without unknown symbols; empty if no letter is left."""
        known = "".join(symbol for symbol in self.normalize(text) if symbol in self._ids)
        if not any(symbol.isalpha() for symbol in known):
            return []
        return [self._ids[symbol] for symbol in " ".join(known.split())]

    def unknown(self, text: str) -> list[str]:
        """Return the symbols of the normalised text that are not in the set, in order, with repeats."""
        return [symbol for symbol in self.normalize(text) if symbol not in self._ids]

    @property
    def final_marks(self) -> frozenset[int]:
        """Ids of the punctuation that may end a text."""
        return frozenset(self._ids[mark] for mark in FINAL_MARKS if mark in self._ids)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols) if symbol != PAD}


def text_frontend(hparams: HParams) -> TextFrontend:
    """Return the frontend for the language: by default graphemes for English and Russian, phonemes for others."""
    language = espeak.require_supported(hparams.language)
    letters, lexicon = _LETTERS.get(_base_language(language)), Lexicon(hparams.lexicon)
    if hparams.text_frontend == "phonemes" or (hparams.text_frontend == "auto" and letters is None):
        return TextFrontend(language, "phonemes", PHONEMES, lexicon)
    if letters is None:
        raise UserError(
            f"text_frontend=graphemes: expected an English or Russian language, got {hparams.language!r}: "
            "use text_frontend=phonemes"
        )
    if any(INLINE_PHONEMES.search(entry) for entry in lexicon.entries):
        raise UserError("lexicon: [[phonemes]] need text_frontend=phonemes; respell words for a voice of letters")
    return TextFrontend(language, "graphemes", letters, lexicon)


@dataclass(frozen=True)
class UnknownSymbol:
    """Number of occurrences of a symbol outside the set, and the first utterances that have it."""

    count: int
    utterance_ids: tuple[str, ...]


def unknown_symbols(frontend: TextFrontend, utterances: Iterable[Utterance]) -> dict[str, UnknownSymbol]:
    """Return the symbols of the transcripts that are not in the set, the most frequent first."""
    counts: Counter[str] = Counter()
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for utterance in utterances:
        unknown = frontend.unknown(utterance.text)
        counts.update(unknown)
        for symbol in dict.fromkeys(unknown):
            if len(examples[symbol]) < _MAX_EXAMPLES:
                examples[symbol].append(utterance.id)
    return {symbol: UnknownSymbol(count, tuple(examples[symbol])) for symbol, count in counts.most_common()}


def _base_language(language: str) -> str:
    return language.split("-")[0]


def _write_in_words(text: str, language: str) -> str:
    """Write numbers and abbreviations of cleaned text in words; in other languages espeak-ng reads the numbers."""
    if _base_language(language) == "en":
        return normalize_en.normalize(text, day_first=not language.startswith("en-us"))
    if _base_language(language) == "ru":
        return normalize_ru.normalize(text)
    if _base_language(language) == "de":
        return normalize_de.normalize(text)
    return apply_rules(_DOTS_WITHOUT_PAUSE, text)
