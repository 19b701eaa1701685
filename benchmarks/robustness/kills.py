"""Kill a training at random moments: does going on give, bit for bit, the run that nobody killed?

`python -m benchmarks kills` kills a small demo training 20 times (some minutes on two cores), prints a line a kill and
exits 1 when a bar fails: the losses after every resume equal those of the undisturbed run, and no more steps are lost
than lie between two checkpoints.
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

from corpus.demo.demo_corpus import make_demo_corpus
from files import REPOSITORY
from monitoring.journal.journal import read_journal

KINDS: tuple[Literal["start", "training", "save"], ...] = ("training", "save", "training", "start", "training")
UTTERANCES, STEPS, STEPS_PER_CHECKPOINT = 200, 120, 5
RECIPE = f"iters_per_checkpoint={STEPS_PER_CHECKPOINT},iters_per_evaluation=40,evaluation_utterances=4,batch_size=4"
CONFIG = "progress_every_seconds: 0.001\n"  # every step leaves a line, so that the step of death is known
# A slow disk: between a checkpoint's complete temporary file and its name there is time to be killed.
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

Row = tuple[float | None, ...]


@dataclass(frozen=True)
class Moment:
    """When to kill: so long after the start or after the first step; `save`: in the next save after that."""

    kind: Literal["start", "training", "save"]
    seconds: float


@dataclass(frozen=True)
class Death:
    """What a kill interrupted."""

    moment: Moment
    step: int | None  # the last that was reported; None: before the first
    half_written: bool  # whether a checkpoint's temporary file was left behind
    records: int  # in the journal at that time


@dataclass(frozen=True)
class Verdict:
    """What became of the run after a death."""

    death: Death
    resumed_from: int
    identical: bool

    @property
    def lost_steps(self) -> int:
        return 0 if self.death.step is None else self.death.step - self.resumed_from


def random_moments(seed: int) -> Iterator[Moment]:
    """Without end, the same ones for the same seed."""
    rng = random.Random(seed)
    longest = {"start": 6.0, "training": 4.0, "save": 3.0}
    for kind in itertools.cycle(KINDS):
        yield Moment(kind, rng.uniform(0, longest[kind]))


def train(arguments: Sequence[str], run: Path) -> subprocess.Popen[bytes]:
    """A training in a process group of its own, on a slow disk; what it says goes to a log beside the run."""
    config = run.with_name(f"{run.name}.yaml")
    run.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(CONFIG, encoding="utf-8")
    options = [*arguments, "--output", str(run.parent), "--run_name", run.name, "--config", str(config)]
    options += ["--watchdog", "off", "--companion", "off"]  # nobody but this benchmark is to start it again
    with _log(run).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", SLOW_DISK, *options], cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
        )


def kill_at(moment: Moment, process: subprocess.Popen[bytes], run: Path) -> Death | None:
    """Kill the whole process group at that moment; None when it had ended by itself."""
    if moment.kind != "start":
        _wait(lambda: _last_step(run) is not None, process)
    deadline = time.monotonic() + moment.seconds
    _wait(lambda: time.monotonic() >= deadline, process)
    if moment.kind == "save":
        _wait(lambda: _half_written(run), process)
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return Death(moment, _last_step(run), _half_written(run), len(_journal(run)))


def finish(arguments: Sequence[str], run: Path) -> None:
    process = train(arguments, run)
    _require_success(process, run)


def killed_run(arguments: Sequence[str], run: Path, moments: Iterable[Moment]) -> list[Death]:
    """Train, be killed, go on, until the run is done; takes as many moments as it meets."""
    deaths: list[Death] = []
    for moment in moments:
        process = train(arguments, run)
        death = kill_at(moment, process, run)
        if death is None:
            _require_success(process, run)
            return deaths
        deaths.append(death)
    finish(arguments, run)
    return deaths


def judge(deaths: Sequence[Death], run: Path, reference: Path) -> list[Verdict]:
    """Compare every session that followed a death with the undisturbed run; after its last word there is none."""
    records, expected = _journal(run), rows(_journal(reference))
    verdicts = []
    for death in deaths:
        later = records[death.records :]
        starts = [i for i, record in enumerate(later) if record["kind"] in ("started", "resumed")]
        if not starts:
            continue
        session = later[starts[0] : (starts + [len(later)])[1]]
        identical = all(expected.get(step) == row for step, row in rows(session).items())
        verdicts.append(Verdict(death, int(session[0]["step"]), identical))
    return verdicts


def rows(records: Sequence[dict[str, Any]]) -> dict[int, Row]:
    """Step → what was measured there in full precision; what was recorded later counts."""
    found: dict[int, Row] = {}
    for record in records:
        if record["kind"] == "steps":
            columns = [record["signals"][name] for name in COLUMNS]
            found |= dict(zip(record["steps"], zip(*columns, strict=True), strict=True))
    return found


def is_whole(run: Path, reference: Path) -> bool:
    """Whether the run came to hold all of the undisturbed one's losses."""
    return rows(_journal(run)) == rows(_journal(reference))


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.001)


def _require_success(process: subprocess.Popen[bytes], run: Path) -> None:
    if process.wait() != 0:
        raise RuntimeError(f"expected exit 0, got {process.returncode}:\n{_log(run).read_text(encoding='utf-8')}")


def _log(run: Path) -> Path:
    return run.with_name(f"{run.name}.log")


def _last_step(run: Path) -> int | None:
    steps = re.findall(r"^step (\d+)/", _log(run).read_text(encoding="utf-8"), re.MULTILINE)
    return int(steps[-1]) if steps else None


def _half_written(run: Path) -> bool:
    return any((run / "checkpoints").glob(".*.tmp"))


def _journal(run: Path) -> list[dict[str, Any]]:
    path = run / "journal.jsonl"
    return read_journal(path) if path.is_file() else []


def _line(number: int, verdict: Verdict) -> str:
    death = verdict.death
    moment = f"{death.moment.kind} + {death.moment.seconds:.2f} s" + (", half a file" if death.half_written else "")
    step = "–" if death.step is None else str(death.step)
    same = "yes" if verdict.identical else "NO"
    return f"{number:>2}  {moment:<30} {step:>7} {verdict.resumed_from:>12} {verdict.lost_steps:>5}  {same}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the runs are kept; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        corpus = make_demo_corpus(folder, "en-us", UTTERANCES)
        arguments = [
            "--data",
            str(corpus),
            "--preset",
            "demo",
            "--max_steps",
            str(STEPS),
            "--hparams",
            RECIPE,
            "--device",
            "cpu",
        ]
        reference = folder / "undisturbed"
        finish(arguments, reference)
        sys.stdout.write("    moment                            step resumed from  lost  identical\n")
        moments = random_moments(options.seed)
        passed, done = True, 0
        runs = (folder / f"killed-{number}" for number in itertools.count())
        while done < options.kills:
            run = next(runs)
            deaths = killed_run(arguments, run, itertools.islice(moments, options.kills - done))
            for verdict in judge(deaths, run, reference):
                done += 1
                sys.stdout.write(_line(done, verdict))
                passed &= verdict.identical and 0 <= verdict.lost_steps <= STEPS_PER_CHECKPOINT
            passed &= is_whole(run, reference)
        sys.stdout.write("passed\n" if passed else "failed\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
