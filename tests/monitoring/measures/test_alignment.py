"""Alignment measures of synthetic attentions: diagonal, skipping, repeating, blurred, stuck."""

import itertools

import numpy as np
import pytest

from monitoring.measures.alignment import best_monotonic_path, measure_alignment

STEPS, TOKENS = 200, 40
LAST = TOKENS - 1


def attend(centres: np.ndarray, width: float = 0.8, tokens: int = TOKENS) -> np.ndarray:
    """Gaussian attention around one centre a step; centres and width in tokens."""
    weights = np.exp(-((np.arange(tokens)[np.newaxis] - centres[:, np.newaxis]) ** 2) / (2 * width**2))
    return weights / weights.sum(axis=1, keepdims=True)


def join_lines(*lines: tuple[float, float, int]) -> np.ndarray:
    """Centres along straight lines (first token, last token, steps)."""
    return np.concatenate([np.linspace(start, end, steps) for start, end, steps in lines])


def attend_at_random() -> np.ndarray:
    return attend(np.random.default_rng(0).uniform(0, LAST, STEPS))


SYNTHETIC = {
    "soft diagonal": (attend(join_lines((0, LAST, STEPS))), 0.94),
    "sharp": (attend(np.round(join_lines((0, LAST, STEPS))), width=0.05), 1.0),
    "long pause": (attend(join_lines((0, 20, 70), (20, 20, 60), (20, LAST, 70))), 0.97),
    "long leading silence": (attend(join_lines((0, 0, 80), (0, LAST, 120))), 1.0),
    "skips 11 tokens": (attend(join_lines((0, 14, 100), (26, LAST, 100))), 0.65),
    "repeats 15": (attend(join_lines((0, 25, 100), (10, LAST, 100))), 0.73),
    "ends at 60 %": (attend(join_lines((0, 0.6 * LAST, STEPS))), 0.54),
    "blurred": (attend(join_lines((0, LAST, STEPS)), width=3.0), 0.28),
    "random": (attend_at_random(), 0.15),
    "reversed": (attend(join_lines((LAST, 0, STEPS))), 0.05),
    "stuck": (attend(join_lines((20, 20, STEPS))), 0.04),
    "uniform": (np.full((STEPS, TOKENS), 1 / TOKENS), 0.05),
}


@pytest.mark.parametrize("name", SYNTHETIC)
def test_diagonality_of_synthetic_attentions(name: str) -> None:
    attention, expected = SYNTHETIC[name]
    assert measure_alignment(attention).diagonality == pytest.approx(expected, abs=0.03)


def test_focus_is_the_mean_of_the_strongest_weights() -> None:
    attention = np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    assert measure_alignment(attention).focus == pytest.approx((0.9 + 0.5 + 0.6) / 3)


def test_path_ratio_compares_the_path_with_a_free_choice() -> None:
    attention = np.array([[0.2, 0.8], [0.7, 0.3], [0.1, 0.9]])  # the path must start at token 0
    assert measure_alignment(attention).path_ratio == pytest.approx((0.2 + 0.7 + 0.9) / (0.8 + 0.7 + 0.9))


def test_coverage_requires_half_of_the_median_maximum() -> None:
    attention = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.05, 0.85]])
    assert measure_alignment(attention).coverage == 1.0  # half of the median .8 is reached exactly by token 1
    attention[2] = [0.305, 0.39, 0.305]
    assert measure_alignment(attention).coverage == pytest.approx(2 / 3)


@pytest.mark.parametrize(("steps", "tokens"), [(6, 4), (4, 4), (8, 4), (7, 3)])
def test_best_path_has_the_largest_weight_of_all_allowed_paths(steps: int, tokens: int) -> None:
    attention = np.random.default_rng(steps * tokens).dirichlet(np.ones(tokens), steps)
    max_move = 2 if steps < 2 * tokens else 1
    allowed = [
        np.cumsum((0, *moves))
        for moves in itertools.product(range(max_move + 1), repeat=steps - 1)
        if sum(moves) == tokens - 1
    ]
    best = max(allowed, key=lambda path: attention[np.arange(steps), path].sum())
    assert np.asarray(best_monotonic_path(attention)).tolist() == best.tolist()


def test_skipping_tokens_is_allowed_only_with_few_steps() -> None:
    few = attend(np.array([0, 2, 4, 4, 4, 4, 4]), width=0.05, tokens=5)
    many = attend(np.array([0, 2, 4, 4, 4, 4, 4, 4, 4, 4]), width=0.05, tokens=5)
    assert measure_alignment(few).path_ratio == pytest.approx(1.0)
    assert measure_alignment(many).path_ratio == pytest.approx(0.7)  # the path lags in steps 1 to 3


def test_with_fewer_steps_than_tokens_there_is_focus_but_no_path() -> None:
    alignment = measure_alignment(attend(join_lines((0, LAST, LAST)), width=0.05))
    assert alignment.focus == pytest.approx(1.0, abs=0.1)
    assert alignment.coverage is not None
    assert alignment.path_ratio is None
    assert alignment.diagonality is None
    assert measure_alignment(attend(join_lines((0, LAST, TOKENS)), width=0.05)).path_ratio == pytest.approx(1.0)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_nonfinite_attention_has_no_measures(poison: float) -> None:
    attention = attend(join_lines((0, LAST, STEPS)))
    attention[17, 3] = poison
    alignment = measure_alignment(attention)
    assert (alignment.focus, alignment.path_ratio, alignment.coverage, alignment.diagonality) == (None,) * 4


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_an_empty_attention_has_no_measures(shape: tuple[int, int]) -> None:
    assert measure_alignment(np.zeros(shape)).focus is None


def test_an_attention_of_zeros_has_no_path_ratio() -> None:
    assert measure_alignment(np.zeros((9, 3))).diagonality is None


def test_a_single_token_has_diagonality_one() -> None:
    assert measure_alignment(np.ones((3, 1))).diagonality == 1.0


def test_half_precision_gives_the_same_diagonality() -> None:
    attention = attend(join_lines((0, LAST, STEPS)))
    half = measure_alignment(attention.astype(np.float16)).diagonality
    assert half == pytest.approx(measure_alignment(attention).diagonality, abs=1e-3)


def test_a_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="pass one item"):
        measure_alignment(np.ones((2, 3, 4)))
