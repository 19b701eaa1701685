"""Text as Telegram takes it: escaped, within its limits, cut where a reader would."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

LONGEST_TEXT, LONGEST_CAPTION = 4096, 1024  # in UTF-16 units, markup not counted
MOST_PICTURES = 10
MOST_FILE_BYTES, MOST_PHOTO_BYTES = 50_000_000, 10_000_000


def length(text: str) -> int:
    """As Telegram counts: UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cleaned(text: str) -> str:
    """Without what no message can hold: control characters and lone surrogates."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" else c for c in text)


def parts(title: str, lines: Sequence[str], longest: int = LONGEST_TEXT) -> list[str]:
    """Plain texts that are short enough, cut between lines where possible; the first begins with the title."""
    done: list[str] = []
    pieces = [piece for line in (title, *lines) for piece in _pieces(cleaned(line) or " ", longest)]
    for piece in pieces:
        if done and length(done[-1]) + 1 + length(piece) <= longest:
            done[-1] += f"\n{piece}"
        else:
            done.append(piece)
    return [part if part.strip() else "…" for part in done]


def _pieces(line: str, longest: int) -> list[str]:
    """A line that is too long, in pieces, cut at spaces where there are some."""
    pieces = []
    while length(line) > longest:
        piece = line.encode("utf-16-le")[: 2 * longest].decode("utf-16-le", "ignore")
        space = piece.rfind(" ", len(piece) // 2)
        piece = piece if space < 0 else piece[: space + 1]
        pieces.append(piece)
        line = line[len(piece) :]
    return [*pieces, line]


def as_html(text: str, *, has_title: bool) -> str:
    """The title stands out."""
    first, newline, rest = text.partition("\n")
    first = escape(first, quote=False)
    return (f"<b>{first}</b>" if has_title and first.strip() else first) + newline + escape(rest, quote=False)


def caption(title: str, lines: Sequence[str]) -> tuple[str, list[str]]:
    """What fits under a picture, and the texts that have to follow it."""
    first, *rest = parts(title, lines, LONGEST_CAPTION)
    return first, parts(rest[0], rest[1:]) if rest else []
