"""Settings that a run chooses when it begins and keeps: number of threads and number format."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speech.voice import load_voice
from tests.support.program import PROGRAM, UNWATCHED, Program, journal, summary, tiny
from training.checkpoints.json_files import read_choices

# a processor without bfloat16: the libraries are told to use older instructions only
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


@pytest.fixture
def free_cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of free cores that the next choices find; the number of threads is restored afterwards."""
    numbers: list[int] = []
    monkeypatch.setattr("commands.plan.auto_settings.choose_threads", lambda: (numbers.pop(0), "as the test says"))
    return numbers


@pytest.fixture
def used_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of threads that trainings set for themselves; they are not set really."""
    numbers: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", numbers.append)
    return numbers


def test_a_later_session_keeps_the_threads_of_the_first(
    program: Program, data: Path, free_cores: list[int], used_threads: list[int]
) -> None:
    free_cores += [3]
    run = program.trained(data, "--max_steps", 2, cpu_threads=0)
    assert read_choices(run) == {"cpu_threads": 3}
    outcome = program.train(data, "--max_steps", 4, cpu_threads=0)
    assert outcome.code == 0 and "threads" not in outcome.out  # nothing is chosen again
    assert read_choices(run) == {"cpu_threads": 3}
    assert used_threads.count(3) == 2  # once in each session
    assert load_voice(run / "voice.safetensors").hparams.cpu_threads == 0  # another machine has other cores


def test_a_run_from_before_threads_were_chosen_keeps_one_for_each_core(program: Program, data: Path) -> None:
    run = program.trained(data, "--max_steps", 2)
    (run / "choices.json").unlink(missing_ok=True)
    program.trained(data, "--max_steps", 4, cpu_threads=0)
    assert read_choices(run) == {"cpu_threads": torch.get_num_threads()}


def test_the_threads_that_a_person_gives_are_not_chosen(program: Program, data: Path, free_cores: list[int]) -> None:
    run = program.trained(data, "--max_steps", 2, cpu_threads=1)
    assert read_choices(run) == {}
