"""The watchdog restarts a training that crashes or hangs, and no other."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

import train_enhanced
from commands.options import TrainOptions
from commands.process.watchdog import resume_arguments, watch
from files import REPOSITORY
from models.checkpoint_file import load_checkpoint
from smart_tuner.settings import WatchdogSettings
from tests.commands.process.watched import child_of, is_alive, options, stand_in
from tests.support.program import UNWATCHED, Program, journal, losses, start, summary, tiny, wait_for
from tests.support.warm_start import WarmProcess

SETTINGS = WatchdogSettings(least_patience_seconds=0.3, start_patience_seconds=60.0)
FREQUENT: dict[str, Any] = {"epochs": 500, "iters_per_checkpoint": 4, "iters_per_evaluation": 1000, "cpu_threads": 1}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a run, also the current folder; the last line of its journal is torn."""
    (tmp_path / "journal.jsonl").write_bytes(b'{"kind": "started"}\n{"ki')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def n_starts(run: Path) -> int:
    return int((run / "starts").read_text())


def start_watched(program: Program, data: Path, *arguments: object) -> WarmProcess:
    fixed = ["--output", str(program.output), "--data", str(data), "--run_name", "run", *tiny(**FREQUENT)]
    fixed += ["--companion", "off", "--warm_start", "none"]
    return start([*fixed, *map(str, arguments)])


def test_a_killed_training_ends_with_the_losses_of_an_undisturbed_one(program: Program, data: Path) -> None:
    undisturbed = program.trained(data, "--max_steps", 24, run="undisturbed", **FREQUENT)
    process = start_watched(program, data, "--max_steps", 24, "--resume", "none")
    run = program.output / "run"
    wait_for(lambda: (run / "journal.jsonl").is_file() and len(journal(run, "checkpoint")) >= 2, process)
    child_of(process).kill()
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert len(err.splitlines()) == 1 and "SIGKILL" in err
    assert losses(run) == losses(undisturbed)
    (diagnosis,), (intervention,), (resumed,) = (
        journal(run, kind) for kind in ("diagnosis", "intervention", "resumed")
    )
    assert (diagnosis["ailment"], diagnosis["by"]) == ("process_died", "watchdog")
    assert intervention["from_checkpoint"] == resumed["step"] >= 8
    assert summary(run)["status"] == "finished"


def test_a_stop_signal_to_the_watchdog_makes_the_training_save(program: Program, data: Path) -> None:
    process = start_watched(program, data)
    run = program.output / "run"
    wait_for(lambda: (run / "journal.jsonl").is_file() and journal(run, "checkpoint"), process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "")
    assert "stopped by SIGTERM and saved at step" in out
    assert summary(run)["reason"] == "SIGTERM"
    assert load_checkpoint(sorted((run / "checkpoints").iterdir())[-1])["progress"]["step"] == max(losses(run))


def test_a_training_dies_with_its_watchdog(program: Program, data: Path) -> None:
    process = start_watched(program, data)
    run = program.output / "run"
    wait_for(lambda: (run / "journal.jsonl").is_file(), process)
    child = child_of(process)
    process.kill()
    process.communicate(timeout=60)
    child.wait(60)
    assert not is_alive(child)
    with FileLock(run / ".lock", timeout=0):
        pass  # the lock is free


