"""Speed of GlowTTS's monotonic alignment search, and its growth with the number of frames.

`python -m benchmarks alignment_search` takes a few seconds. The limits are times of the compiled search of the public
GlowTTS on two idle cores of such a machine. Exits 1 when a requirement is missed.
"""

from __future__ import annotations

import statistics
import sys

import torch

from benchmarks.reporting import Write, conclude
from benchmarks.speed.interleave import time_interleaved
from models.glow_tts.alignment_search import monotonic_path

MAX_MILLISECONDS = {(16, 128, 512): 6.3, (16, 256, 1024): 51.0}
REPEATS = 30
MAX_GROWTH = 1.5  # of the time a frame, from 512 frames to 4,096, which do not fit into the cache


def milliseconds(n_items: int, n_symbols: int, n_frames: int) -> float:
    """Median time of a search over random likelihoods."""
    generator = torch.Generator().manual_seed(1)
    value = torch.randn(n_items, n_frames, n_symbols, generator=generator)
    lengths = torch.full((n_items,), n_symbols), torch.full((n_items,), n_frames)
    search = {"search": lambda: monotonic_path(value, *lengths)}
    return 1000 * statistics.median(time_interleaved(search, rounds=REPEATS)["search"])  # compiled in the warm-up


def main(write: Write) -> int:
    is_met = True
    for size, limit in MAX_MILLISECONDS.items():
        own = milliseconds(*size)
        is_met &= own < limit
        write(f"B={size[0]} T_text={size[1]} T_mel={size[2]}: {own:6.2f} ms (public: {limit} ms)\n")
    per_frame = {n: milliseconds(16, 128, n) / n for n in (512, 1024, 2048, 4096)}
    for n_frames, cost in per_frame.items():
        write(f"T_mel={n_frames:<5} {1000 * cost:6.2f} µs a frame of 16 items\n")
    is_met &= per_frame[4096] <= MAX_GROWTH * per_frame[512]
    return conclude(write, is_met=is_met)


if __name__ == "__main__":
    sys.exit(main(sys.stdout.write))
