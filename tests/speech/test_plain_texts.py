from __future__ import annotations

from speech.plain_texts import MAX_TEXTS, plain_texts


def test_plain_texts_are_of_all_kinds_that_corpora_lack() -> None:
    assert plain_texts(["One bird sings.", "Many birds: sing!", "“Why not Me?”"]) == [
        "One bird sings",
        "birds",
        "“why not me",
        "Many birds: sing “Why not Me",
        "“Why not Me One bird sings Many birds: sing",
    ]


def test_there_are_few_of_them_and_none_without_texts() -> None:
    assert len(plain_texts([f"Sentence number {i}." for i in range(100)])) == MAX_TEXTS
    assert plain_texts(["…"]) == plain_texts([]) == []


def test_one_or_two_texts_are_enough() -> None:
    assert plain_texts(["One bird.", "…"]) == [
        "One bird", "bird", "one bird", "One bird One bird", "One bird One bird One bird"
    ]  # fmt: skip
    assert len(plain_texts(["One bird.", "Two."])) == 5
