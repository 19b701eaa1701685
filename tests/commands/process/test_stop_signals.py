"""Signals to a training: before it, during it, after its last word."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands.process.stop_signals import EXIT_CODES, StopSignals, interruptible
from commands.process.watchdog import PROGRAM
from training.trainer import Limits


@pytest.mark.parametrize("number", EXIT_CODES)
def test_before_a_training_it_ends_and_what_signals_mean_comes_back(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end, StopSignals(Limits()):
        signal.raise_signal(number)
    assert end.value.code == EXIT_CODES[number] and signal.getsignal(number) == before


def test_during_it_it_is_asked_to_stop_and_the_second_ctrl_c_does_not_wait() -> None:
    limits = Limits()
    with pytest.raises(SystemExit) as end, StopSignals(limits) as signals:
        signals.training_starts()
        signal.raise_signal(signal.SIGINT)
        assert limits.stop == "SIGINT"
        signal.raise_signal(signal.SIGINT)
    assert end.value.code == 130


def test_after_its_last_word_ctrl_c_changes_nothing_any_more() -> None:
    limits, before = Limits(), signal.getsignal(signal.SIGTERM)
    with StopSignals(limits) as signals:
        signals.training_starts()
        signals.training_ends()
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert limits.stop is None and signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", EXIT_CODES)
def test_waiting_for_the_last_messages_can_be_interrupted_although_signals_meant_nothing(number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = {each: signal.getsignal(each) for each in EXIT_CODES}
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    assert {each: signal.getsignal(each) for each in EXIT_CODES} == before


def test_while_it_is_still_starting_it_ends_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "commands.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n", encoding="utf-8")
    program = f"import runpy; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_watchdog_at_its_end_is_not_interrupted() -> None:
    """Whatever the moment: between the exit of the training and its own it ignores Ctrl-C."""
    program = (
        "import signal, sys\n"
        "from commands.process import watchdog\n"
        "from commands.options import TrainOptions\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "watchdog.watch = lambda *_, **__: 0\n"
        "options = TrainOptions(companion='off')\n"
        "assert watchdog.run(options) == 0\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=PROGRAM.parent, check=True)
