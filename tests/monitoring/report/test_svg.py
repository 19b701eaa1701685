"""Losses are drawn by their logarithm, unless one of them goes below zero as a likelihood's does."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.journal.run_state import JournalState
from monitoring.language.base import words_of
from monitoring.report.curves import curves_picture
from monitoring.report.svg import Scale
from tests.monitoring.journals import RunFolder


@pytest.mark.parametrize(("values", "middle"), [([1.0, 100.0], 10.0), ([-1.0, 1.0], 0.0)])
def test_a_scale_shows_every_value(values: list[float], middle: float) -> None:
    scale = Scale(values, is_logarithmic=True)
    top, bottom = scale.y(values[1]), scale.y(values[0])
    assert top is not None and bottom is not None
    assert scale.y(middle) == pytest.approx((top + bottom) / 2)


@pytest.mark.parametrize(("loss", "scale"), [(0.5, "log"), (-0.5, "linear")])
def test_so_do_the_curves_of_a_picture(tmp_path: Path, loss: float, scale: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    run.evaluation(20, signals={"composite_tts_score": 0.5, "val_total_loss": loss})
    assert curves_picture(JournalState.load(run.path), words_of("en")).axes[0].get_yscale() == scale
