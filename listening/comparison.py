"""Comparison of a heard text with the one that should have been said, by characters and by words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Misheard:
    """Errors of one utterance: edits, of which no more count than the text has characters, and those characters."""

    n_errors: int
    n_characters: int

    @property
    def rate(self) -> float:
        return self.n_errors / self.n_characters


def compare(heard: str, spoken: str, language: str) -> Misheard:
    """Count the characters misheard; a recogniser that invents a long text (a hallucination) counts once."""
    target = normalize_text(spoken, language)
    n_errors = edit_distance(normalize_text(heard, language), target)
    return Misheard(min(n_errors, len(target)), len(target))


def error_rate(results: Sequence[Misheard]) -> float:
    """Characters misheard as a share of all characters."""
    return sum(r.n_errors for r in results) / sum(r.n_characters for r in results)


def normalize_text(text: str, language: str) -> str:
    """Lower-case letters and single spaces; digits become words, since a recogniser may write either."""
    spelled = NUMBER.sub(lambda match: f" {_number_words(match[0], language)} ", text.casefold())
    decomposed = unicodedata.normalize("NFC", spelled)
    kept = "".join(c if unicodedata.category(c)[0] in "LM" else " " if c not in "'’" else "" for c in decomposed)
    return " ".join(kept.split())


def _number_words(digits: str, language: str) -> str:
    from num2words import num2words

    try:
        return str(num2words(int(digits), lang=language.split("-")[0]))
    except NotImplementedError:  # a language that num2words does not know: digits are compared with digits
        return digits


def edit_distance(source: Sequence[str], target: Sequence[str]) -> int:
    """Levenshtein distance: insertions, deletions and replacements of one element."""
    row = list(range(len(target) + 1))
    for n_deleted, element in enumerate(source, start=1):
        previous, row = row, [n_deleted]
        for i, target_element in enumerate(target):
            row.append(min(previous[i] + (element != target_element), previous[i + 1] + 1, row[i] + 1))
    return row[-1]


def missing_runs(heard: str, spoken: str, language: str) -> list[int]:
    """Lengths of the runs of words that are in `spoken` and not, in that order, in `heard`."""
    words, heard_words = normalize_text(spoken, language).split(), normalize_text(heard, language).split()
    found = _common_subsequence(words, heard_words)
    runs, length = [], 0
    for i in range(len(words) + 1):
        if i < len(words) and i not in found:
            length += 1
        elif length:
            runs.append(length)
            length = 0
    return runs


def _common_subsequence(words: list[str], heard: list[str]) -> set[int]:
    """Indices in `words` of a longest common subsequence."""
    lengths = [[0] * (len(heard) + 1) for _ in range(len(words) + 1)]
    for i in reversed(range(len(words))):
        for j in reversed(range(len(heard))):
            same = words[i] == heard[j]
            lengths[i][j] = lengths[i + 1][j + 1] + 1 if same else max(lengths[i + 1][j], lengths[i][j + 1])
    indices, i, j = set(), 0, 0
    while i < len(words) and j < len(heard):
        if words[i] == heard[j]:
            indices.add(i)
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return indices
