"""A fault of the benchmark `rescue`, and what the lists of faults share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from corpus.batches import Batch
from training.trainer import EnhancedTrainer

EVENT_STEP = 100
"""Step of events in mid-run: attention has formed, much is still to be learnt."""

Rows = list[tuple[Path, str]]
"""Recordings and their transcripts."""


@dataclass(frozen=True)
class Fault:
    """Cause of trouble in a training: settings, damaged recordings, or functions that run inside it."""

    hparams: Mapping[str, Any] = field(default_factory=dict)
    damage: Callable[[Rows, np.random.Generator], Rows] | None = None  # a copy of the recordings
    prepare: Callable[[EnhancedTrainer], None] | None = None  # the trainer, once in every session
    inject: Callable[[EnhancedTrainer, Batch], None] | None = None  # once in a run, before a step
    from_step: int = 0  # earliest step of `inject`
    damages_held_out: bool = False  # where all recordings of a corpus would be alike
    compares_with_own_best: bool = False  # rescued: near its own best score, not near the clean run's


def rewrite(path: Path, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
    wave, rate = soundfile.read(path)
    soundfile.write(path, change(wave, rate), rate, subtype="FLOAT", format="WAV")


def draw(count: int, rows: Rows, rng: np.random.Generator) -> Rows:
    """Draw recordings, none of them twice."""
    return [rows[i] for i in rng.choice(len(rows), count, replace=False)]
