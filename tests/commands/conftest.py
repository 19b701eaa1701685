"""One small corpus and one finished run for all tests of the commands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import train_enhanced
from commands.process.heartbeat import VARIABLE
from tests.commands.process.pipe import Pipe
from tests.support.program import UNWATCHED, Program, good_clips, tiny, write_metadata


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus of eight recordings of 1 s; seven are for training: two batches an epoch."""
    folder = tmp_path_factory.mktemp("corpus")
    write_metadata(folder, good_clips(folder, 8))
    return folder


@pytest.fixture(scope="session")
def finished_output(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder with a finished run of 4 steps; tests must not write into it."""
    output = tmp_path_factory.mktemp("finished")
    arguments = ["--data", str(data), "--output", str(output), "--run_name", "run", *UNWATCHED, *tiny()]
    assert train_enhanced.main(arguments) == 0
    return output


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Program:
    return Program(capsys, tmp_path / "logs")


@pytest.fixture
def run(finished_output: Path, program: Program) -> Path:
    """Copy of the finished run in the output folder of `program`."""
    shutil.copytree(finished_output, program.output)
    return program.output / "run"


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Pipe for a heartbeat, which closes the writing end itself."""
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)


@pytest.fixture
def watchdog_pipe(monkeypatch: pytest.MonkeyPatch, pipe: Pipe) -> Pipe:
    """Pipe that receives the heartbeat of a training in this process."""
    monkeypatch.setattr("commands.process.heartbeat.die_with_parent", lambda _watchdog, _signal: None)
    monkeypatch.setenv(VARIABLE, f"{pipe.writer},{os.getppid()}")
    return pipe
