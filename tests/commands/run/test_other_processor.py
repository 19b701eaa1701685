"""The program on a processor without bfloat16, as which this one is made to appear."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.commands.program import PROGRAM, UNWATCHED, Program, journal, summary, tiny

AS_ANOTHER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}


def trained_there(program: Program, data: Path, precision: str) -> str:
    """Its output; two voices speak at its end, which takes products of several rows, and one alone."""
    sentences = program.output.with_name("sentences.txt")
    sentences.write_text("good words\nother words\n", encoding="utf-8")
    options = ["--data", data, "--output", program.output, "--run_name", "run", "--max_steps", 2, *UNWATCHED]
    command = [sys.executable, PROGRAM, *options, "--eval_sentences", sentences, *tiny(precision=precision)]
    done = subprocess.run(list(map(str, command)), env=os.environ | AS_ANOTHER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def test_bfloat16_runs_there_and_says_that_it_is_slow(program: Program, data: Path) -> None:
    said = trained_there(program, data, "bfloat16")
    assert "no instructions for bfloat16: training in it is slow" in said
    assert summary(program.output / "run")["step"] == 2
    assert journal(program.output / "run", "evaluation")


def test_what_is_measured_there_is_float32(program: Program, data: Path) -> None:
    said = trained_there(program, data, "auto")
    assert "float32: this processor has no shorter format" in said and "is slow" not in said
