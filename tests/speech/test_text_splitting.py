from __future__ import annotations

import pytest

from speech.text_splitting import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One sentence", ["One sentence"]),
        ("  One.  Two! Three?\nFour… five ", ["One.", "Two!", "Three?", "Four…", "five"]),
        ("Version 2.5 is out", ["Version 2.5 is out"]),
        ("", [""]),
    ],
)
def test_a_text_is_split_after_sentence_ends_that_are_followed_by_space(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences
