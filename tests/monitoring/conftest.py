"""The record of a run, in an empty folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monitoring.progress import ProgressDisplay
from monitoring.run_record import Naming, RunRecord


@pytest.fixture
def record(tmp_path: Path) -> Any:
    display = ProgressDisplay(
        Console(file=io.StringIO()), name="run", last_step=10, course_steps=10, every_seconds=1000
    )
    naming = Naming(symbols="_abc", safe_name=lambda id: id)
    record = RunRecord(tmp_path, naming, model="tacotron2", n_samples=2, display=display)
    yield record
    record.close()
