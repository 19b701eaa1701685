"""Does a search help? Two proofs on the demo corpus, resumable, through the command line a person uses.

`python -m benchmarks search race` starts from deliberately poor settings of a small model and gives TPE with pruning
and random search the same ten minutes, one after the other (three seeds: an hour on two cores): best scores, and the
time TPE took to reach random search's best. `python -m benchmarks search retrain` runs a study of 20 trials of the demo
and trains the settings it found, and the demo's own, with three new seeds each (forty minutes). Both exit 1 when a bar
is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import t as students_t

from files import REPOSITORY
from smart_tuner.search.storage import JOURNAL
from smart_tuner.search.trials import done, is_feasible

PROGRAM = REPOSITORY / "train_enhanced.py"
MINUTES, CORES = 10, 2
MOST_MINUTES, N_TRIALS = 30, 20
POOR = "learning_rate=3e-4,guide_loss_weight=0.5,gate_positive_weight=1,gate_loss_weight=0.1,warmup_steps=150"
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 3e-2, "log": True},
    "warmup_steps": {"low": 5, "high": 200, "log": True},
    "grad_clip_thresh": {"low": 0.2, "high": 20, "log": True},
    "guide_loss_weight": {"low": 0.1, "high": 50, "log": True},
    "guide_sigma": {"low": 0.1, "high": 0.8},
    "gate_loss_weight": {"low": 0.05, "high": 5, "log": True},
    "gate_positive_weight": {"low": 0.5, "high": 100, "log": True},
    "batch_size": {"low": 4, "high": 16, "log": True},
    "p_prenet_dropout": {"low": 0.1, "high": 0.7},
    "p_decoder_dropout": {"low": 0.0, "high": 0.5},
}
ARMS = {"tpe": {"sampler": "tpe", "prune": True}, "random": {"sampler": "random", "prune": False}}

Write = Callable[[str], object]


@dataclass(frozen=True)
class Course:
    """How the best score of a study grew: (seconds since its beginning, best so far)."""

    heights: Sequence[tuple[float, float]]
    n_trials: int
    n_ended_early: int

    @property
    def best(self) -> float:
        return self.heights[-1][1] if self.heights else 0.0

    def seconds_to(self, score: float) -> float | None:
        return next((seconds for seconds, best in self.heights if best >= score), None)


def study_of(output: Path, name: str, arguments: Sequence[str], search: dict[str, object], *, workers: int) -> Path:
    """A study as a person starts it, in an output folder of its own: else earlier ones would warm-start it.

    One that was cut off begins anew, since its time is measured; `seconds.txt` tells of a whole one.
    """
    own = output / name
    study, seconds = own / "study", own / "seconds.txt"
    if seconds.exists():
        return study
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    (output / ".cache").mkdir(exist_ok=True)
    (own / ".cache").symlink_to((output / ".cache").resolve())
    config = own / "settings.yaml"
    config.write_text(yaml.safe_dump({"mlflow": {"enabled": False}, "search": search}), encoding="utf-8")
    command = [sys.executable, str(PROGRAM), "--mode", "tune", "--output", str(own), "--run_name", study.name]
    command += ["--workers", str(workers), "--config", str(config), *arguments]
    began = time.monotonic()
    with (own / "log.txt").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    seconds.write_text(str(time.monotonic() - began))
    return study


def trials_of(study: Path) -> list[FrozenTrial]:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(study / JOURNAL)))
    return done(optuna.load_study(study_name=study.name, storage=storage))


def course_of(trials: Sequence[FrozenTrial]) -> Course:
    began = min(trial.datetime_start for trial in trials if trial.datetime_start is not None)
    heights: list[tuple[float, float]] = []
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and is_feasible(trial)]
    for trial in sorted(complete, key=lambda trial: str(trial.datetime_complete)):
        assert trial.datetime_complete is not None and trial.value is not None
        if not heights or trial.value > heights[-1][1]:
            heights.append(((trial.datetime_complete - began).total_seconds(), trial.value))
    return Course(heights, len(trials), sum(trial.state is TrialState.PRUNED for trial in trials))


def race(output: Path, seeds: Sequence[int], write: Write) -> bool:
    """Each arm gets the whole machine for the same wall time, the other one's turn comes after it."""
    given = ["--preset", "tiny", "--n_trials", "1000", "--max_minutes", str(MINUTES), "--hparams", POOR]
    courses: dict[str, list[Course]] = {name: [] for name in ARMS}
    for seed in seeds:
        for name, search in ARMS.items():
            own = [*given, "--seed", str(seed)]
            study = study_of(output, f"{name}-{seed}", own, search | {"space": SPACE}, workers=CORES)
            courses[name].append(course_of(trials_of(study)))
    write(f"{'seed':<6}{'arm':<8}{'best':>8}{'trials':>8}{'early':>7}   seconds to random's best\n")
    for i, seed in enumerate(seeds):
        for name in ARMS:
            course = courses[name][i]
            reached = course.seconds_to(courses["random"][i].best)
            write(f"{seed:<6}{name:<8}{course.best:>8.4f}{course.n_trials:>8}{course.n_ended_early:>7}   {reached}\n")
    for name in ARMS:
        write(f"{name:<8} best score {interval([course.best for course in courses[name]])}\n")
    difference = [tpe.best - random.best for tpe, random in zip(courses["tpe"], courses["random"], strict=True)]
    write(f"TPE with pruning above random search: {interval(difference)}\n")
    return statistics.fmean(difference) > 0


