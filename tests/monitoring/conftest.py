"""The record of a run, in an empty folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from monitoring.progress import ProgressDisplay
from monitoring.run_record import RunRecord, Voicing


def write_samples(path: Path, wave: np.ndarray) -> None:
    path.write_bytes(wave.astype("<f4").tobytes())


@pytest.fixture
def record(tmp_path: Path) -> Any:
    voicing = Voicing(
        symbols="_abc",
        vocode=lambda mel: mel.mean(0).astype(np.float32),
        write_wave=write_samples,
        safe_name=lambda id: id,
        sampling_rate=100,
        hop_length=1,
    )
    display = ProgressDisplay(Console(file=io.StringIO()), total_steps=10, every_seconds=1000)
    record = RunRecord(tmp_path, voicing, model="tacotron2", n_samples=2, tensorboard=None, display=display)
    yield record
    record.close()
