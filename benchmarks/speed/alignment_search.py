"""How fast is the monotonic alignment search, and is it linear in the frames?

`python -m benchmarks alignment_search` takes a few seconds. The bars are what the compiled search of the public
GlowTTS took on two quiet cores of such a machine; exits 1 when one is missed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from models.glow_tts.alignment_search import monotonic_path

BARS_MILLISECONDS = {(16, 128, 512): 6.3, (16, 256, 1024): 51.0}
REPEATS = 30
MOST_GROWTH = 1.5  # of the time a frame, from 512 frames to 4096, which no longer fit into the cache

Write = Callable[[str], object]


def milliseconds(n_items: int, n_symbols: int, n_frames: int) -> float:
    """Median of several searches over different random likelihoods."""
    generator = torch.Generator().manual_seed(1)
    value = torch.randn(n_items, n_frames, n_symbols, generator=generator)
    lengths = torch.full((n_items,), n_symbols), torch.full((n_items,), n_frames)
    monotonic_path(value, *lengths)  # the first call compiles
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        monotonic_path(value, *lengths)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def main(write: Write) -> int:
    is_reached = True
    for size, bar in BARS_MILLISECONDS.items():
        own = milliseconds(*size)
        is_reached &= own < bar
        write(f"B={size[0]} T_text={size[1]} T_mel={size[2]}: {own:6.2f} ms (public: {bar} ms)\n")
    per_frame = {n: milliseconds(16, 128, n) / n for n in (512, 1024, 2048, 4096)}
    for n_frames, cost in per_frame.items():
        write(f"T_mel={n_frames:<5} {1000 * cost:6.2f} µs a frame of 16 items\n")
    is_reached &= per_frame[4096] <= MOST_GROWTH * per_frame[512]
    write(f"{'ok' if is_reached else 'MISSED'}\n")
    return 0 if is_reached else 1


if __name__ == "__main__":
    sys.exit(main(sys.stdout.write))
