from __future__ import annotations

import pytest

from speech.ordinary_sentences import SENTENCES_BY_LANGUAGE, ordinary_sentences

TEXTS = ["le chat dort sur la table.", "la table est dans le jardin.", "un chien dort dans la maison."]


@pytest.mark.parametrize(("language", "words"), [("en-gb", "glass of water"), ("de", "Glas Wasser"), ("ru", "стакан")])
def test_known_languages_have_a_list(language: str, words: str) -> None:
    assert words in ordinary_sentences(language, [], 1)[0]
    assert len(ordinary_sentences(language, [], 3)) == 3


def test_the_lists_are_of_one_length() -> None:
    assert {len(sentences) for sentences in SENTENCES_BY_LANGUAGE.values()} == {4}


def test_other_languages_get_new_sentences_of_the_words_of_the_corpus() -> None:
    made = ordinary_sentences("fr", TEXTS, 3)
    assert len(made) == len(set(made)) == 3 and made == ordinary_sentences("fr", TEXTS, 3)
    pairs = {pair for text in TEXTS for pair in zip(text[:-1].split(), text[:-1].split()[1:], strict=False)}
    for sentence in made:
        assert sentence.endswith(".") and not any(sentence[:-1] in text for text in TEXTS)
        words = sentence[:-1].split()
        assert set(zip(words, words[1:], strict=False)) <= pairs


@pytest.mark.parametrize("texts", [[], ["oui"], ["oui", "non"], ["oui et non"]])
def test_a_corpus_of_too_few_words_gives_none(texts: list[str]) -> None:
    assert ordinary_sentences("fr", texts, 3) == []
