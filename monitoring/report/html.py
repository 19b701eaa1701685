"""HTML pages from the Jinja2 templates in templates/: single files without external requests, every value escaped."""

from __future__ import annotations

import base64
import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monitoring.audio_encoding import encode_mp3
from monitoring.language.base import Language

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class SampleMedia:
    """Attention and sound of a sample as data URIs; None where there is no file."""

    caption: str
    picture: str | None
    sound: str | None


def render_page(template: str, language: Language, *, title: str, **values: Any) -> str:
    time = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = TEMPLATES.get_template(template)
    return page.render(language=language, title=title, time=time, script_hash=_script_hash(), **values)


def load_sample(stem: Path, caption: str, *, picture: bool = True) -> SampleMedia:
    """Load the files of a sample: `stem` with .attention.png and .wav."""
    image, sound = stem.with_name(f"{stem.name}.attention.png"), stem.with_name(f"{stem.name}.wav")
    return SampleMedia(
        caption,
        png_uri(image) if picture and image.exists() else None,
        _data_uri(_load_mp3(sound, sound.stat().st_mtime_ns), "audio/mpeg") if sound.exists() else None,
    )


def png_uri(path: Path) -> str:
    return _data_uri(path.read_bytes(), "image/png")


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


@functools.cache
def _script_hash() -> str:
    """The page's security policy allows only the script with this hash."""
    script = TEMPLATES.get_template("script.js").render()
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@functools.lru_cache(maxsize=256)
def _load_mp3(path: Path, _modified: int) -> bytes:
    return encode_mp3(path)
