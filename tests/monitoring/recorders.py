"""A recorder whose display prints nowhere."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from monitoring.journal.recorder import RunRecorder
from monitoring.journal.sample_writer import SampleWriter
from monitoring.terminal.progress import ProgressDisplay


def open_recorder(folder: Path, *, n_samples: int = 2) -> RunRecorder:
    display = ProgressDisplay(Console(file=io.StringIO()), name="run", last_step=10, plan_steps=10, line_seconds=1000)
    samples = SampleWriter(folder, "_abcdefghijk", n_samples=n_samples)
    return RunRecorder(folder, samples, model="tacotron2", display=display)
