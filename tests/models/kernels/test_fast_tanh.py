from __future__ import annotations

import math

import numba
import numpy as np
import pytest

from models.kernels.fast_tanh import sigmoid, tanh


@numba.njit
def tanhs(x: np.ndarray) -> np.ndarray:
    return np.array([tanh(value) for value in x])


@numba.njit
def sigmoids(x: np.ndarray) -> np.ndarray:
    return np.array([sigmoid(value) for value in x])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_values_equal_numpys_up_to_rounding(dtype: type, tolerance: float) -> None:
    x: np.ndarray = np.concatenate([np.linspace(-20, 20, 4001), [1e-6, -1e-6, np.inf, -np.inf]]).astype(dtype)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(tanhs(x), np.tanh(wide), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(sigmoids(x), 0.5 + 0.5 * np.tanh(wide / 2), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_stays_nan(dtype: type) -> None:
    nan: np.ndarray = np.array([math.nan], dtype=dtype)
    assert np.isnan(tanhs(nan)).all() and np.isnan(sigmoids(nan)).all()
