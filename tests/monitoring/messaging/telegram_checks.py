"""Checks that Telegram's servers make of a message: markup, length, files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Any

MAX_PHOTO_BYTES, MAX_UPLOAD_BYTES = 10_000_000, 50_000_000
TAGS = {"b", "i", "u", "s", "code", "pre", "a", "blockquote", "tg-spoiler"}
MARKUP = re.compile(r"<(/?)([a-zA-Z-]*)[^<>]*>|<|&(?!lt;|gt;|amp;|quot;|#\d+;|#x[0-9a-fA-F]+;)(?=\w+;)")


class ApiError(Exception):
    """A response with `ok: false`."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


def strip_markup(text: str, parse_mode: str | None) -> str:
    """Return the text without markup; an ApiError for markup that Telegram refuses."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ApiError(400, "Bad Request: strings must be encoded in UTF-8") from error
    if parse_mode != "HTML":
        return text
    open_tags: list[str] = []
    plain, end = "", 0
    for match in MARKUP.finditer(text):
        is_end, tag = match.group(1), match.group(2)
        if tag is None or tag not in TAGS:
            raise ApiError(400, f"Bad Request: can't parse entities: unsupported start tag at byte {match.start()}")
        plain += unescape(text[end : match.start()])
        end = match.end()
        if not is_end:
            open_tags.append(tag)
        elif not open_tags or open_tags.pop() != tag:
            raise ApiError(400, "Bad Request: can't parse entities: unmatched end tag")
    if open_tags:
        raise ApiError(400, "Bad Request: can't parse entities: can't find end tag")
    return plain + unescape(text[end:])


def check_length(text: str, max_units: int, field: str) -> None:
    """Telegram counts UTF-16 code units."""
    if len(text.encode("utf-16-le")) // 2 > max_units:
        raise ApiError(400, f"Bad Request: message {'caption ' if field == 'caption' else ''}is too long")


def check_file(method: str, files: Mapping[str, bytes]) -> None:
    if method == "sendPhoto":
        (content,) = files.values()
        if len(content) > MAX_PHOTO_BYTES:
            raise ApiError(413, "Request Entity Too Large")
        if not content.startswith(b"\x89PNG"):
            raise ApiError(400, "Bad Request: IMAGE_PROCESS_FAILED")
    if method == "sendVoice":
        (content,) = files.values()
        if len(content) > MAX_UPLOAD_BYTES:
            raise ApiError(413, "Request Entity Too Large")
        assert content.startswith(b"OggS") and b"OpusHead" in content[:200]
