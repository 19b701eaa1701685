"""Waiting threads give way to other programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.process.openmp_settings import SPIN_COUNT
from tests.support.program import PROGRAM


@pytest.mark.parametrize(("given", "expected"), [(None, str(SPIN_COUNT)), ("7", "7")])
def test_the_openmp_library_of_a_training_uses_the_spin_count(tmp_path: Path, given: str | None, expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | ({} if given is None else {"GOMP_SPINCOUNT": given})
    command = [sys.executable, str(PROGRAM), "--watchdog", "off", "--data", str(tmp_path / "nowhere")]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert process.returncode == 2
    assert f"GOMP_SPINCOUNT = '{expected}'" in process.stderr
