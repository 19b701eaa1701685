"""Scripts of letters, and how words are told apart in them."""

from __future__ import annotations

import unicodedata

UNSPACED = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"})
"""Scripts that are written without spaces between words."""
SENTENCE_MARKS = (*".!?…", *"。！？", *"।॥؟۔։።")
"""Marks at the end of a sentence; those of Chinese and Japanese need no space after them."""
JAPANESE = frozenset({"CJK", "HIRAGANA", "KATAKANA"})


def letter_script(character: str) -> str | None:
    """Script of a letter, by the first word of its Unicode name; None for other characters and for modifiers."""
    plain = unicodedata.normalize("NFKC", character)[:1]
    if unicodedata.category(plain) not in ("Lu", "Ll", "Lt", "Lo"):
        return None
    return unicodedata.name(plain, "").split(" ")[0] or None


def is_unspaced(character: str) -> bool:
    return letter_script(character) in UNSPACED
