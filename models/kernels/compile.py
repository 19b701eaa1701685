"""The decorator `jit` for numba loops, with a cache of machine code on disk that follows every source file.

numba's own cache looks only at the file of the compiled function, not at the functions it calls in other files. Here
the cache folder's name is a digest of all files below models/ that use numba.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numba

from models.kernels.fast_tanh import FAST_MATH

MODELS_FOLDER = Path(__file__).parents[1]
NUMBA_WORDS = b"numba", b"kernels.compile"
"""A file that contains one of these may hold numba functions."""


def cache_folder(sources: Path) -> Path:
    """Cache folder for the numba code in `sources` and its sub-folders; another one when any of that code changes."""
    digest = hashlib.sha256()
    for text in (path.read_bytes() for path in sorted(sources.rglob("*.py"))):
        if any(word in text for word in NUMBA_WORDS):
            digest.update(text)
    return sources / "__pycache__" / f"numba-{digest.hexdigest()[:16]}"


if not numba.config.CACHE_DIR:  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = str(cache_folder(MODELS_FOLDER))  # type: ignore[attr-defined]
jit = numba.njit(cache=True, nogil=True, fastmath=FAST_MATH, error_model="numpy")
