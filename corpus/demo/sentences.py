"""Sentences for the demo corpus: a few frequent words repeated often, mixed with thousands of rare words."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from corpus.text import espeak
from hparams import UserError

FREQUENT_WORDS = 150
LISTED_WORDS = 10_000
VALIDATION_WORDS = 600
WORDS_PER_LETTER_PAIR = 3  # each pair of letters occurs in this many training words, if the language has as many
MIN_WORDS, MAX_WORDS = 3, 10  # of a sentence
LEAST_WORDS = 100  # of the texts whose words make the sentences
ZIPF_EXPONENT = 0.75  # of a frequent word's rank: the first few occur hundreds of times, the last a few times
FREQUENT_SHARE, COMMA_SHARE, QUESTION_SHARE, EXCLAMATION_SHARE = 0.5, 0.2, 0.1, 0.1

_WORD_LISTS = {"cmn": "zh", "no": "nb"}  # wordfreq's name of a language, if it differs from espeak-ng's
WORD_PATTERNS = {
    "en": r"[ai]|(?=.*[aeiouy])[a-z]{2,}('(s|t|m|d|re|ve|ll))?",
    "ru": r"[авикосуя]|(?=.*[аеёиоуыэюя])[а-яё]{2,}",
}
_SCRIPTS = {"ja": ("HIRAGANA", "KATAKANA")}  # espeak-ng cannot read the third script of Japanese
_ALPHABETIC_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "GEORGIAN"}
_MIN_RARE_WORD_LETTERS = 4  # in alphabetic scripts: shorter words are mostly abbreviations
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
    """Frequent words by rank, and disjoint rare words for training and validation in the order of their use."""

    frequent: tuple[str, ...]
    training: tuple[str, ...]
    validation: tuple[str, ...]


def supported_languages() -> tuple[str, ...]:
    """Return the espeak-ng languages that have a word list."""
    import wordfreq

    available = wordfreq.available_languages("best")
    return tuple(tag for tag in espeak.languages() if _word_list(tag) in available)


def has_enough_words(texts: Iterable[str]) -> bool:
    """Whether sentences can be made of the words of these texts."""
    return len(_words_by_frequency(texts)) >= LEAST_WORDS


def make_sentences(
    language: str, *, training: int, validation: int, seed: int, texts: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Return distinct sentences for training and validation; the rare words of validation do not occur in training.

    `texts`: those whose words make the sentences, for a language without a word list.
    """
    generator = random.Random(f"{seed} {_word_list(language)}")
    vocabulary = _vocabulary_of(texts, generator) if texts else read_vocabulary(language, generator)
    existing: set[str] = set()
    training_sentences, validation_sentences = (
        _generate_sentences(vocabulary.frequent, rare, count=count, existing=existing, generator=generator)
        for rare, count in ((vocabulary.training, training), (vocabulary.validation, validation))
    )
    generator.shuffle(training_sentences)
    return training_sentences, validation_sentences


def read_vocabulary(language: str, generator: random.Random) -> Vocabulary:
    """Return the words of a language by frequency; rare words with rare pairs of letters are used first."""
    import wordfreq

    if espeak.require_supported(language) not in supported_languages():
        raise UserError(
            f"language {language!r}: the demo corpus has no word list for it, only for "
            f"{', '.join(supported_languages())}; give your own recordings with --data"
        )
    all_words = wordfreq.top_n_list(_word_list(language), LISTED_WORDS)
    words = [word for word in all_words if _OFFENSIVE.fullmatch(word) is None]
    words = _select_native_words(_word_list(language), words)
    frequent, rare = words[:FREQUENT_WORDS], _without_abbreviations(words[FREQUENT_WORDS:])
    covering = _select_covering_words(rare, frequent)
    others = [word for word in rare if word not in covering]
    generator.shuffle(others)
    return Vocabulary(
        frequent=tuple(frequent),
        training=(*covering, *others[VALIDATION_WORDS:]),
        validation=tuple(others[:VALIDATION_WORDS]),
    )


