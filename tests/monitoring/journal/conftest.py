"""A run folder whose journal has begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitoring.journals import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.start()
    return run