def interval(values: Sequence[float]) -> str:
    """Mean, and where it lies with 95 % (Student's t)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.4f} (one seed)"
    half = float(students_t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.4f} ± {half:.4f} over {len(values)} seeds"


def retrain(output: Path, seeds: Sequence[int], write: Write) -> bool:
    study = study_of(output, "search", ["--n_trials", str(N_TRIALS)], {}, workers=CORES)
    took = float((study.parent / "seconds.txt").read_text())
    write(f"a study of {N_TRIALS} trials with {CORES} workers took {took / 60:.1f} min (wanted: {MOST_MINUTES})\n")
    arms = {"found": ["--hparams_file", str(study / "best_hparams.yaml")], "own": []}
    jobs = [(name, seed) for seed in seeds for name in arms]
    with ThreadPoolExecutor(CORES) as pool:
        scores = dict(zip(jobs, pool.map(lambda job: train(output, job[0], job[1], arms[job[0]]), jobs), strict=True))
    for name in arms:
        own = [scores[name, seed] for seed in seeds]
        write(f"{name:<6} {'  '.join(f'{score:.4f}' for score in own)}   {interval(own)}\n")
    found, own = ([scores[name, seed] for seed in seeds] for name in ("found", "own"))
    write(f"found above own: {interval([a - b for a, b in zip(found, own, strict=True)])}\n")
    return statistics.fmean(found) > statistics.fmean(own) and took <= 60 * MOST_MINUTES


def train(output: Path, name: str, seed: int, arguments: Sequence[str]) -> float:
    """The score of a whole training's best checkpoint."""
    run = output / f"{name}-{seed}"
    command = [sys.executable, str(PROGRAM), "--mode", "train", "--output", str(output), "--run_name", run.name]
    command += ["--seed", str(seed), "--companion", "off", "--quiet", *arguments]
    subprocess.run(command, check=True)
    best = json.loads((run / "summary.json").read_text(encoding="utf-8"))["best_checkpoint"]
    step = int(Path(best).name[5:13])
    told = [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    return max(
        float(record["signals"]["composite_tts_score"])
        for record in told
        if record["kind"] == "evaluation" and record["step"] == step
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks search", description=__doc__)
    parser.add_argument("proof", choices=("race", "retrain"))
    parser.add_argument("--output", type=Path, default=Path("logs/search"))
    parser.add_argument("--seeds", type=int, nargs="+")
    options = parser.parse_args(arguments)
    output = options.output / options.proof
    output.mkdir(parents=True, exist_ok=True)
    seeds = options.seeds or {"race": [1, 2, 3], "retrain": [101, 102, 103]}[options.proof]
    is_reached = {"race": race, "retrain": retrain}[options.proof](output, seeds, sys.stdout.write)
    sys.stdout.write(f"{'ok' if is_reached else 'MISSED'}\n")
    return 0 if is_reached else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
