"""Parent of a training process: restarts it from the last checkpoint when it crashes or hangs."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from commands.options import TrainOptions
from commands.process.child_process import ProcessOutcome, WatchedProcess
from commands.process.companion_process import CompanionProcess
from commands.process.crash_report import CrashReport, newest_checkpoint_step
from commands.process.exit_codes import EXIT_HOPELESS, EXIT_USER_ERROR, STOP_SIGNALS
from commands.process.signals import SignalForwarder
from files import REPOSITORY
from smart_tuner.settings import WatchdogSettings, load_settings
from training.progress_timeout import ProgressTimeout

MAX_RESTARTS = 3
"""Restarts in a row without a step beyond those reached before."""
FINAL_EXIT_CODES = frozenset({0, EXIT_USER_ERROR, EXIT_HOPELESS, *STOP_SIGNALS.values()})
"""Exit codes after which a restart would end the same way, or is not wanted."""
PROGRAM = REPOSITORY / "train_enhanced.py"
MIN_MINUTES = 0.001

Command = Callable[[Sequence[str]], list[str]]


def run(options: TrainOptions) -> int:
    settings, companion = load_settings(options.config).watchdog, CompanionProcess(options)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while watch() runs, it forwards Ctrl-C instead
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
    """Run the training, restart it as needed; return the exit code of the last process, or 3 on giving up."""
    timeout = ProgressTimeout(
        least_seconds=settings.least_patience_seconds, start_seconds=settings.start_patience_seconds
    )
    start, arguments = time.monotonic(), list(options.arguments)
    run, highest_step, restarts = None, 0, 0
    with SignalForwarder() as signals:
        while True:
            outcome = WatchedProcess(command(arguments), timeout, signals, on_training).wait()
            run = outcome.run = outcome.run or run  # a restarted process may crash before it reports its folder
            report, step = CrashReport(outcome), outcome.last_step or 0
            if is_final(outcome):
                return outcome.exit_code
            if signals.received is not None:
                return _end_unsaved(report)
            if step > highest_step:
                highest_step, restarts = step, 0
            if restarts == MAX_RESTARTS:
                return _give_up(report)
            restarts += 1
            report.write(give_up_reason=None)
            _print_restart(report, restarts)
            if signals.received is not None:  # it arrived just now, when there was no process to forward it to
                return STOP_SIGNALS[signals.received]
            minutes = (time.monotonic() - start) / 60
            arguments = [*options.arguments, *resume_arguments(options, run, minutes=minutes)]


def is_final(outcome: ProcessOutcome) -> bool:
    """Whether no restart is needed. A process that was killed after it had reported its end is restarted."""
    return outcome.exit_code in FINAL_EXIT_CODES or (outcome.reported_end and outcome.returncode >= 0)


def resume_arguments(options: TrainOptions, run: Path | None, *, minutes: float) -> list[str]:
    """Arguments that make the original command continue the same run after `minutes`; the last of two values counts."""
    more = []
    if options.max_minutes is not None:
        more.append(f"--max_minutes={max(options.max_minutes - minutes, MIN_MINUTES):.6f}")
    given = options.resume_path
    if run is None or (given is not None and given.resolve() == run.resolve()):
        return more
    more.append(f"--run_name={run.name}")
    # A run that branched off another one and has no checkpoint of its own yet must start from the other one again.
    if given is None or newest_checkpoint_step(run) is not None:
        more.append("--resume=auto")
    return more


def _print_restart(report: CrashReport, restarts: int) -> None:
    step = report.checkpoint_step
    where = "it starts again" if step is None else f"it continues from step {step}"
    _print(f"watchdog: the training process {report.description}; {where} (restart {restarts} of {MAX_RESTARTS})")


def _give_up(report: CrashReport) -> int:
    reason = f"the training process {report.description}, and {MAX_RESTARTS} restarts brought it no further"
    report.write(give_up_reason=reason)
    _print(f"error: {reason}; see its messages above, remove the cause, and run the same command again")
    return EXIT_HOPELESS


def _end_unsaved(report: CrashReport) -> int:
    _print(f"watchdog: the training process {report.description} before it had saved; the same command continues it")
    return report.outcome.exit_code


def _print(line: str) -> None:
    """Write to standard error; on a terminal first end the progress bar of the dead process and show the cursor."""
    show_cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{show_cursor}{line}\n")
