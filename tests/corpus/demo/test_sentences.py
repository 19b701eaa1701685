"""corpus/demo/sentences.py: sentences of the demo corpus."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import pairwise

import pytest
import wordfreq

from corpus.demo import sentences
from corpus.demo.sentences import has_enough_words, make_sentences, read_vocabulary
from corpus.text import espeak
from hparams import UserError


def words(texts: list[str]) -> list[str]:
    return [word.strip(".,?!").lower() for text in texts for word in text.split()]


def count_pairs(words: list[str]) -> Counter[tuple[str, str]]:
    """Count the words in which each pair of letters occurs."""
    return Counter(pair for word in words for pair in set(pairwise(word)))


@pytest.fixture(scope="module", params=["en-us", "ru", "de"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def generated(language: str) -> tuple[list[str], list[str]]:
    return make_sentences(language, training=2000, validation=64, seed=1)


def test_the_requested_number_of_distinct_sentences_is_generated(generated: tuple[list[str], list[str]]) -> None:
    training, validation = generated
    assert len(training) == 2000
    assert len(validation) == 64
    assert len(set(training + validation)) == 2064


def test_words_of_texts_make_sentences_too() -> None:
    texts = [f"{first}a {first}e, {first}o!" for first in (a + b for a in "bcdfghjkl" for b in "aeiou")]
    assert has_enough_words(texts) and not has_enough_words(texts[:33])

    training, validation = make_sentences("eo", training=500, validation=20, seed=1, texts=texts)

    assert len(set(training + validation)) == 520
    assert set(words(training + validation)) <= set(words(texts))
    assert set(words(validation)) - set(words(training))  # rare words that training has not seen


def test_rare_words_of_validation_do_not_occur_in_training(
    language: str, generated: tuple[list[str], list[str]]
) -> None:
    frequent = set(read_vocabulary(language, random.Random(1)).frequent)
    training, validation = (set(words(texts)) - frequent for texts in generated)
    assert len(validation) > 150
    assert not training & validation


def test_thousands_of_words_occur_and_frequent_words_make_up_almost_half(
    language: str, generated: tuple[list[str], list[str]]
) -> None:
    frequent = read_vocabulary(language, random.Random(1)).frequent
    training_words = words(generated[0])
    assert len(set(training_words)) > 6000
    assert 0.4 < sum(word in frequent for word in training_words) / len(training_words) < 0.5


def test_words_of_a_higher_rank_occur_more_often(language: str, generated: tuple[list[str], list[str]]) -> None:
    frequent = read_vocabulary(language, random.Random(1)).frequent
    counts = Counter(words(generated[0]))
    assert counts[frequent[0]] > 1.5 * counts[frequent[4]] > 3 * counts[frequent[40]] > 0
    assert min(counts[word] for word in frequent) > 0


def test_sentences_have_the_form_of_sentences(generated: tuple[list[str], list[str]]) -> None:
    for text in generated[0] + generated[1]:
        assert sentences.MIN_WORDS <= len(text.split()) <= sentences.MAX_WORDS
        assert text[0] == text[0].upper()
        assert re.fullmatch(r"(\w+('\w+)?,? )+\w+('\w+)?[.?!]", text), text
        assert all(word != following for word, following in pairwise(words([text])))
    ends = Counter(text[-1] for text in generated[0])
    assert 0.75 < ends["."] / 2000 < 0.85
    assert min(ends["?"], ends["!"]) > 150
    assert 150 < sum("," in text for text in generated[0]) < 600


def test_the_seed_determines_the_sentences(generated: tuple[list[str], list[str]], language: str) -> None:
    assert make_sentences(language, training=2000, validation=64, seed=1) == generated
    assert make_sentences(language, training=2000, validation=64, seed=2)[0] != generated[0]


def test_every_phoneme_of_validation_occurs_in_training(language: str, generated: tuple[list[str], list[str]]) -> None:
    training, validation = (set("".join(espeak.phonemize(text, language) for text in texts)) for texts in generated)
    assert validation <= training


@pytest.mark.parametrize(("language", "letters"), [("en-us", "[a-z]"), ("ru", "[а-яё]")])
def test_every_pair_of_letters_of_several_common_words_occurs(language: str, letters: str) -> None:
    common = [w for w in wordfreq.top_n_list(language[:2], 5000) if re.fullmatch(rf"{letters}{{4,}}", w)]
    training = words(make_sentences(language, training=2000, validation=64, seed=1)[0])
    vocabulary = read_vocabulary(language, random.Random(1))
    often = {pair for pair, count in count_pairs(common).items() if count >= 3}
    usable = count_pairs([*vocabulary.frequent, *vocabulary.training, *vocabulary.validation])
    counts = count_pairs(sorted(set(training)))
    assert len(often) > 300
    assert {pair for pair in often if counts[pair] < max(1, min(3, usable[pair]))} == set()


def test_words_with_rare_pairs_of_letters_are_used_first() -> None:
    vocabulary = read_vocabulary("en-us", random.Random(1))
    usable = count_pairs([*vocabulary.frequent, *vocabulary.training])
    counts = count_pairs(sorted(set(words(make_sentences("en-us", training=600, validation=1, seed=1)[0]))))
    assert {pair for pair, count in usable.items() if counts[pair] < min(3, count)} == set()


def test_no_sentence_is_generated_twice() -> None:
    generator, existing = random.Random(1), {"Cat a cat."}
    first, second = (
        sentences._generate_sentences(("a", "the"), ("cat", "dog"), count=200, existing=existing, generator=generator)
        for _ in range(2)
    )
    assert len({*first, *second, "Cat a cat."}) == 401


def test_words_belong_to_the_language_and_are_not_offensive() -> None:
    english = read_vocabulary("en-us", random.Random(1))
    russian = read_vocabulary("ru", random.Random(1))
    hindi = read_vocabulary("hi", random.Random(1))
    assert all(re.fullmatch(r"[a-z]+('[a-z]+)?", word) for word in english.frequent + english.training)
    assert all(re.fullmatch(r"[а-яё]+", word) for word in russian.frequent + russian.training)
    assert all(re.fullmatch(r"[\u0900-\u097f]+", word) for word in hindi.frequent + hindi.training)
    assert {"a", "i", "don't"} <= set(english.frequent)
    assert {"в", "я", "ещё"} <= set(russian.frequent)
    selected = {
        word
        for vocabulary in (english, russian)
        for word in vocabulary.frequent + vocabulary.training + vocabulary.validation
    }
    assert {"class", "document", "analysis", "страх", "корабля"} <= selected
    assert not selected & {"fucking", "shit", "rape", "nazi", "porn", "хуй", "бля", "сука", "секс", "убийство"}
    assert not selected & {"http", "lgbt", "еще"}


def test_the_only_single_letters_in_english_are_a_and_i() -> None:
    english = read_vocabulary("en-us", random.Random(1))
    assert {word for word in english.frequent + english.training if len(word) == 1} == {"a", "i"}
    training, _ = make_sentences("en-us", training=300, validation=1, seed=1)
    assert any(re.search(r" I\b", text) for text in training)
    assert not any(re.search(r"\bi\b", text) for text in training)


def test_a_language_without_a_word_list_is_refused_with_the_ones_that_have_one() -> None:
    with pytest.raises(UserError, match=r"'eo': the demo corpus has no word list.*\bde\b.*\bru\b.*--data"):
        make_sentences("eo", training=1, validation=1, seed=1)
    with pytest.raises(UserError, match="no voice"):
        make_sentences("klingonese", training=1, validation=1, seed=1)


def test_most_large_languages_have_a_word_list() -> None:
    assert {"en-us", "en-gb", "ru", "de", "fr", "es", "pt-br", "uk", "zh", "ja", "ko", "nb"} <= set(
        sentences.supported_languages()
    )
