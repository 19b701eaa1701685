"""Pictures of attention and mels, drawn by matplotlib without its global state."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from files import write_atomically
from monitoring.journal.decoded_arrays import DecodedSample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 9.0
ATTENTION_INCHES = 4.2
MEL_INCHES = 2.0
TITLE_INCHES = 0.5
MAX_TITLE_LENGTH = 90
MAX_TOKEN_LABELS = 60
TOKEN_LABEL_INCHES = 0.14
FONT = "DejaVu Sans"
"""Comes with matplotlib; has Latin, Cyrillic, Greek and IPA."""


def evaluation_picture(sample: DecodedSample, seconds_per_frame: float) -> Figure:
    """Draw a sample: its free-running attention, and below it the decoded and the recorded mel."""
    mels = [("decoded", sample.free_mel)]
    mels += [("recorded", sample.recorded_mel)] if sample.recorded_mel is not None else []
    figure, panels = _panels(sample.sentence, [_attention_inches(sample.symbols)] + [MEL_INCHES] * len(mels))
    _draw_attention(panels[0], sample.free_attention, sample.symbols)
    _draw_mels(panels[1:], mels, seconds_per_frame)
    return figure


def attention_thumbnail(attention: np.ndarray) -> np.ndarray:
    """Render attention [decoder steps, tokens] as uint8 [tokens, decoder steps, 3], the first token at the bottom."""
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.nan_to_num(attention.T[::-1]).clip(0.0, 1.0), bytes=True)
    return np.asarray(shades)[..., :3]


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write a picture, uint8 [height, width, 3]."""
    from matplotlib.image import imsave

    content = io.BytesIO()
    imsave(content, picture, format="png")
    write_atomically(path, content.getvalue())


def pixels(figure: Figure) -> np.ndarray:
    """Render the picture to uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _panels(title: str, heights_inches: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Make a figure with one panel below the other; the title is plain text, without formulas."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, sum(heights_inches) + TITLE_INCHES), dpi=100, layout="constrained")
    figure.suptitle(_drawable(_shorten(title)), fontfamily=FONT, fontsize=11, parse_math=False)
    panels = figure.subplots(len(heights_inches), 1, height_ratios=heights_inches, squeeze=False)
    return figure, list(panels[:, 0])


def _draw_attention(axes: Axes, attention: np.ndarray, symbols: Sequence[str]) -> None:
    steps, tokens = attention.shape
    if symbols and len(symbols) != tokens:
        raise ValueError(
            f"expected a symbol for each of {tokens} tokens, got {len(symbols)}: "
            "cut symbols and attention to the same length"
        )
    axes.set(xlabel="decoder step", ylabel="token", xlim=(-0.5, max(steps, 1) - 0.5), ylim=(-0.5, max(tokens, 1) - 0.5))
    if attention.size == 0:
        _draw_empty(axes)
        return
    image = axes.imshow(attention.T, origin="lower", aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    axes.figure.colorbar(image, ax=axes, label="attention weight", pad=0.01)
    if _has_labels(symbols):
        labels = [_drawable("\u2423" if symbol == " " else symbol) for symbol in symbols]
        axes.set_yticks(
            range(tokens), labels, fontsize=0.85 * 72 * TOKEN_LABEL_INCHES, fontfamily=FONT, parse_math=False
        )


def _attention_inches(symbols: Sequence[str]) -> float:
    """Height at which every token label is readable."""
    return max(ATTENTION_INCHES, TOKEN_LABEL_INCHES * len(symbols)) if _has_labels(symbols) else ATTENTION_INCHES


def _has_labels(symbols: Sequence[str]) -> bool:
    return 0 < len(symbols) <= MAX_TOKEN_LABELS


def _draw_mels(panels: Sequence[Axes], mels: Sequence[tuple[str, np.ndarray]], seconds_per_frame: float) -> None:
    """Draw each mel [n_mel, frames] with the same scales of time and colour."""
    finite = np.concatenate([mel[np.isfinite(mel)] for _, mel in mels])
    lowest, highest = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    longest_seconds = seconds_per_frame * max(1, *(mel.shape[1] for _, mel in mels))
    for axes, (name, mel) in zip(panels, mels, strict=True):
        channels, frames = mel.shape
        axes.set(ylabel=f"{name}\nmel channel", xlim=(0, longest_seconds), ylim=(-0.5, channels - 0.5))
        if frames == 0:
            _draw_empty(axes)
            continue
        extent = (0.0, frames * seconds_per_frame, -0.5, channels - 0.5)
        image = axes.imshow(mel, origin="lower", aspect="auto", cmap="magma", vmin=lowest, vmax=highest, extent=extent)
        axes.figure.colorbar(image, ax=axes, label="natural log", pad=0.01)
    panels[-1].set_xlabel("time (s)")


def _draw_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "empty", transform=axes.transAxes, ha="center", va="center")


def _shorten(title: str) -> str:
    """Put the title on one line of at most MAX_TITLE_LENGTH characters."""
    line = " ".join(title.split())
    return line if len(line) <= MAX_TITLE_LENGTH else line[: MAX_TITLE_LENGTH - 1] + "…"


def _drawable(text: str) -> str:
    """Replace characters that the font lacks, of which matplotlib would warn, by a box."""
    return "".join(character if ord(character) in _drawable_codes() else "\u25af" for character in text)


@functools.cache
def _drawable_codes() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())
