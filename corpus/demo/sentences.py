"""Sentences for the demo corpus: the rhythm of frequent words, the variety of thousands of rare ones."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from corpus.text import espeak
from hparams import UserError

FREQUENT_WORDS = 150
LISTED_WORDS = 10_000
VALIDATION_WORDS = 600
WORDS_WITH_A_PAIR = 3  # every pair of letters is in the training text with this many words, where there are as many
SHORTEST, LONGEST = 3, 10  # words in a sentence
ZIPF_EXPONENT = 0.75  # of a frequent word's rank: the first few are said hundreds of times, the last a few times
FREQUENT_SHARE, COMMA_SHARE, QUESTION_SHARE, EXCLAMATION_SHARE = 0.5, 0.2, 0.1, 0.1

_WORD_LISTS = {"cmn": "zh", "no": "nb"}  # wordfreq's name where it is not that of espeak-ng
_WORDS = {
    "en": r"[ai]|(?=.*[aeiouy])[a-z]{2,}('(s|t|m|d|re|ve|ll))?",
    "ru": r"[авикосуя]|(?=.*[аеёиоуыэюя])[а-яё]{2,}",
}
_SCRIPTS = {"ja": ("HIRAGANA", "KATAKANA")}  # espeak-ng cannot read the third script of Japanese
_SPELLED_OUT_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "GEORGIAN"}
_SHORTEST_RARE_WORD = 4  # of those scripts, in letters: shorter ones are mostly abbreviations
_OFFENSIVE = re.compile(
    r"(bull)?shit\w*|\w*fuck\w*|bitch\w*|cunts?|dick(s|head)?|cocks?|puss(y|ies)|ass|asses|arse|\w*asshole\w*|bastards?"
    r"|piss\w*|whor\w+|sluts?|porn\w*|rap(e|ed|es|ist|ists|ing)|tits?|boobs?|penis|vagina\w*|anal|cum|horny|nud(e|es|ity)"
    r"|(homo|bi|hetero|trans)?sex\w*|nazis?|hitler\w*|nigg\w+|fag(s|got|gots)?|crap\w*|(god)?damn(ed)?|genocid\w+"
    r"|suicid\w+|murder\w*|terroris\w+"
    r"|бля|бляд\w*|блят\w*|ху[йеяи]\w*|\w*пизд\w*|(за|на|у|вы|отъ|про|подъ)?[её]б[аиуёл]\w*|муда\w*|сук[аиу]|суч\w+"
    r"|шлюх\w*|жоп\w*|говн\w*|дерьм\w*|пид[оа]р\w*|порн\w*|секс\w*|гитлер\w*|насили[еяюи]|изнасил\w*|убий\w+|террор\w*"
)


@dataclass(frozen=True)
class Vocabulary:
    """Frequent words by rank, and disjoint rare words for training and validation in their order of use."""

    frequent: tuple[str, ...]
    training: tuple[str, ...]
    validation: tuple[str, ...]


def languages() -> tuple[str, ...]:
    """The espeak-ng languages of which sentences can be made."""
    import wordfreq

    listed = wordfreq.available_languages("best")
    return tuple(tag for tag in espeak.languages() if _word_list(tag) in listed)


def make_sentences(language: str, *, training: int, validation: int, seed: int) -> tuple[list[str], list[str]]:
    """Different sentences for training and for validation, whose rare words do not occur in training."""
    generator = random.Random(f"{seed} {_word_list(language)}")
    vocabulary = read_vocabulary(language, generator)
    made: set[str] = set()
    training_sentences = _sentences(vocabulary.frequent, vocabulary.training, count=training, made=made, by=generator)
    validation_sentences = _sentences(
        vocabulary.frequent, vocabulary.validation, count=validation, made=made, by=generator
    )
    generator.shuffle(training_sentences)
    return training_sentences, validation_sentences


def read_vocabulary(language: str, generator: random.Random) -> Vocabulary:
    """The language's words from the word-frequency list; words with the rarer pairs of letters come first."""
    import wordfreq

    if espeak.require_supported(language) not in languages():
        raise UserError(
            f"language {language!r}: the demo corpus has no word list for it, it has them for "
            f"{', '.join(languages())}; give your own recordings with --data"
        )
    listed = wordfreq.top_n_list(_word_list(language), LISTED_WORDS)
    words = [word for word in listed if _OFFENSIVE.fullmatch(word) is None]
    words = _words_of_the_language(_word_list(language), words)
    frequent, rare = words[:FREQUENT_WORDS], _full_words(words[FREQUENT_WORDS:])
    covering = _covering_pairs(rare, frequent)
    others = [word for word in rare if word not in covering]
    generator.shuffle(others)
    return Vocabulary(
        frequent=tuple(frequent),
        training=(*covering, *others[VALIDATION_WORDS:]),
        validation=tuple(others[:VALIDATION_WORDS]),
    )


