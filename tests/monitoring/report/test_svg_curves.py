"""Scales of the curves: losses are drawn logarithmically unless one is negative, as a likelihood's may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.journal.journal_state import JournalState
from monitoring.language.english import ENGLISH
from monitoring.report.curves_picture import curves_picture
from monitoring.report.svg_curves import Scale
from tests.monitoring.journals import RunFolder


@pytest.mark.parametrize(("values", "middle"), [([1.0, 100.0], 10.0), ([-1.0, 1.0], 0.0)])
def test_a_scale_shows_every_value(values: list[float], middle: float) -> None:
    scale = Scale(values, is_logarithmic=True)
    top, bottom = scale.y(values[1]), scale.y(values[0])
    assert top is not None and bottom is not None
    assert scale.y(middle) == pytest.approx((top + bottom) / 2)


@pytest.mark.parametrize(("loss", "scale"), [(0.5, "log"), (-0.5, "linear")])
def test_the_picture_has_the_same_scale(tmp_path: Path, loss: float, scale: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    run.evaluation(20, signals={"composite_tts_score": 0.5, "val_total_loss": loss})
    assert curves_picture(JournalState.load(run.path), ENGLISH).axes[0].get_yscale() == scale
