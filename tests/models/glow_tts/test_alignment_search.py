"""Both versions of the alignment search find the reference's paths, and the best of all paths."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from files import REPOSITORY
from models.glow_tts.alignment_search import monotonic_path, search_by_frame
from tests.models.reference import Reference, read_reference

Search = Callable[[Tensor, Tensor, Tensor], Tensor]
both_searches = pytest.mark.parametrize("search", [monotonic_path, search_by_frame])


@pytest.fixture(scope="module")
def reference() -> Reference:
    return read_reference("monotonic_align")


@both_searches
@pytest.mark.parametrize("case", range(12))
def test_paths_equal_those_of_the_reference(reference: Reference, case: int, search: Search) -> None:
    inputs, expected = reference.part(f"input/{case}/"), reference.tensors[f"output/{case}/path"].transpose(1, 2)
    value, mask = inputs["value"].transpose(1, 2), inputs["mask"].transpose(1, 2)
    symbols = search(value, inputs["x_lengths"], inputs["y_lengths"])  # the padding holds random values
    assert torch.equal(torch.nn.functional.one_hot(symbols, value.size(2)) * mask, expected)


def score(value: Tensor, symbols: tuple[int, ...]) -> float:
    return float(sum(value[t, i] for t, i in enumerate(symbols)))


@both_searches
@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_other_path_is_more_likely(search: Search, n_symbols: int, spare: int, seed: int) -> None:
    n_frames = n_symbols + spare
    value = torch.randn(1, n_frames, n_symbols, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    path = tuple(search(value, torch.tensor([n_symbols]), torch.tensor([n_frames]))[0].tolist())
    ends = itertools.combinations(range(1, n_frames), n_symbols - 1)
    all_paths = [tuple(sum(t >= end for end in chosen) for t in range(n_frames)) for chosen in ends]
    assert path in all_paths
    assert score(value[0], path) == pytest.approx(max(score(value[0], other) for other in all_paths), abs=1e-5)


@both_searches
def test_nan_gives_a_path_through_all_symbols_too(search: Search) -> None:
    value = torch.full((1, 6, 4), torch.nan)
    path = search(value, torch.tensor([4]), torch.tensor([6]))[0].tolist()
    assert path == sorted(path) and set(path) == {0, 1, 2, 3}


THREADS_PROGRAM = """
import torch
torch.set_num_threads(1)
from models.glow_tts.alignment_search import monotonic_path
monotonic_path(torch.randn(4, 9, 5), torch.full((4,), 5), torch.full((4,), 9))
print(torch.get_num_threads())
"""


def test_the_search_does_not_change_torchs_number_of_threads() -> None:
    """In a process of its own, because thread pools start once per process."""
    done = subprocess.run(
        [sys.executable, "-c", THREADS_PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1"]


def test_more_symbols_than_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="more symbols than frames"):
        monotonic_path(torch.zeros(2, 5, 6), torch.tensor([3, 6]), torch.tensor([5, 5]))
