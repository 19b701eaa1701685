"""The text frontend: a transcript in any language → the ids of the symbols that will be spoken."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from corpus.text import espeak
from corpus.text.cleaning import clean
from corpus.text.english import normalize as normalize_en
from corpus.text.russian import normalize as normalize_ru
from corpus.text.symbols import ENGLISH, PAD, PHONEMES, RUSSIAN, STRESS
from corpus.utterances import Utterance
from hparams import HParams, UserError

_EXAMPLES = 3
"""Utterance ids kept of each unknown symbol."""

_GRAPHEMES = {"en": ENGLISH, "ru": RUSSIAN}


@dataclass(frozen=True)
class TextFrontend:
    """Text → symbol ids, by the letters of the language or by its phonemes."""

    language: str
    alphabet: Literal["graphemes", "phonemes"]
    symbols: tuple[str, ...]
    normalized_texts: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """What some texts become, worked out before."""

    def normalize(self, text: str) -> str:
        """What will be spoken: words in lower case with punctuation, or IPA."""
        known = self.normalized_texts.get(text)
        return self._normalize(text) if known is None else known

    def _normalize(self, text: str) -> str:
        text = clean(text)
        if self.alphabet == "phonemes":
            # espeak-ng follows stress marks only now and then, and has no pause for a dash.
            words = _in_words(text, self.language).replace(STRESS, "").replace(" - ", ", ")
            return espeak.phonemize(words, self.language)
        if _family(self.language) == "en":
            text = normalize_en.fold_to_ascii(text)
        return _in_words(text, self.language).lower()

    def encode(self, text: str) -> list[int]:
        """Symbol ids of a raw transcript [tokens], without the symbols that are unknown; empty if nothing is spoken."""
        known = "".join(symbol for symbol in self.normalize(text) if symbol in self._ids)
        if not any(symbol.isalpha() for symbol in known):
            return []
        return [self._ids[symbol] for symbol in " ".join(known.split())]

    def unknown(self, text: str) -> list[str]:
        """The symbols of the normalised text that the set lacks, in their order, repeats included."""
        return [symbol for symbol in self.normalize(text) if symbol not in self._ids]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: place for place, symbol in enumerate(self.symbols) if symbol != PAD}


def text_frontend(hparams: HParams) -> TextFrontend:
    """The frontend for the language: by default graphemes for English and Russian, phonemes for the others."""
    language = hparams.language.lower()
    if not espeak.is_supported(language):
        espeak.phonemize("", language)  # raises the error that names the nearest voices
    letters = _GRAPHEMES.get(_family(language))
    if hparams.text_frontend == "phonemes" or (hparams.text_frontend == "auto" and letters is None):
        return TextFrontend(language, "phonemes", PHONEMES)
    if letters is None:
        raise UserError(
            f"text_frontend=graphemes: expected an English or Russian language, got {hparams.language!r}; "
            "use text_frontend=phonemes"
        )
    return TextFrontend(language, "graphemes", letters)


@dataclass(frozen=True)
class UnknownSymbol:
    """How often a symbol outside the set occurs, and the first utterances it occurs in."""

    count: int
    utterance_ids: tuple[str, ...]


def unknown_symbols(frontend: TextFrontend, utterances: Iterable[Utterance]) -> dict[str, UnknownSymbol]:
    """Every symbol of the transcripts that the set lacks, the most frequent first."""
    counts: Counter[str] = Counter()
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for utterance in utterances:
        unknown = frontend.unknown(utterance.text)
        counts.update(unknown)
        for symbol in dict.fromkeys(unknown):
            if len(examples[symbol]) < _EXAMPLES:
                examples[symbol].append(utterance.id)
    return {symbol: UnknownSymbol(count, tuple(examples[symbol])) for symbol, count in counts.most_common()}


def _family(language: str) -> str:
    return language.split("-")[0]


def _in_words(text: str, language: str) -> str:
    """Cleaned text with its numbers and abbreviations in words; other languages leave them to espeak-ng."""
    if _family(language) == "en":
        return normalize_en.normalize(text, day_first=not language.startswith("en-us"))
    if _family(language) == "ru":
        return normalize_ru.normalize(text)
    return text
