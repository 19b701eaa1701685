"""Loops for numba, whose machine code is kept until anything changes that it is made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numba

from models.kernels.fast_tanh import FAST_MATH

HERE = Path(__file__).parents[1]


def cache_folder(sources: Path) -> Path:
    """Another one for other sources: numba itself looks at a function's own file only, not at those that it calls."""
    digest = hashlib.sha256()
    for text in (path.read_bytes() for path in sorted(sources.rglob("*.py"))):
        if b"numba" in text:
            digest.update(text)
    return sources / "__pycache__" / f"numba-{digest.hexdigest()[:16]}"


if not numba.config.CACHE_DIR:  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = str(cache_folder(HERE))  # type: ignore[attr-defined]
in_numba = numba.njit(cache=True, nogil=True, fastmath=FAST_MATH, error_model="numpy")
