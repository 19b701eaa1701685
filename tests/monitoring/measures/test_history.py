"""Signal history: bounded, with gaps, saved in checkpoints, cut when training goes back."""

from __future__ import annotations

import io
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from monitoring.measures.history import HISTORY_POINTS, SignalHistory


def test_history_keeps_gaps_and_the_latest_value() -> None:
    history = SignalHistory()
    history.record(1, {"mel_loss": 2.0, "gate_loss": 1.0})
    history.record(2, {"mel_loss": None})
    history.record(3, {"mel_loss": math.inf})
    assert history.series("mel_loss") == [(1, 2.0), (2, None), (3, None)]
    assert history.latest() == {"mel_loss": None, "gate_loss": 1.0}
    assert history.series("never_measured") == []


def test_a_long_history_is_thinned_from_its_old_end() -> None:
    history = SignalHistory()
    for step in range(20_000):
        history.record(step, {"mel_loss": float(step) if step % 7 else None})
    steps = [step for step, _ in history.series("mel_loss")]
    assert steps[0] == 0 and steps[-1000:] == list(range(19_000, 20_000)) and len(steps) <= HISTORY_POINTS
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert all(gap <= max(2, 0.05 * (20_000 - step)) for step, gap in zip(steps[1:], gaps, strict=True))


def test_a_step_before_the_last_is_an_error() -> None:
    history = SignalHistory()
    history.record(5, {"mel_loss": 1.0})
    history.record(5, {"mel_loss": 2.0})  # the last evaluation may repeat a step
    with pytest.raises(ValueError, match="after a rollback"):
        history.record(4, {"mel_loss": 1.0})


def test_history_is_restored_from_a_weights_only_checkpoint() -> None:
    history = SignalHistory()
    history.record(1, {"mel_loss": np.float64(2.0), "gate_loss": None})
    history.record(2, {"mel_loss": 1.5})
    file = io.BytesIO()
    torch.save(history.state_dict(), file)
    file.seek(0)
    restored = SignalHistory()
    restored.record(9, {"stale": 1.0})
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert restored.latest() == {"mel_loss": 1.5, "gate_loss": None}
    assert restored.series("mel_loss") == history.series("mel_loss")
    restored.record(3, {"mel_loss": 1.0})


def make_history() -> SignalHistory:
    history = SignalHistory()
    for step, loss in enumerate([5.0, 4.0, None, 3.0, math.nan, 2.0], start=1):
        history.record(step, {"mel_loss": loss})
    history.record(6, {"val_mel_loss": 7.0})
    return history


def test_values_since_a_step_leave_out_gaps() -> None:
    assert make_history().since("mel_loss", 2) == [(2, 4.0), (4, 3.0), (6, 2.0)]
    assert make_history().since("mel_loss", 0) == [(1, 5.0), (2, 4.0), (4, 3.0), (6, 2.0)]
    assert make_history().since("mel_loss", 7) == [] == make_history().since("never_measured", 0)


def test_values_since_a_repeated_step_include_both() -> None:
    repeated = make_history()
    repeated.record(6, {"mel_loss": 1.5})
    assert repeated.since("mel_loss", 6) == [(6, 2.0), (6, 1.5)]


def test_going_back_drops_later_points() -> None:
    cut = make_history()
    cut.drop_after(4)
    assert cut.series("mel_loss") == [(1, 5.0), (2, 4.0), (3, None), (4, 3.0)]
    assert cut.series("val_mel_loss") == [] and cut.since("val_mel_loss", 0) == []
    cut.record(5, {"mel_loss": 9.0})
    assert cut.since("mel_loss", 4) == [(4, 3.0), (5, 9.0)]


def test_a_signal_without_points_has_no_latest_value() -> None:
    cut = make_history()
    cut.drop_after(4)
    assert cut.latest() == {"mel_loss": 3.0}
    cut.drop_after(0)
    assert cut.latest() == {}


def test_going_back_to_the_last_step_drops_nothing() -> None:
    cut = make_history()
    cut.drop_after(6)
    assert cut.state_dict() == make_history().state_dict()
