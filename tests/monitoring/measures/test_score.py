"""Weights of the score's parts; a failed part gives zero, a missing part no score."""

import math

import pytest

from monitoring.measures.score import composite_tts_score

PERFECT: dict[str, float | None] = {"diagonality": 1.0, "ending_accuracy": 1.0, "stop_rate": 1.0, "mel_distance": 0.0}


def test_a_perfect_voice_scores_one() -> None:
    assert composite_tts_score(**PERFECT) == 1.0


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ("diagonality", 0.5, 0.5**0.35),
        ("ending_accuracy", 0.5, 0.5**0.25),
        ("stop_rate", 0.5, 0.5**0.25),
        ("mel_distance", 1.2, math.exp(-1) ** 0.40),
        ("mel_distance", 0.6, math.exp(-0.25) ** 0.40),
    ],
)
def test_each_part_has_its_weight(part: str, value: float, expected: float) -> None:
    assert composite_tts_score(**{**PERFECT, part: value}) == pytest.approx(expected)


@pytest.mark.parametrize("part", ["diagonality", "ending_accuracy", "stop_rate"])
def test_a_failed_part_gives_a_score_of_zero(part: str) -> None:
    assert composite_tts_score(**{**PERFECT, part: 0.0}) == 0.0


@pytest.mark.parametrize("part", PERFECT)
def test_a_missing_part_gives_no_score(part: str) -> None:
    assert composite_tts_score(**{**PERFECT, part: None}) is None
