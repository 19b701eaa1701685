"""Pictures of samples: readable for any text, and drawn however broken the voice is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from monitoring.journal.decoded_arrays import DecodedSample
from monitoring.report.plots import (
    MAX_TITLE_LENGTH,
    MAX_TOKEN_LABELS,
    evaluation_picture,
    pixels,
    save_png,
)

SECONDS_PER_FRAME = 256 / 22050


def sample(**changes: Any) -> DecodedSample:
    whole = DecodedSample(
        id="demo-1",
        sentence="read it quickly",
        symbols=tuple("read it quickly"),
        file="samples/demo-1",
        recorded="samples/recorded/demo-1",
        free_attention=np.eye(15)[np.linspace(0, 14, 40).round().astype(int)],
        free_mel=np.linspace(-11, 1, 80 * 120).reshape(80, 120),
        recorded_mel=np.full((80, 90), -3.0),
    )
    return replace(whole, **changes)


def drawn(seconds_per_frame: float = SECONDS_PER_FRAME, **changes: Any) -> Figure:
    return evaluation_picture(sample(**changes), seconds_per_frame)


def plots(figure: Figure) -> list[Axes]:
    """Axes of the panels, without the colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def title(figure: Figure) -> str:
    return figure.get_suptitle()


def test_a_sample_shows_attention_and_both_mels() -> None:
    attention, decoded, recorded = plots(drawn())
    assert attention.get_xlabel() == "decoder step"
    assert attention.get_ylabel() == "token"
    assert decoded.get_ylabel() == "decoded\nmel channel"
    assert recorded.get_ylabel() == "recorded\nmel channel"
    assert recorded.get_xlabel() == "time (s)"


def test_a_sentence_without_a_recording_has_one_mel() -> None:
    assert len(plots(drawn(recorded_mel=None))) == 2


def test_attention_starts_at_the_lower_left() -> None:
    attention = np.zeros((6, 3))
    attention[4, 1] = 0.5
    (image,) = plots(drawn(free_attention=attention, symbols=()))[0].images
    assert image.origin == "lower"
    assert np.asarray(image.get_array())[1, 4] == 0.5
    assert image.get_clim() == (0.0, 1.0)


def test_few_tokens_are_labelled_by_their_symbols() -> None:
    figure = drawn(free_attention=np.ones((5, 3)) / 3, symbols=("ɹ", " ", "$x^$"))
    assert pixels(figure).std() > 0
    axes = plots(figure)[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ɹ", "␣", "$x^$"]
    few, many = MAX_TOKEN_LABELS, MAX_TOKEN_LABELS + 1
    axes = plots(drawn(free_attention=np.ones((5, few)), symbols=("q",) * few))[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["q"] * few
    axes = plots(drawn(free_attention=np.ones((5, many)), symbols=("q",) * many))[0]
    assert "q" not in [label.get_text() for label in axes.get_yticklabels()]


def test_symbols_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="each of 3 tokens, got 2"):
        drawn(free_attention=np.ones((5, 3)), symbols=("a", "b"))


def test_mels_share_the_scales_of_time_and_colour() -> None:
    mels = {"free_mel": np.full((80, 200), -2.0), "recorded_mel": np.full((80, 50), -9.0)}
    _, decoded, recorded = plots(drawn(**mels, seconds_per_frame=0.01))
    assert decoded.get_xlim() == recorded.get_xlim() == (0.0, 2.0)
    assert recorded.images[0].get_extent()[:2] == [0.0, 0.5]
    assert decoded.images[0].get_clim() == recorded.images[0].get_clim() == (-9.0, -2.0)


@pytest.mark.parametrize(
    "text", ["costs $5 or $x^2$", "$\\frac{$", "$x^$", "съешь ещё ж", "ˈɹiːdɪŋ ə\u0303", "_{^", "", "два\n\tслова"]
)
def test_any_text_can_be_drawn(text: str) -> None:
    figure = drawn(sentence=text, symbols=tuple(text[:15].ljust(15, "$")))
    assert pixels(figure).std() > 0
    assert title(figure) == " ".join(text.split())


def test_characters_without_a_glyph_become_boxes() -> None:
    figure = drawn(sentence="ab 你好\x07", free_attention=np.ones((5, 2)), symbols=("你", "b"))
    assert title(figure) == "ab ▯▯▯"
    assert plots(figure)[0].get_yticklabels()[0].get_text() == "▯"
    pixels(figure)


def test_a_long_title_is_shortened() -> None:
    shown = title(drawn(sentence="x" * 500))
    assert len(shown) == MAX_TITLE_LENGTH
    assert shown.endswith("…")
    assert title(drawn(sentence="x" * MAX_TITLE_LENGTH)) == "x" * MAX_TITLE_LENGTH


def test_an_empty_decode_is_labelled() -> None:
    figure = drawn(free_mel=np.zeros((80, 0)), free_attention=np.zeros((0, 15)))
    attention, decoded, recorded = plots(figure)
    assert [text.get_text() for axes in (attention, decoded) for text in axes.texts] == ["empty"] * 2
    assert recorded.images
    pixels(figure)


def test_non_finite_values_are_drawn_as_gaps() -> None:
    figure = drawn(free_attention=np.full((40, 15), np.nan), free_mel=np.full((80, 9), np.inf), recorded_mel=None)
    assert pixels(figure).std() > 0


def test_pixels_are_rgb_bytes() -> None:
    picture = pixels(drawn(recorded_mel=None, symbols=()))
    assert picture.dtype == np.uint8
    assert picture.shape == (670, 900, 3)


def test_a_png_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture = pixels(drawn())
    save_png(picture, path)
    whole = path.read_bytes()
    assert whole.startswith(b"\x89PNG")
    np.testing.assert_array_equal(np.round(imread(path)[..., :3] * 255), picture)
    with pytest.raises((ValueError, TypeError)):
        save_png(np.zeros((2, 2, 7), dtype=np.uint8), path)
    assert path.read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
