"""Training on a processor without bfloat16: its libraries are told to use older instructions only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.commands.program import PROGRAM, UNWATCHED, Program, journal, summary, tiny

ANOTHER_PROCESSOR = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}


def train_on_another_processor(program: Program, data: Path, precision: str) -> str:
    """Train, and decode two sentences at once and one alone at the end; return what the program printed."""
    sentences = program.output.with_name("sentences.txt")
    sentences.write_text("good words\nother words\n", encoding="utf-8")
    options = ["--data", data, "--output", program.output, "--run_name", "run", "--max_steps", 2, *UNWATCHED]
    command = [sys.executable, PROGRAM, *options, "--eval_sentences", sentences, *tiny(precision=precision)]
    done = subprocess.run(list(map(str, command)), env=os.environ | ANOTHER_PROCESSOR, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def test_training_in_bfloat16_prints_that_it_is_slow_and_works(program: Program, data: Path) -> None:
    output = train_on_another_processor(program, data, "bfloat16")
    assert "no instructions for bfloat16: training in it is slow" in output
    assert summary(program.output / "run")["step"] == 2
    assert journal(program.output / "run", "evaluation")


def test_the_automatic_choice_is_float32(program: Program, data: Path) -> None:
    output = train_on_another_processor(program, data, "auto")
    assert "float32: this processor has no shorter format" in output and "is slow" not in output
