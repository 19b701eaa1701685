from __future__ import annotations

import pytest

from listening.comparison import Misheard, compare, edit_distance, error_rate, missing_runs, normalize_text


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Hello,  World!", "en-us", "hello world"),
        ("It’s 21 o'clock.", "en-us", "its twenty one oclock"),
        ("Straße – größer?", "de", "strasse grösser"),
        ("Есть 2 кота", "ru", "есть два кота"),
        ("e\u0301te\u0301", "fr", "été"),
        ("7 x", "xx", "x"),
    ],
)
def test_only_letters_and_spaces_are_compared(text: str, language: str, expected: str) -> None:
    assert normalize_text(text, language) == expected


def test_a_hallucination_counts_no_more_than_its_text() -> None:
    assert compare("thank you for watching this video", "Hi.", "en") == Misheard(2, 2)
    assert compare("cat", "cut", "en").rate == pytest.approx(1 / 3)


def test_the_rate_of_several_texts_weighs_characters() -> None:
    assert error_rate([Misheard(1, 10), Misheard(0, 30)]) == 0.025


@pytest.mark.parametrize(("a", "b", "distance"), [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3)])
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == edit_distance(b, a) == distance


@pytest.mark.parametrize(
    ("heard", "runs"),
    [
        ("the quick brown fox jumps", []),
        ("the fox jumps", [2]),
        ("quick brown jumps over", [1, 1]),
        ("", [5]),
    ],
)
def test_runs_of_missing_words(heard: str, runs: list[int]) -> None:
    assert missing_runs(heard, "The quick, brown fox jumps.", "en") == runs
