"""Ordinary sentences of a language, to hear what a voice makes of texts that nobody has recorded."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

SENTENCES_BY_LANGUAGE: dict[str, tuple[str, ...]] = {
    "en": (
        "Could you bring me a glass of water, please?",
        "The shop on the corner opens at half past eight.",
        "I have not heard from my sister since last summer.",
        "When the rain had stopped, we walked back along the river.",
    ),
    "de": (
        "Könntest du mir bitte ein Glas Wasser bringen?",
        "Der Laden an der Ecke öffnet um halb neun.",
        "Von meiner Schwester habe ich seit dem Sommer nichts gehört.",
        "Als der Regen aufhörte, gingen wir am Fluss entlang zurück.",
    ),
    "ru": (
        "Принеси мне, пожалуйста, стакан воды.",
        "Магазин на углу открывается в половине девятого.",
        "С прошлого лета от сестры не было никаких вестей.",
        "Когда дождь закончился, мы пошли обратно вдоль реки.",
    ),
}
MOST_WORDS, TRIES, MARKS = 10, 200, ".,;:!?…"
SEED = 1


def ordinary_sentences(language: str, corpus_texts: Sequence[str], n_sentences: int) -> list[str]:
    """Return sentences of this language; without a list of them, new ones that follow the corpus word by word."""
    known = SENTENCES_BY_LANGUAGE.get(language.split("-")[0])
    return list(known or _made_of_words(corpus_texts, n_sentences))[:n_sentences]


def _made_of_words(texts: Sequence[str], n_sentences: int) -> list[str]:
    """Sentences whose every word follows the one before somewhere in the texts, but that are no part of one."""
    following: defaultdict[str, list[str]] = defaultdict(list)
    sentences = [words for text in texts if len(words := text.split()) > 1]
    for words in sentences:
        for first, second in zip(words, words[1:], strict=False):
            following[first].append(second)
    rng, made = random.Random(SEED), list[str]()
    for _ in range(TRIES if sentences else 0):
        words = [rng.choice(sentences)[0]]
        while words[-1] in following and len(words) < MOST_WORDS:
            words.append(rng.choice(following[words[-1]]))
        sentence = " ".join(words).rstrip(MARKS) + "."
        if len(words) > 2 and sentence not in made and not any(sentence[:-1] in text for text in texts):
            made.append(sentence)
        if len(made) == n_sentences:
            break
    return made
