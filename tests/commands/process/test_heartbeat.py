"""Messages from a training to its watchdog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from commands.process.heartbeat import VARIABLE, Heartbeat, PreparatoryHeartbeat, open_heartbeat
from commands.run.event_publisher import EventPublisher, report_progress
from tests.commands.process.pipe import Pipe
from tests.monitoring.recorders import open_recorder
from tests.support.program import PROGRAM, Program
from tests.support.tiny import tiny_hparams, tiny_trainer
from training.run_state import RunLimits

ONE_STEP = "from commands.process.heartbeat import open_heartbeat\nopen_heartbeat().report_step(1)\nprint('alive')\n"


def process_with_heartbeat(pipe: int, watchdog: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ONE_STEP],
        cwd=PROGRAM.parent,
        env=os.environ | {VARIABLE: f"{pipe},{watchdog}"},
        pass_fds=[pipe],
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_watchdog_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with closing(open_heartbeat()) as heartbeat:
        heartbeat.report_folder(tmp_path)
        heartbeat.report_step(1)


def test_the_watchdog_is_told_of_each_kind_of_work(tmp_path: Path, pipe: Pipe) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=3, iters_per_evaluation=2)
    trainer, _ = tiny_trainer(tmp_path, hparams)
    with closing(Heartbeat(pipe.writer)) as heartbeat:
        heartbeat.report_folder(tmp_path)
        publisher = EventPublisher(open_recorder(tmp_path), [report_progress(heartbeat)])
        trainer.state.observer = publisher
        trainer.fit(RunLimits(max_steps=3))
        publisher.recorder.close()
        heartbeat.end()
    evaluation: list[list[str | int]] = [["begin", "evaluation"], ["done"]]
    save: list[list[str | int]] = [["begin", "save"], ["done"]]
    reported = pipe.messages()
    assert reported[0] == ["folder", str(tmp_path)] and reported[-1] == ["end"]
    assert [beat for beat in reported if beat[0] == "step"] == [["step", 1], ["step", 2], ["step", 3]]
    assert reported[1:5] == [["step", 1], ["step", 2], *evaluation]
    assert reported[-3:-1] == save and reported.count(["begin", "evaluation"]) == 2


def test_a_training_before_the_runs_own_is_watched_without_its_steps_and_end(tmp_path: Path, pipe: Pipe) -> None:
    with closing(Heartbeat(pipe.writer)) as run:
        heartbeat = PreparatoryHeartbeat(run)
        heartbeat.report_folder(tmp_path)
        heartbeat.report_training()
        heartbeat.report_step(7)
        heartbeat.begin("evaluation")
        heartbeat.done()
        heartbeat.end()
        heartbeat.over()
    step: list[list[str | int]] = [["done"], ["begin", "preparatory step"]]
    assert pipe.messages() == [*step, ["begin", "preparatory evaluation"], *step, ["begin", "preparation"]]


def test_an_exception_is_not_sent_as_the_end(pipe: Pipe) -> None:
    with pytest.raises(RuntimeError), closing(Heartbeat(pipe.writer)) as heartbeat:
        heartbeat.report_step(1)
        raise RuntimeError("bug")
    assert pipe.messages() == [["step", 1]]


def test_a_finished_training_sends_its_end(program: Program, data: Path, watchdog_pipe: Pipe) -> None:
    run = program.trained(data)
    messages = watchdog_pipe.messages()
    assert messages[0] == ["folder", str(run)]
    assert ["step", 4] in messages
    assert messages[-1] == ["end"]


def test_a_full_pipe_does_not_delay_training(pipe: Pipe) -> None:
    with closing(Heartbeat(pipe.writer)) as heartbeat:
        for step in range(100_000):
            heartbeat.report_step(step)
    assert len(pipe.messages()) < 100_000


def test_a_process_with_a_broken_pipe_dies(pipe: Pipe) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = process_with_heartbeat(writer, os.getpid())
    os.close(writer)
    os.close(pipe.writer)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_a_process_whose_watchdog_ended_before_it_started_dies(pipe: Pipe) -> None:
    done = process_with_heartbeat(pipe.writer, os.getppid())
    os.close(pipe.writer)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_a_process_with_a_living_watchdog_continues(pipe: Pipe) -> None:
    done = process_with_heartbeat(pipe.writer, os.getpid())
    os.close(pipe.writer)
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert pipe.messages() == [["step", 1]]


def test_child_processes_do_not_inherit_the_heartbeat(watchdog_pipe: Pipe) -> None:
    os.set_inheritable(watchdog_pipe.writer, True)
    with closing(open_heartbeat()):
        assert VARIABLE not in os.environ
        assert not os.get_inheritable(watchdog_pipe.writer)