@pytest.mark.parametrize("code", [0, 2, 3, 130, 143])
def test_a_final_exit_code_is_passed_on(run: Path, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert watch(options(), SETTINGS, stand_in(f"sys.exit({code})")) == code
    assert n_starts(run) == 1
    assert capfd.readouterr() == ("", "")


def test_a_reported_end_is_not_followed_by_a_restart(run: Path) -> None:
    assert watch(options(), SETTINGS, stand_in("heartbeat.end(); sys.exit(1)")) == 1
    assert n_starts(run) == 1


def test_a_crash_after_the_reported_end_is_followed_by_a_restart(run: Path) -> None:
    code = "start > 1 and sys.exit(0)\nheartbeat.end()\nos.kill(os.getpid(), signal.SIGSEGV)"
    assert watch(options(), SETTINGS, stand_in(code)) == 0
    assert n_starts(run) == 2


def test_the_watchdog_gives_up_after_three_fruitless_restarts(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (run / "summary.json").write_text('{"status": "running"}', encoding="utf-8")
    assert watch(options(), SETTINGS, stand_in("heartbeat.report_step(5)\nsys.exit(1)")) == 3
    assert n_starts(run) == 4
    *restarts, error = capfd.readouterr().err.splitlines()
    assert [line.split("(")[-1] for line in restarts] == [f"restart {n} of 3)" for n in (1, 2, 3)]
    assert error.startswith("error: the training process failed after step 5 (exit code 1), and 3 restarts")
    kinds = [record["kind"] for record in journal(run)]
    assert kinds == ["started", *["diagnosis", "intervention"] * 3, "diagnosis", "finished"]
    assert summary(run)["status"] == "failed" and "exit code 1" in summary(run)["reason"]


def test_progress_allows_three_more_restarts(run: Path) -> None:
    code = "start == 6 and sys.exit(0)\nheartbeat.report_step(start // 3)\nos.kill(os.getpid(), signal.SIGKILL)"
    assert watch(options(), SETTINGS, stand_in(code)) == 0
    assert n_starts(run) == 6


def test_a_stuck_process_is_killed_with_its_children(run: Path) -> None:
    code = (
        "start > 1 and sys.exit(0)\n"
        "import subprocess\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "Path('other').write_text(str(other.pid))\n"
        "heartbeat.report_step(1); heartbeat.report_step(2)\n"
        "time.sleep(600)\n"
    )
    assert watch(options(), SETTINGS, stand_in(code)) == 0
    diagnosis = journal(run, "diagnosis")[0]
    assert (diagnosis["ailment"], diagnosis["step"]) == ("no_progress", 2)
    assert diagnosis["evidence"]["seconds_without_progress"] > diagnosis["evidence"]["limit_seconds"] == 0.3
    pid = int((run / "other").read_text())
    assert not psutil.pid_exists(pid) or not is_alive(psutil.Process(pid))


def test_a_stopped_process_is_reported_as_stuck(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "start > 1 and sys.exit(0)\n"
        "heartbeat.report_step(1); heartbeat.report_step(2)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    assert watch(options(), SETTINGS, stand_in(code)) == 0
    assert [record["ailment"] for record in journal(run, "diagnosis")] == ["no_progress"]
    assert "made no progress after step 2" in capfd.readouterr().err


def test_a_first_evaluation_may_take_longer_than_a_step(run: Path) -> None:
    code = (
        "heartbeat.report_step(1); heartbeat.report_step(2)\n"
        "heartbeat.begin('evaluation')\n"
        "time.sleep(1.5)\n"
        "sys.exit(0)\n"
    )
    assert watch(options(), SETTINGS, stand_in(code)) == 0
    assert n_starts(run) == 1


def test_the_restarted_process_gets_the_same_folder(run: Path) -> None:
    code = "Path('arguments').write_text(' '.join(sys.argv[1:]))\nsys.exit(0 if start > 1 else 1)"
    assert watch(options("--run_name", "x", "--resume", "none", resume="none"), SETTINGS, stand_in(code)) == 0
    assert (run / "arguments").read_text() == f"--run_name x --resume none --run_name={run.name} --resume=auto"


def test_a_restart_that_crashes_early_does_not_lose_the_folder(run: Path) -> None:
    code = (
        "Path('arguments').write_text(' '.join(sys.argv[1:]))\n"
        "start == 1 and heartbeat.report_folder(run)\n"
        "sys.exit(0 if start == 3 else 1)\n"
    )
    assert watch(options(resume="none"), SETTINGS, stand_in(code, reports_folder=False)) == 0
    assert (run / "arguments").read_text() == f"--run_name={run.name} --resume=auto"
    assert len(journal(run, "diagnosis")) == 2


def test_resume_arguments(tmp_path: Path) -> None:
    run, other, given = tmp_path / "run", tmp_path / "other", str(tmp_path / "other" / "x.pt")
    (run / "checkpoints").mkdir(parents=True)
    same_run = ["--run_name=run"]
    assert resume_arguments(options(), None, minutes=1) == []
    assert resume_arguments(options(), run, minutes=1) == [*same_run, "--resume=auto"]
    assert resume_arguments(options(resume="none"), run, minutes=1) == [*same_run, "--resume=auto"]
    assert resume_arguments(options(resume=given), run, minutes=1) == same_run
    assert resume_arguments(options(resume=str(other)), run, minutes=1) == same_run
    assert resume_arguments(options(resume=str(run)), run, minutes=1) == []
    (run / "checkpoints" / "step-00000004-0123456789abcdef.pt").touch()
    assert resume_arguments(options(resume=given), run, minutes=1) == [*same_run, "--resume=auto"]
    assert resume_arguments(options(resume=str(run)), run, minutes=1) == []


def test_a_restart_gets_the_remaining_minutes() -> None:
    assert resume_arguments(options(max_minutes=10.0), None, minutes=2.5) == ["--max_minutes=7.500000"]
    assert resume_arguments(options(max_minutes=10.0), None, minutes=20.0) == ["--max_minutes=0.001000"]


def parsed(*arguments: str) -> TrainOptions:
    return train_enhanced.parse_options(arguments)


def test_only_a_training_outside_torchrun_runs_under_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in train_enhanced.TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    assert train_enhanced.module_of(parsed()) == "process.watchdog"
    assert train_enhanced.module_of(parsed(*UNWATCHED)) == "train"
    assert train_enhanced.module_of(parsed("--mode", "validate")) == "voice.validate"
    assert train_enhanced.module_of(parsed("--mode", "test")) == "self_test"
    for name in ("TORCHELASTIC_RUN_ID", "LOCAL_RANK"):
        with monkeypatch.context() as torchrun:
            torchrun.setenv(name, "0")
            assert train_enhanced.module_of(parsed()) == "train"


def test_the_watchdog_imports_no_slow_library(run: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from tests.commands.process.watched import options, stand_in\n"
        "import commands.process.watchdog as watchdog\n"
        "from smart_tuner.settings import WatchdogSettings\n"
        "assert watchdog.watch(options(), WatchdogSettings(), stand_in('sys.exit(1)')) == 3\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'soundfile', 'rich', 'numba'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
