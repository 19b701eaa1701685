"""The parent of a training: notices when it dies or hangs, and has it go on from the last checkpoint."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from commands.options import TrainOptions
from commands.process.child_process import Session, WatchedProcess
from commands.process.companion_process import CompanionProcess
from commands.process.crash_report import Death, newest_checkpoint_step
from commands.process.forwarded_signals import ForwardedSignals
from commands.process.stop_signals import EXIT_CODES
from files import REPOSITORY
from smart_tuner.settings import WatchdogSettings, load_settings
from training.progress_timeout import ProgressTimeout

MAX_RESTARTS = 3
"""In a row, without a step beyond those that were reached before."""
EXIT_HOPELESS = 3
FINAL = frozenset({0, 2, EXIT_HOPELESS, *EXIT_CODES.values()})
"""Exit codes that were meant: a restart would end the same way, or is not wanted."""
PROGRAM = REPOSITORY / "train_enhanced.py"
SHORTEST_MINUTES = 0.001

Command = Callable[[Sequence[str]], list[str]]


def run(options: TrainOptions) -> int:
    settings, companion = load_settings(options.config).watchdog, CompanionProcess(options)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # but within watch(), which passes it on
    try:
        return watch(options, settings, on_training=companion.start if options.companion == "on" else lambda _run: None)
    finally:
        companion.finish()


def training_command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, str(PROGRAM), *arguments, "--watchdog=off"]


def watch(
    options: TrainOptions,
    settings: WatchdogSettings,
    command: Command = training_command,
    on_training: Callable[[Path], None] = lambda _run: None,
) -> int:
    """Start the training, again and again if need be; returns the exit code of the last one, or 3 on giving up."""
    patience = ProgressTimeout(
        least_seconds=settings.least_patience_seconds, start_seconds=settings.start_patience_seconds
    )
    began, arguments = time.monotonic(), list(options.arguments)
    folder, highest_step, restarts = None, 0, 0
    with ForwardedSignals() as signals:
        while True:
            session = WatchedProcess(command(arguments), patience, signals, on_training).attend()
            folder = session.folder = session.folder or folder  # a restart may die before it comes there
            death, step = Death(session), session.last_step or 0
            if was_meant(session):
                return exit_code(session)
            if signals.asked is not None:
                return _end_unsaved(death)
            if step > highest_step:
                highest_step, restarts = step, 0
            if restarts == MAX_RESTARTS:
                return _give_up(death)
            restarts += 1
            death.record(gave_up=None)
            _say_restart(death, restarts)
            if signals.asked is not None:  # just now, with no process left to pass it on to
                return EXIT_CODES[signals.asked]
            minutes = (time.monotonic() - began) / 60
            arguments = [*options.arguments, *going_on(options, folder, minutes=minutes)]


def exit_code(session: Session) -> int:
    """As a shell has it; a signal that the program answers counts as answered."""
    code = session.returncode
    return code if code >= 0 else EXIT_CODES.get(-code, 128 - code)


def was_meant(session: Session) -> bool:
    """Whether the training is over; one that crashed after its last word has yet to say so in an exit code."""
    return exit_code(session) in FINAL or (session.was_meant_to_end and session.returncode >= 0)


def going_on(options: TrainOptions, folder: Path | None, *, minutes: float) -> list[str]:
    """What to add to the arguments (the last of two counts) for the same run to go on after so many minutes."""
    more = []
    if options.max_minutes is not None:
        more.append(f"--max_minutes={max(options.max_minutes - minutes, SHORTEST_MINUTES):.6f}")
    if folder is None or Path(options.resume).resolve() == folder.resolve():
        return more
    more.append(f"--run_name={folder.name}")
    # one that was to go on from elsewhere and has no checkpoint of its own yet still has to go on from there
    if options.resume in ("auto", "none") or newest_checkpoint_step(folder) is not None:
        more.append("--resume=auto")
    return more


def _say_restart(death: Death, restarts: int) -> None:
    step = death.checkpoint_step
    where = "it starts again" if step is None else f"it goes on from step {step}"
    _say(f"watchdog: the training process {death.in_words}; {where} (restart {restarts} of {MAX_RESTARTS})")


def _give_up(death: Death) -> int:
    reason = f"the training process {death.in_words}, and {MAX_RESTARTS} restarts brought it no further"
    death.record(gave_up=reason)
    _say(f"error: {reason}; see what it said above, remove the cause, and the same command goes on")
    return EXIT_HOPELESS


def _end_unsaved(death: Death) -> int:
    _say(f"watchdog: the training process {death.in_words} before it had saved; the same command goes on")
    return exit_code(death.session)


def _say(line: str) -> None:
    """On a terminal the dead process may have left a progress bar without its end, and no cursor."""
    show_cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{show_cursor}{line}\n")
