"""Memory of the device: recognise that it ran out, release it, run work in parts that fit into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from models.tacotron2.attention_gpu import free_chunks

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out: on a GPU torch has an exception type for it, on a CPU only a message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def release_gpu_memory() -> None:
    """Return GPU memory that models and torch hold in reserve for their next pass."""
    free_chunks()
    torch.cuda.empty_cache()


def run_in_fitting_parts(items: Sequence[Item], work: Callable[[Sequence[Item]], Result]) -> list[Result]:
    """Run `work` on all items; where memory runs out, on each half of them; a single item that does not fit raises."""
    try:
        return [work(items)]
    except RuntimeError as error:
        if len(items) == 1 or not is_out_of_memory(error):
            raise
    release_gpu_memory()  # only here, after the exception, whose traceback holds what was computed
    middle = len(items) // 2
    return [*run_in_fitting_parts(items[:middle], work), *run_in_fitting_parts(items[middle:], work)]
