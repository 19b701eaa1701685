"""Small processes in the place of a training, and a watchdog in a process of its own."""

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

if TYPE_CHECKING:  # the watchdog is to be light
    from tests.commands.program import Process

PREFACE = f"""
import os, signal, sys, time
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from commands.process.heartbeat import open_heartbeat
heartbeat = open_heartbeat()
run = Path.cwd()
"""
SESSION = """
sessions = run / "sessions"
session = 1 + (int(sessions.read_text()) if sessions.exists() else 0)
sessions.write_text(str(session))
"""
"""Counts how often it was started; the current folder is the run's."""
STARTED = "heartbeat.started(run)\n"
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


def stand_in(code: str, *, says_where: bool = True) -> Callable[[Sequence[str]], list[str]]:
    """The command of a process that runs the code; its arguments are those that a training would get."""
    whole = PREFACE + SESSION + (STARTED if says_where else "") + code
    return lambda arguments: [sys.executable, "-c", whole, *arguments]


def start_watchdog(child: str, run: Path) -> subprocess.Popen[str]:
    """A watchdog over a process that runs the code, in that folder."""
    return subprocess.Popen(
        [sys.executable, "-c", WATCHDOG.format(root=str(REPOSITORY), child=PREFACE + SESSION + STARTED + child)],
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
    """One that nobody has asked about yet is dead all the same."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
