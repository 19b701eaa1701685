"""Training with several processes under torchrun."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from models.checkpoint_file import load_checkpoint
from monitoring.journal.control_file import RequestFile
from tests.support.program import PROGRAM, UNWATCHED, Program, journal, newest, summary, tiny, wait_for
from tests.support.warm_start import warm_program
from training.checkpoints.checkpoint import list_checkpoints

EPOCH_STEPS = 2  # seven utterances in batches of four


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def arguments_for(program: Program, data: Path, *more: object, **changes: Any) -> list[str]:
    options = ["--output", str(program.output), "--data", str(data), "--run_name", "run", *UNWATCHED]
    return [str(PROGRAM), *options, *tiny(**changes), *map(str, more)]


def torchrun(arguments: list[str], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", *options]
    command.append(f"--master_port={free_port()}")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *arguments], env=environment, **pipes)


def run_ranks(port: int, *of_each: list[str]) -> list[tuple[int, str]]:
    """Start ranks with arguments of their own, as torchrun would; return exit code and standard error of each."""
    common = {"WORLD_SIZE": str(len(of_each)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        warm_program(PROGRAM, arguments[1:], RANK=str(rank), LOCAL_RANK=str(rank), OMP_NUM_THREADS="1", **common)
        for rank, arguments in enumerate(of_each)
    ]
    return [(process.wait(120), process.communicate()[1]) for process in processes]


def worker(process: subprocess.Popen[str], rank: int) -> psutil.Process:
    children = psutil.Process(process.pid).children()
    return next(child for child in children if child.environ().get("RANK") == str(rank))


def places(run: Path) -> list[tuple[int, int]]:
    """Epoch and number of the batch of each step that was not undone."""
    state = load_checkpoint(newest(run))
    return [(epoch, number) for _, epoch, number in state["steering"]["places"]]


def test_after_a_killed_rank_the_run_continues_with_two_ranks_and_with_one(program: Program, data: Path) -> None:
    every: dict[str, Any] = {"iters_per_checkpoint": 3, "iters_per_evaluation": 1000, "epochs": 500}
    run = program.output / "run"
    process = torchrun(arguments_for(program, data, "--max_steps", 100, **every), "--max-restarts=1")
    wait_for(lambda: (run / "checkpoints").is_dir() and len(list_checkpoints(run / "checkpoints")) > 2, process)
    worker(process, 1).send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, (out, err)
    assert summary(run)["step"] == 100 and summary(run)["status"] == "finished"
    kinds = [record["kind"] for record in journal(run)]
    assert (kinds.count("started"), kinds.count("resumed")) == (1, 1)
    outcome = program.train(data, "--max_steps", 110, **every)
    assert outcome.code == 0, outcome.err
    again = torchrun(arguments_for(program, data, "--max_steps", 120, **every))
    assert again.communicate(timeout=100) and again.returncode == 0
    assert summary(run)["step"] == 120
    assert places(run) == [(step // EPOCH_STEPS, step % EPOCH_STEPS) for step in range(120)]


def test_a_pause_beyond_the_rank_timeout_is_harmless_and_a_preempted_rank_stops_all_after_saving(
    program: Program, data: Path, tmp_path: Path
) -> None:
    config, run = tmp_path / "config.yaml", program.output / "run"
    config.write_text("watchdog: {rank_patience_seconds: 8}\n", encoding="utf-8")
    process = torchrun(arguments_for(program, data, "--config", config, epochs=5000))
    wait_for(lambda: (run / "journal.jsonl").is_file() and journal(run, "steps"), process)
    (run / "companion").mkdir(exist_ok=True)
    box = RequestFile(run)
    box.append("pause", "user 7")
    wait_for(lambda: journal(run, "order"), process)
    paused_at = len(journal(run, "steps"))
    time.sleep(10)
    assert process.poll() is None and len(journal(run, "steps")) <= paused_at + 1
    box.append("resume", "user 7")
    wait_for(lambda: len(journal(run, "steps")) > paused_at + 3, process)
    worker(process, 1).send_signal(signal.SIGUSR1)
    out, err = process.communicate(timeout=100)
    assert (summary(run)["status"], summary(run)["reason"]) == ("interrupted", "SIGUSR1"), (out, err)
    assert list_checkpoints(run / "checkpoints")[-1].step == summary(run)["step"]


def test_ranks_with_different_settings_all_end_with_one_line(program: Program, data: Path, tmp_path: Path) -> None:
    usual, nowhere = arguments_for(program, data), arguments_for(program, tmp_path / "nowhere")
    other_recipe = arguments_for(program, data, learning_rate=0.5)
    cases = {
        r"rank 1: its setting learning_rate is 0\.5, rank 0 has": [usual, other_recipe],
        r"error: rank 1: .*nowhere: no such file": [usual, nowhere],
        r"error: \S*nowhere: no such file": [nowhere, nowhere],
    }
    for line, rank_arguments in cases.items():
        (leader_code, message), (code, nothing) = run_ranks(free_port(), *rank_arguments)
        assert (leader_code, code, nothing) == (2, 2, ""), message
        assert len(message.splitlines()) == 1 and re.search(line, message), message


def test_more_ranks_than_utterances_are_refused(program: Program, data: Path) -> None:
    leader, *others = run_ranks(free_port(), *[arguments_for(program, data)] * 8)
    assert leader == (2, "error: 8 processes for 7 utterances; start fewer\n") and others == [(2, "")] * 7


def test_a_port_in_use_is_reported_in_one_line(program: Program, data: Path) -> None:
    with socket.socket() as occupied:
        occupied.bind(("", 0))
        occupied.listen()
        port = occupied.getsockname()[1]
        environment = os.environ | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": str(port)}
        command = [sys.executable, *arguments_for(program, data)]
        done = subprocess.run(
            command, env=environment | {"MASTER_ADDR": "127.0.0.1"}, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"rank 0: the ranks could not connect at 127.0.0.1:{port}" in done.stderr and "--master_port" in done.stderr
