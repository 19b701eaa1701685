"""Texts for Telegram: escaped, and split where they exceed its limits."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

MAX_TEXT_LENGTH, MAX_CAPTION_LENGTH = 4096, 1024  # in UTF-16 code units, without markup
MAX_PICTURES = 10
MAX_FILE_BYTES, MAX_PHOTO_BYTES = 50_000_000, 10_000_000


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units, which is how Telegram counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def replace_invalid(text: str) -> str:
    """Replace control characters and lone surrogates, which no message may contain."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" else c for c in text)


def split_text(title: str, lines: Sequence[str], max_length: int = MAX_TEXT_LENGTH) -> list[str]:
    """Split title and lines into plain texts of at most `max_length`, between lines where possible."""
    texts: list[str] = []
    pieces = [piece for line in (title, *lines) for piece in _split_line(replace_invalid(line) or " ", max_length)]
    for piece in pieces:
        if texts and utf16_length(texts[-1]) + 1 + utf16_length(piece) <= max_length:
            texts[-1] += f"\n{piece}"
        else:
            texts.append(piece)
    return [text if text.strip() else "…" for text in texts]


def _split_line(line: str, max_length: int) -> list[str]:
    """Split a line that is too long, at spaces where possible."""
    pieces = []
    while utf16_length(line) > max_length:
        piece = line.encode("utf-16-le")[: 2 * max_length].decode("utf-16-le", "ignore")
        space = piece.rfind(" ", len(piece) // 2)
        piece = piece if space < 0 else piece[: space + 1]
        pieces.append(piece)
        line = line[len(piece) :]
    return [*pieces, line]


def to_html(text: str, *, has_title: bool) -> str:
    """Escape a text; a title, which is its first line, becomes bold."""
    first, newline, rest = text.partition("\n")
    first = escape(first, quote=False)
    return (f"<b>{first}</b>" if has_title and first.strip() else first) + newline + escape(rest, quote=False)


def split_caption(title: str, lines: Sequence[str]) -> tuple[str, list[str]]:
    """Return the caption of a picture, and the texts that do not fit into it."""
    first, *rest = split_text(title, lines, MAX_CAPTION_LENGTH)
    return first, split_text(rest[0], rest[1:]) if rest else []
