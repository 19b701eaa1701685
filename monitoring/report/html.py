"""What pages that need nothing but themselves are made of."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from monitoring.audio_encoding import encode_mp3
from monitoring.language.base import Words

STYLE = Path(__file__).with_name("style.css")
SCRIPT = """
function reveal(id) {
  const story = document.getElementById(id);
  if (story && story.tagName === "DETAILS") { story.open = true; story.scrollIntoView({block: "center"}); }
}
for (const mark of document.querySelectorAll("a.mark"))
  mark.addEventListener("click", () => reveal(mark.getAttribute("href").slice(1)));
if (location.hash) reveal(location.hash.slice(1));
"""
_MP3 = "audio/mpeg"


def page(title: str, body: Iterable[str], words: Words) -> str:
    script = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    )
    made = words.say("made_at", time=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    return "\n".join(
        [
            '<!DOCTYPE html><html><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title>',
            f'<link rel="icon" href="data:,"><style>{STYLE.read_text(encoding="utf-8")}</style></head><body>',
            *body,
            f'<p class="soft">{escape(made)}</p><script>{SCRIPT}</script></body></html>',
        ]
    )


def items(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def table(rows: Sequence[Sequence[str]]) -> str:
    cells = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def figure(stem: Path, caption: str, *, picture: bool = True) -> str:
    """What there is of a sample: its attention and its sound."""
    image, sound = stem.with_name(f"{stem.name}.attention.png"), stem.with_name(f"{stem.name}.wav")
    parts = []
    if picture and image.exists():
        parts.append(f'<img alt="{escape(caption)}" src="{as_data(image.read_bytes(), "image/png")}">')
    if sound.exists():
        parts.append(
            f'<audio controls preload="metadata" src="{as_data(_mp3(sound, sound.stat().st_mtime_ns), _MP3)}">'
        )
        parts.append("</audio>")
    return f"<figure>{''.join(parts)}<figcaption>{escape(caption)}</figcaption></figure>"


@functools.lru_cache(maxsize=256)
def _mp3(path: Path, _changed: int) -> bytes:
    return encode_mp3(path)


def as_data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
