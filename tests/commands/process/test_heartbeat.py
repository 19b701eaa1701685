"""What a training tells its watchdog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands.process.heartbeat import VARIABLE, Heartbeat, open_heartbeat
from commands.run.subscribers import Beating
from tests.commands.process.pipe import Pipe
from tests.commands.program import PROGRAM, Program
from tests.tiny import MemoryWatcher, tiny_hparams, tiny_trainer
from training.trainer import Limits

BEATS = "from commands.process.heartbeat import open_heartbeat\nopen_heartbeat().step(1)\nprint('alive')\n"


def beating_process(pipe: int, watchdog: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEATS],
        cwd=PROGRAM.parent,
        env=os.environ | {VARIABLE: f"{pipe},{watchdog}"},
        pass_fds=[pipe],
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_watchdog_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with open_heartbeat() as heartbeat:
        heartbeat.started(tmp_path)
        heartbeat.step(1)


def test_every_kind_of_work_is_told(tmp_path: Path, pipe: Pipe) -> None:
    watcher = MemoryWatcher(scores={2: 0.5})
    hparams = tiny_hparams(iters_per_checkpoint=3, iters_per_evaluation=2)
    trainer, _ = tiny_trainer(tmp_path, hparams, watcher=watcher)
    with Heartbeat(pipe.writer) as heartbeat:
        heartbeat.started(tmp_path)
        trainer.watcher = Beating(watcher, heartbeat)
        trainer.fit(Limits(max_steps=3))
        heartbeat.end()
    evaluation: list[list[str | int]] = [["begin", "evaluation"], ["done"]]
    save: list[list[str | int]] = [["begin", "save"], ["done"]]
    assert pipe.beats() == [
        *(["folder", str(tmp_path)], ["step", 1], ["step", 2], *evaluation, *save),
        *(["step", 3], *save, *evaluation, *save, ["end"]),
    ]
    assert watcher.events[-3:] == ["evaluation 3", "before checkpoint", "after checkpoint"]


def test_the_watcher_behind_it_keeps_its_memory(tmp_path: Path) -> None:
    watcher = MemoryWatcher()
    beating = Beating(watcher, Heartbeat(None))
    assert beating.state_dict() == watcher.state_dict()
    beating.load_state_dict({"n_steps": 5})
    assert watcher.restored == {"n_steps": 5}


def test_an_end_is_announced_only_where_there_is_one(pipe: Pipe) -> None:
    with pytest.raises(RuntimeError), Heartbeat(pipe.writer) as heartbeat:
        heartbeat.step(1)
        raise RuntimeError("bug")
    assert pipe.beats() == [["step", 1]]


def test_a_finished_training_announces_its_end(program: Program, data: Path, heard: Pipe) -> None:
    run = program.trained(data)
    beats = heard.beats()
    assert beats[0] == ["folder", str(run)]
    assert ["step", 4] in beats
    assert beats[-1] == ["end"]


def test_a_full_pipe_does_not_hold_training_up(pipe: Pipe) -> None:
    with Heartbeat(pipe.writer) as heartbeat:
        for step in range(100_000):
            heartbeat.step(step)
    assert len(pipe.beats()) < 100_000


def test_without_a_listener_the_process_dies(pipe: Pipe) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = beating_process(writer, os.getpid())
    os.close(writer)
    os.close(pipe.writer)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_a_process_whose_watchdog_is_gone_already_dies(pipe: Pipe) -> None:
    done = beating_process(pipe.writer, os.getppid())
    os.close(pipe.writer)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_a_process_with_its_watchdog_lives(pipe: Pipe) -> None:
    done = beating_process(pipe.writer, os.getpid())
    os.close(pipe.writer)
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert pipe.beats() == [["step", 1]]


def test_the_heartbeat_is_not_handed_on(heard: Pipe) -> None:
    os.set_inheritable(heard.writer, True)
    with open_heartbeat():
        assert VARIABLE not in os.environ
        assert not os.get_inheritable(heard.writer)
