"""Resuming after kill -9 at random moments, compared bit for bit with an undisturbed training.

`python -m benchmarks kills` kills a small demo training 20 times (some minutes on two cores) and prints a line for each
kill. It exits 1 when a requirement is missed: the losses after every resume equal those of the undisturbed run, and at
most the steps since the last checkpoint are lost.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.program import read_records, step_values
from benchmarks.reporting import Write, conclude
from corpus.demo.demo_corpus import make_demo_corpus
from files import REPOSITORY

KINDS: tuple[Literal["start", "training", "save"], ...] = ("training", "save", "training", "start", "training")
MAX_SECONDS = {"start": 6.0, "training": 4.0, "save": 3.0}
UTTERANCES, STEPS, STEPS_PER_CHECKPOINT = 200, 120, 5
SETTINGS = f"iters_per_checkpoint={STEPS_PER_CHECKPOINT},iters_per_evaluation=40,evaluation_utterances=4,batch_size=4"
CONFIG = "progress_every_seconds: 0.001\n"  # every step prints a line, from which the step of a kill is read
# Simulates a slow disk: time for a kill between the complete temporary file of a checkpoint and its renaming.
SLOW_DISK = """
import os, sys, time
replace = os.replace
def replace_slowly(source, target):
    time.sleep(0.2 if "checkpoints" in str(target) else 0)
    replace(source, target)
