"""Stop signals to a training, and to a watchdog that forwards them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from commands.process.exit_codes import STOP_SIGNALS
from commands.process.signals import StopSignals, interruptible_wait
from commands.process.watchdog import PROGRAM
from tests.commands.process.watched import child_of, is_alive, start_watchdog
from tests.support.program import wait_for
from training.run_state import RunLimits

EXITS_AT_THE_SECOND_SIGNAL = """
def on_signal(number, frame):
    with Path("received").open("a") as file:
        file.write(f"{signal.Signals(number).name}\\n")
    if len(Path("received").read_text().splitlines()) == 2:
        sys.exit(130)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, on_signal)
Path("ready").touch()
while True:
    time.sleep(0.1)  # one long sleep would delay a signal that arrives just before it
"""
SLEEPS = "Path('ready').touch()\nwhile True:\n    time.sleep(0.1)\n"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_before_training_exits_and_the_earlier_handler_is_restored(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end, StopSignals(RunLimits()):
        signal.raise_signal(number)
    assert end.value.code == STOP_SIGNALS[number] and signal.getsignal(number) == before


def test_the_first_signal_during_training_sets_the_stop_and_a_second_ctrl_c_exits() -> None:
    limits = RunLimits()
    with pytest.raises(SystemExit) as end, StopSignals(limits) as signals:
        signals.training_starts()
        signal.raise_signal(signal.SIGINT)
        assert limits.stop == "SIGINT"
        signal.raise_signal(signal.SIGINT)
    assert end.value.code == 130


def test_ctrl_c_after_training_is_ignored() -> None:
    limits, before = RunLimits(), signal.getsignal(signal.SIGTERM)
    with StopSignals(limits) as signals:
        signals.training_starts()
        signals.training_ends()
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert limits.stop is None and signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_waiting_for_the_companion_can_be_interrupted_while_signals_are_ignored(number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    with pytest.raises(KeyboardInterrupt), interruptible_wait():
        signal.raise_signal(number)
    assert {each: signal.getsignal(each) for each in STOP_SIGNALS} == before


def test_ctrl_c_during_imports_exits_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "commands.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n", encoding="utf-8")
    program = f"import runpy; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_is_ignored_between_the_exits_of_training_and_watchdog() -> None:
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_watchdog_forwards_each_signal_once(tmp_path: Path, number: signal.Signals) -> None:
    received = tmp_path / "received"
    watchdog = start_watchdog(EXITS_AT_THE_SECOND_SIGNAL, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    watchdog.send_signal(number)
    wait_for(lambda: received.exists() and received.read_text() == f"{number.name}\n", watchdog)
    watchdog.send_signal(number)
    out, err = watchdog.communicate(timeout=60)
    assert (watchdog.returncode, out, err) == (130, "", "")
    assert received.read_text() == f"{number.name}\n" * 2
    assert (tmp_path / "starts").read_text() == "1"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_process_without_handlers_ends_by_the_forwarded_signal(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    watchdog = start_watchdog(SLEEPS, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    watchdog.send_signal(number)
    assert watchdog.communicate(timeout=60) == ("", "")
    assert watchdog.returncode == code
    assert (tmp_path / "starts").read_text() == "1"


def test_a_process_that_is_killed_while_it_stops_is_not_restarted(tmp_path: Path) -> None:
    watchdog = start_watchdog(EXITS_AT_THE_SECOND_SIGNAL, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    watchdog.send_signal(signal.SIGTERM)
    wait_for((tmp_path / "received").exists, watchdog)
    child_of(watchdog).kill()
    _, err = watchdog.communicate(timeout=60)
    assert watchdog.returncode == 128 + signal.SIGKILL
    assert "before it had saved" in err and len(err.splitlines()) == 1
    assert (tmp_path / "starts").read_text() == "1"


def test_ctrl_z_pauses_watchdog_and_training_together(tmp_path: Path) -> None:
    watchdog = start_watchdog(EXITS_AT_THE_SECOND_SIGNAL, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    both = [psutil.Process(watchdog.pid), child_of(watchdog)]
    watchdog.send_signal(signal.SIGTSTP)
    wait_for(lambda: all(process.status() == psutil.STATUS_STOPPED for process in both), watchdog)
    watchdog.send_signal(signal.SIGCONT)
    wait_for(lambda: all(process.status() != psutil.STATUS_STOPPED for process in both), watchdog)
    watchdog.kill()
    watchdog.communicate(timeout=60)


def test_killing_the_watchdog_kills_even_a_stopped_process(tmp_path: Path) -> None:
    watchdog = start_watchdog(SLEEPS, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    child = child_of(watchdog)
    child.suspend()
    watchdog.kill()
    watchdog.communicate(timeout=60)
    child.wait(60)
    assert not is_alive(child)