def _word_list(language: str) -> str:
    base = language.lower().split("-")[0]
    return _WORD_LISTS.get(base, base)


def _words_of_the_language(code: str, words: list[str]) -> list[str]:
    """Without numbers, abbreviations and words in other scripts; with ё where the list knows it."""
    if code in _WORDS:
        words = [word for word in words if re.fullmatch(_WORDS[code], word)]
    else:
        scripts = Counter(script for word in words if len(script := _scripts(word)) == 1)
        wanted = _SCRIPTS.get(code) or max(scripts, key=lambda script: scripts[script])
        words = [word for word in words if _scripts(word) and _scripts(word) <= set(wanted)]
    written_without_yo = {word.replace("ё", "е") for word in words if "ё" in word}
    return [word for word in words if word not in written_without_yo]


def _scripts(word: str) -> frozenset[str]:
    """The scripts of a word's letters, empty if it has anything else."""
    if not all(unicodedata.category(character)[0] in "LM" for character in word):
        return frozenset()
    return frozenset(unicodedata.name(character).split()[0] for character in word)


def _full_words(words: Iterable[str]) -> list[str]:
    return [word for word in words if len(word) >= _SHORTEST_RARE_WORD or not _scripts(word) <= _SPELLED_OUT_SCRIPTS]


def _covering_pairs(words: Iterable[str], known: Iterable[str]) -> dict[str, None]:
    """The first words that bring every pair of letters to its number of words, in their order."""
    seen = Counter(pair for word in known for pair in set(pairwise(word)))
    covering: dict[str, None] = {}
    for word in words:
        pairs = set(pairwise(word))
        if any(seen[pair] < WORDS_WITH_A_PAIR for pair in pairs):
            covering[word] = None
            seen.update(pairs)
    return covering


def _sentences(
    frequent: tuple[str, ...], rare: tuple[str, ...], *, count: int, made: set[str], by: random.Random
) -> list[str]:
    """`count` sentences that are not in `made`, which grows by them."""
    frequent_words, rare_words = _by_rank(frequent, by), _endless(rare, by)
    sentences: list[str] = []
    while len(sentences) < count:
        sentence = _sentence(frequent_words, rare_words, by)
        if sentence not in made:
            made.add(sentence)
            sentences.append(sentence)
    return sentences


def _endless(words: tuple[str, ...], by: random.Random) -> Iterator[str]:
    """All words in their order, then again and again shuffled."""
    yield from words
    while True:
        yield from by.sample(words, len(words))


def _by_rank(words: tuple[str, ...], by: random.Random) -> Iterator[str]:
    """Random words without end, the first the most often, never one twice in a row."""
    weights = [rank**-ZIPF_EXPONENT for rank in range(1, len(words) + 1)]
    last = None
    while True:
        (word,) = by.choices(words, weights)
        if word != last:
            yield word
        last = word


def _sentence(frequent: Iterator[str], rare: Iterator[str], by: random.Random) -> str:
    length = by.randint(SHORTEST, LONGEST)
    is_frequent = [by.random() < FREQUENT_SHARE for _ in range(length - 1)] + [False]
    by.shuffle(is_frequent)
    words = [next(frequent if wanted else rare) for wanted in is_frequent]
    words = ["I" + word[1:] if re.fullmatch(r"i('\w+)?", word) else word for word in words]
    if length > 2 * SHORTEST - 2 and by.random() < COMMA_SHARE:
        words[by.randrange(1, length - 2)] += ","
    end = by.choices("?!.", [QUESTION_SHARE, EXCLAMATION_SHARE, 1 - QUESTION_SHARE - EXCLAMATION_SHARE])[0]
    sentence = " ".join(words) + end
    return sentence[0].upper() + sentence[1:]
