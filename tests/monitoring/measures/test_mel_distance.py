"""Mel distance: equal to a plain DTW, independent of pace, None where undefined."""

import numpy as np
import pytest

from monitoring.measures.mel_distance import mel_distance


def mel(frames: int, seed: int = 0, channels: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-11.5, 2.0, (channels, frames)).astype(np.float32)


def plain_dtw(first: np.ndarray, second: np.ndarray) -> float:
    """Mean cost along the cheapest path, traced back through the full table."""
    costs = np.abs(first[:, :, np.newaxis] - second[:, np.newaxis, :]).mean(axis=0).astype(np.float64)
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for row in range(rows):
        for column in range(columns):
            before = min(total[row, column], total[row, column + 1], total[row + 1, column])
            total[row + 1, column + 1] = before + costs[row, column]
    steps, row, column = 1, rows, columns
    while (row, column) != (1, 1):
        predecessors = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        row, column = min(predecessors, key=lambda cell: total[cell])
        steps += 1
    return float(total[rows, columns] / steps)


@pytest.mark.parametrize(("first_frames", "second_frames"), [(1, 1), (1, 6), (9, 4), (12, 15)])
def test_equals_a_plain_dtw(first_frames: int, second_frames: int) -> None:
    first, second = mel(first_frames, seed=1), mel(second_frames, seed=2)
    assert mel_distance(first, second) == pytest.approx(plain_dtw(first, second), rel=1e-5)


def test_is_zero_for_the_same_mel_at_half_the_pace() -> None:
    assert mel_distance(mel(20), np.repeat(mel(20), 2, axis=1)) == 0.0


def test_is_the_offset_for_a_louder_copy_of_a_constant() -> None:
    quiet = np.full((8, 30), -5.0)
    assert mel_distance(quiet, quiet + 0.7) == pytest.approx(0.7, rel=1e-5)


def test_missing_frames_at_either_end_count() -> None:
    whole = np.concatenate([np.full((8, 10), -11.0), np.full((8, 10), 0.0)], axis=1)
    assert mel_distance(whole[:, 10:], whole) == pytest.approx(11.0 * 10 / 20, rel=0.06)
    assert mel_distance(whole, whole[:, :10]) == pytest.approx(11.0 * 10 / 20, rel=0.06)


def test_is_symmetric() -> None:
    first, second = mel(14, seed=3), mel(9, seed=4)
    assert mel_distance(first, second) == pytest.approx(mel_distance(second, first))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nonfinite_mels_have_no_distance(poison: float) -> None:
    broken = mel(5)
    broken[2, 3] = poison
    assert mel_distance(broken, mel(5)) is None
    assert mel_distance(mel(5), broken) is None


def test_an_empty_mel_has_no_distance() -> None:
    assert mel_distance(mel(0), mel(5)) is None


def test_different_numbers_of_channels_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(8, 5\) and \(9, 5\)"):
        mel_distance(mel(5), mel(5, channels=9))
