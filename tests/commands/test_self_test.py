"""--mode test: a line a component; what is wrong is named and ends with exit 1."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.commands.program import PROGRAM, Program


def test_all_components_work_here(tmp_path: Path) -> None:
    arguments = ["--mode", "test", "--output", str(tmp_path), "--device", "cpu"]
    done = subprocess.run([sys.executable, str(PROGRAM), *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 8


def test_what_is_wrong_is_named(program: Program, tmp_path: Path) -> None:
    outcome = program("--mode", "test", "--config", tmp_path / "absent.yaml", "--language", "klingonese")
    assert outcome.code == 1
    verdicts = {line.split()[1]: line.split()[0] for line in outcome.out.splitlines()}
    assert verdicts["settings"] == verdicts["espeak"] == "wrong"
    assert verdicts["output"] == verdicts["device"] == "ok"
    assert "absent.yaml" in outcome.out and "klingonese" in outcome.out
