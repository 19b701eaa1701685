"""What the watchdog is asked reaches the process it watches."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from tests.commands.process.watched import child_of, is_alive, start_watchdog
from tests.commands.program import wait_for

ENDS_ON_THE_SECOND_SIGNAL = """
def received(number, frame):
    with Path("received").open("a") as file:
        file.write(f"{signal.Signals(number).name}\\n")
    if len(Path("received").read_text().splitlines()) == 2:
        sys.exit(130)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, received)
Path("ready").touch()
while True:
    time.sleep(0.1)  # a signal just before a long sleep would be heard after it
"""
SLEEPS = "Path('ready').touch()\nwhile True:\n    time.sleep(0.1)\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_each_is_passed_on_once(tmp_path: Path, number: signal.Signals) -> None:
    received = tmp_path / "received"
    watchdog = start_watchdog(ENDS_ON_THE_SECOND_SIGNAL, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    watchdog.send_signal(number)
    wait_for(lambda: received.exists() and received.read_text() == f"{number.name}\n", watchdog)
    watchdog.send_signal(number)
    out, err = watchdog.communicate(timeout=60)
    assert (watchdog.returncode, out, err) == (130, "", "")
    assert received.read_text() == f"{number.name}\n" * 2
    assert (tmp_path / "sessions").read_text() == "1"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_process_that_does_not_answer_them_yet_ends_by_them(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    watchdog = start_watchdog(SLEEPS, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    watchdog.send_signal(number)
    assert watchdog.communicate(timeout=60) == ("", "")
    assert watchdog.returncode == code
    assert (tmp_path / "sessions").read_text() == "1"


def test_one_that_is_killed_on_its_way_to_stop_is_not_started_again(tmp_path: Path) -> None:
    watchdog = start_watchdog(ENDS_ON_THE_SECOND_SIGNAL, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    watchdog.send_signal(signal.SIGTERM)
    wait_for((tmp_path / "received").exists, watchdog)
    child_of(watchdog).kill()
    _, err = watchdog.communicate(timeout=60)
    assert watchdog.returncode == 128 + signal.SIGKILL
    assert "before it had saved" in err and len(err.splitlines()) == 1
    assert (tmp_path / "sessions").read_text() == "1"


def test_both_pause_and_go_on_together(tmp_path: Path) -> None:
    watchdog = start_watchdog(ENDS_ON_THE_SECOND_SIGNAL, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    both = [psutil.Process(watchdog.pid), child_of(watchdog)]
    watchdog.send_signal(signal.SIGTSTP)
    wait_for(lambda: all(process.status() == psutil.STATUS_STOPPED for process in both), watchdog)
    watchdog.send_signal(signal.SIGCONT)
    wait_for(lambda: all(process.status() != psutil.STATUS_STOPPED for process in both), watchdog)
    watchdog.kill()
    watchdog.communicate(timeout=60)


def test_a_killed_watchdog_takes_even_a_stopped_process_along(tmp_path: Path) -> None:
    watchdog = start_watchdog(SLEEPS, tmp_path)
    wait_for((tmp_path / "ready").exists, watchdog)
    child = child_of(watchdog)
    child.suspend()
    watchdog.kill()
    watchdog.communicate(timeout=60)
    child.wait(60)
    assert not is_alive(child)
