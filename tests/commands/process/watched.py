"""Small processes that stand in for a training, and a watchdog in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from commands.options import TrainOptions
from files import REPOSITORY

if TYPE_CHECKING:  # a test checks that the watchdog does not import torch
    from tests.support.program import Process

PREFACE = f"""
import os, signal, sys, time
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from commands.process.heartbeat import open_heartbeat
heartbeat = open_heartbeat()
run = Path.cwd()
"""
COUNT_STARTS = """
starts = run / "starts"
start = 1 + (int(starts.read_text()) if starts.exists() else 0)
starts.write_text(str(start))
"""
"""The current folder is the run's; `start` is 1 in the first process, 2 in the one that replaces it."""
REPORT_FOLDER = "heartbeat.report_folder(run)\n"
WATCHDOG = """
import sys
sys.path.insert(0, {root!r})
from commands.options import TrainOptions
from commands.process.watchdog import watch
from smart_tuner.settings import WatchdogSettings
sys.exit(watch(TrainOptions(), WatchdogSettings(), lambda _: [sys.executable, "-c", {child!r}]))
"""


def options(*arguments: str, resume: str = "auto", max_minutes: float | None = None) -> TrainOptions:
    return TrainOptions(arguments=arguments, resume=resume, max_minutes=max_minutes)


def stand_in(code: str, *, reports_folder: bool = True) -> Callable[[Sequence[str]], list[str]]:
    """Command of a process that runs the code; it gets the arguments of the training."""
    program = PREFACE + COUNT_STARTS + (REPORT_FOLDER if reports_folder else "") + code
    return lambda arguments: [sys.executable, "-c", program, *arguments]


def start_watchdog(child: str, run: Path) -> subprocess.Popen[str]:
    """Start a watchdog over a process that runs the code in that folder."""
    program = PREFACE + COUNT_STARTS + REPORT_FOLDER + child
    return subprocess.Popen(
        [sys.executable, "-c", WATCHDOG.format(root=str(REPOSITORY), child=program)],
        cwd=run,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def child_of(watchdog: Process) -> psutil.Process:
    (child,) = psutil.Process(watchdog.pid).children()
    return child


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs; a zombie, which ended but has not been waited for, does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
