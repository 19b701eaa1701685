"""Recognition of exhausted memory, and work in parts that fit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from models.memory import is_out_of_memory, run_in_fitting_parts


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_out_of_memory_is_distinguished_from_other_errors(error: RuntimeError, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_real_allocation_failure_on_a_cpu_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**52)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(("n_fit", "parts"), [(5, [[0, 1, 2, 3, 4]]), (2, [[0, 1], [2], [3, 4]])])
def test_work_that_does_not_fit_is_done_in_halves(n_fit: int, parts: list[list[int]]) -> None:
    def work(items: Sequence[int]) -> list[int]:
        if len(items) > n_fit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(items)

    assert run_in_fitting_parts(range(5), work) == parts


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("another error")])
def test_a_single_item_that_does_not_fit_and_other_errors_are_raised(error: RuntimeError) -> None:
    attempts: list[Sequence[int]] = []

    def work(items: Sequence[int]) -> None:
        attempts.append(items)
        raise error

    with pytest.raises(RuntimeError, match=str(error)):
        run_in_fitting_parts([1, 2, 3, 4], work)
    assert [len(items) for items in attempts] == ([4, 2, 1] if isinstance(error, torch.OutOfMemoryError) else [4])