def _vocabulary_of(texts: Sequence[str], generator: random.Random) -> Vocabulary:
    """Return the words of texts; a few rare ones are kept for validation."""
    words = _words_by_frequency(texts)
    n_frequent, n_validation = min(FREQUENT_WORDS, len(words) // 2), min(VALIDATION_WORDS, len(words) // 10)
    rare = words[n_frequent:]
    generator.shuffle(rare)
    return Vocabulary(
        frequent=tuple(words[:n_frequent]), training=tuple(rare[n_validation:]), validation=tuple(rare[:n_validation])
    )


def _words_by_frequency(texts: Iterable[str]) -> list[str]:
    words = (word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower()))
    return [word for word, _ in Counter(words).most_common()]


def _word_list(language: str) -> str:
    base = language.lower().split("-")[0]
    return _WORD_LISTS.get(base, base)


def _select_native_words(code: str, words: list[str]) -> list[str]:
    """Remove numbers, abbreviations, words in other scripts, and words with е if the list has them with ё."""
    if code in WORD_PATTERNS:
        words = [word for word in words if re.fullmatch(WORD_PATTERNS[code], word)]
    else:
        scripts = Counter(script for word in words if len(script := _scripts(word)) == 1)
        native = _SCRIPTS.get(code) or max(scripts, key=lambda script: scripts[script])
        words = [word for word in words if _scripts(word) and _scripts(word) <= set(native)]
    misspelled = {word.replace("ё", "е") for word in words if "ё" in word}
    return [word for word in words if word not in misspelled]


def _scripts(word: str) -> frozenset[str]:
    """Return the scripts of a word's letters; empty if it has characters other than letters."""
    if not all(unicodedata.category(character)[0] in "LM" for character in word):
        return frozenset()
    return frozenset(unicodedata.name(character).split()[0] for character in word)


def _without_abbreviations(words: Iterable[str]) -> list[str]:
    return [word for word in words if len(word) >= _MIN_RARE_WORD_LETTERS or not _scripts(word) <= _ALPHABETIC_SCRIPTS]


def _select_covering_words(words: Iterable[str], frequent: Iterable[str]) -> dict[str, None]:
    """Select, in order, the words until each pair of letters occurs in `WORDS_PER_LETTER_PAIR` words."""
    counts = Counter(pair for word in frequent for pair in set(pairwise(word)))
    covering: dict[str, None] = {}
    for word in words:
        pairs = set(pairwise(word))
        if any(counts[pair] < WORDS_PER_LETTER_PAIR for pair in pairs):
            covering[word] = None
            counts.update(pairs)
    return covering


def _generate_sentences(
    frequent: tuple[str, ...], rare: tuple[str, ...], *, count: int, existing: set[str], generator: random.Random
) -> list[str]:
    """Generate `count` sentences that are not in `existing`, and add them to it."""
    frequent_words, rare_words = _draw_by_rank(frequent, generator), _cycle_shuffled(rare, generator)
    sentences: list[str] = []
    while len(sentences) < count:
        sentence = _generate_sentence(frequent_words, rare_words, generator)
        if sentence not in existing:
            existing.add(sentence)
            sentences.append(sentence)
    return sentences


def _cycle_shuffled(words: tuple[str, ...], generator: random.Random) -> Iterator[str]:
    """Yield all words in order, then again and again in random order."""
    yield from words
    while True:
        yield from generator.sample(words, len(words))


def _draw_by_rank(words: tuple[str, ...], generator: random.Random) -> Iterator[str]:
    """Yield random words without end, earlier ones more often, none twice in a row."""
    weights = [rank**-ZIPF_EXPONENT for rank in range(1, len(words) + 1)]
    previous = None
    while True:
        (word,) = generator.choices(words, weights)
        if word != previous:
            yield word
        previous = word


def _generate_sentence(frequent: Iterator[str], rare: Iterator[str], generator: random.Random) -> str:
    length = generator.randint(MIN_WORDS, MAX_WORDS)
    is_frequent = [generator.random() < FREQUENT_SHARE for _ in range(length - 1)] + [False]
    generator.shuffle(is_frequent)
    words = [next(frequent if from_frequent else rare) for from_frequent in is_frequent]
    words = ["I" + word[1:] if re.fullmatch(r"i('\w+)?", word) else word for word in words]
    if length > 2 * MIN_WORDS - 2 and generator.random() < COMMA_SHARE:
        words[generator.randrange(1, length - 2)] += ","
    end = generator.choices("?!.", [QUESTION_SHARE, EXCLAMATION_SHARE, 1 - QUESTION_SHARE - EXCLAMATION_SHARE])[0]
    sentence = " ".join(words) + end
    return sentence[0].upper() + sentence[1:]
