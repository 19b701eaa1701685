"""Splitting of long texts into sentences, which a voice speaks one at a time."""

from __future__ import annotations

import re

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")


def split_sentences(text: str) -> list[str]:
    return SENTENCE_END.split(text.strip())
