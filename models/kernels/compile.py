"""The decorator `jit` for numba loops, with a cache of machine code on disk that follows every source file.

numba's own cache looks only at the file of the compiled function, not at the functions it calls in other files. Here
the cache folder's name is a digest of all files below models/ that use numba. And it has no lock: two processes that
compile one function for different types at the same time may both write number 1 of its files, and a third then runs
the wrong code. Here a function is compiled by one process at a time; the others wait and load what it wrote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock
from numba.core.compiler_lock import global_compiler_lock

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


def jit(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call, or load the machine code of an earlier process."""
    dispatcher: Any = numba.njit(cache=True, nogil=True, fastmath=FAST_MATH, error_model="numpy")(function)
    compile_signature = dispatcher.compile
    lock = Path(dispatcher.stats.cache_path, f"{function.__module__}.{function.__qualname__}.lock")

    def compile_one_at_a_time(signature: object) -> Any:
        with global_compiler_lock, FileLock(lock):  # a new lock each time: one that a fork inherits is of no use
            return compile_signature(signature)

    dispatcher.compile = compile_one_at_a_time
    return dispatcher