os.replace = replace_slowly
import train_enhanced
sys.exit(train_enhanced.main(sys.argv[1:]))
"""
COLUMNS = ("total_loss", "mel_loss", "gate_loss", "guide_loss", "gradient_norm", "learning_rate")

StepValues = tuple[float | None, ...]
"""Values of the COLUMNS at one step."""


@dataclass(frozen=True)
class KillMoment:
    """Moment of a kill: seconds after the start, or after the first step; `save`: in the first save after that."""

    kind: Literal["start", "training", "save"]
    seconds: float


@dataclass(frozen=True)
class Kill:
    """State of a run in which its process was killed."""

    moment: KillMoment
    step: int | None  # the last one printed; None: before the first
    left_temporary_file: bool  # of a checkpoint
    n_records: int  # in the journal at that time


@dataclass(frozen=True)
class ResumeCheck:
    """Comparison of a resumed session with the undisturbed run."""

    kill: Kill
    resumed_from: int
    is_identical: bool

    @property
    def lost_steps(self) -> int:
        return 0 if self.kill.step is None else self.kill.step - self.resumed_from


def random_moments(seed: int) -> Iterator[KillMoment]:
    """Yield moments without end, the same ones for the same seed."""
    rng = random.Random(seed)
    for kind in itertools.cycle(KINDS):
        yield KillMoment(kind, rng.uniform(0, MAX_SECONDS[kind]))


def start_training(arguments: Sequence[str], run: Path) -> subprocess.Popen[bytes]:
    """Start a training in its own process group, on a slow disk; its output goes to a log beside the run."""
    config = run.with_name(f"{run.name}.yaml")
    run.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(CONFIG, encoding="utf-8")
    options = [*arguments, "--output", str(run.parent), "--run_name", run.name, "--config", str(config)]
    options += ["--watchdog", "off", "--companion", "off"]  # only this benchmark may restart it
    with _log_path(run).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", SLOW_DISK, *options], cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
        )


def kill_at(moment: KillMoment, process: subprocess.Popen[bytes], run: Path) -> Kill | None:
    """Kill the whole process group at that moment; None if it had ended by itself."""
    if moment.kind != "start":
        _wait(lambda: _last_step(run) is not None, process)
    deadline = time.monotonic() + moment.seconds
    _wait(lambda: time.monotonic() >= deadline, process)
    if moment.kind == "save":
        _wait(lambda: _has_temporary_file(run), process)
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return Kill(moment, _last_step(run), _has_temporary_file(run), len(read_records(run)))


def train_to_end(arguments: Sequence[str], run: Path) -> None:
    _require_success(start_training(arguments, run), run)


def train_with_kills(arguments: Sequence[str], run: Path, moments: Iterable[KillMoment]) -> list[Kill]:
    """Train and kill in turns until the run is finished, which may be before all moments are used."""
    kills: list[Kill] = []
    for moment in moments:
        process = start_training(arguments, run)
        kill = kill_at(moment, process, run)
        if kill is None:
            _require_success(process, run)
            return kills
        kills.append(kill)
    train_to_end(arguments, run)
    return kills


def check_resumes(kills: Sequence[Kill], run: Path, reference: Path) -> list[ResumeCheck]:
    """Compare each session that followed a kill with the undisturbed run; a kill after the last record has none."""
    records, expected = read_records(run), values_by_step(read_records(reference))
    checks = []
    for kill in kills:
        later = records[kill.n_records :]
        starts = [i for i, record in enumerate(later) if record["kind"] in ("started", "resumed")]
        if not starts:
            continue
        session = later[starts[0] : (starts + [len(later)])[1]]
        is_identical = all(expected.get(step) == values for step, values in values_by_step(session).items())
        checks.append(ResumeCheck(kill, int(session[0]["step"]), is_identical))
    return checks


def values_by_step(records: Sequence[dict[str, Any]]) -> dict[int, StepValues]:
    """Values of each step in full precision; of a step that was repeated, the later ones."""
    return dict(step_values(records, *COLUMNS))


def has_same_losses(run: Path, reference: Path) -> bool:
    """Whether the run has all steps of the undisturbed one, with equal values."""
    return values_by_step(read_records(run)) == values_by_step(read_records(reference))


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.001)


def _require_success(process: subprocess.Popen[bytes], run: Path) -> None:
    if process.wait() != 0:
        raise RuntimeError(f"expected exit 0, got {process.returncode}:\n{_log_path(run).read_text(encoding='utf-8')}")


def _log_path(run: Path) -> Path:
    return run.with_name(f"{run.name}.log")


def _last_step(run: Path) -> int | None:
    steps = re.findall(r"^step (\d+)/", _log_path(run).read_text(encoding="utf-8"), re.MULTILINE)
    return int(steps[-1]) if steps else None


def _has_temporary_file(run: Path) -> bool:
    return any((run / "checkpoints").glob(".*.tmp"))


def _line(number: int, check: ResumeCheck) -> str:
    kill = check.kill
    moment = f"{kill.moment.kind} + {kill.moment.seconds:.2f} s" + (", half a file" if kill.left_temporary_file else "")
    step = "–" if kill.step is None else str(kill.step)
    identical = "yes" if check.is_identical else "NO"
    return f"{number:>2}  {moment:<30} {step:>7} {check.resumed_from:>12} {check.lost_steps:>5}  {identical}\n"


def run_benchmark(folder: Path, *, n_kills: int, seed: int, write: Write) -> bool:
    """Kill trainings until there are enough resumed sessions; whether all requirements are met."""
    corpus = make_demo_corpus(folder, "en-us", UTTERANCES)
    arguments = ["--data", str(corpus), "--preset", "demo", "--device", "cpu", "--warm_start", "none"]
    arguments += ["--max_steps", str(STEPS), "--hparams", SETTINGS]
    reference = folder / "undisturbed"
    train_to_end(arguments, reference)
    write("    moment                            step resumed from  lost  identical\n")
    moments, runs = random_moments(seed), (folder / f"killed-{number}" for number in itertools.count())
    is_met, done = True, 0
    while done < n_kills:
        run = next(runs)
        kills = train_with_kills(arguments, run, itertools.islice(moments, n_kills - done))
        for check in check_resumes(kills, run, reference):
            done += 1
            write(_line(done, check))
            is_met &= check.is_identical and 0 <= check.lost_steps <= STEPS_PER_CHECKPOINT
        is_met &= has_same_losses(run, reference)
    return is_met


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the runs are kept; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        is_met = run_benchmark(folder, n_kills=options.kills, seed=options.seed, write=sys.stdout.write)
    return conclude(sys.stdout.write, is_met=is_met)


if __name__ == "__main__":
    sys.exit(main())
