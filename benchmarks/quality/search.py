"""Gain of a hyperparameter search on the demo corpus, over random search and over the demo's own settings.

`python -m benchmarks search race` starts from deliberately poor settings of a small model and gives TPE with pruning
and random search ten minutes each, one after the other (three seeds: an hour on two cores). It prints the best scores
and the time TPE took to reach random search's best. `python -m benchmarks search retrain` runs a study of 20 trials of
the demo, then trains the best settings and the demo's own with three new seeds each (forty minutes). Both can be
interrupted and continued, and exit 1 when a requirement is missed.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import t as students_t

from benchmarks import program
from benchmarks.reporting import Write, conclude
from smart_tuner.search.storage import JOURNAL
from smart_tuner.search.trials import finished_trials, is_feasible

MINUTES, CORES = 10, 2
MAX_MINUTES, N_TRIALS = 30, 20
POOR_SETTINGS = "learning_rate=3e-4,guide_loss_weight=0.5,gate_positive_weight=1,gate_loss_weight=0.1,warmup_steps=150"
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


@dataclass(frozen=True)
class StudyCurve:
    """Best score of a study over time."""

    improvements: Sequence[tuple[float, float]]  # seconds since its start, best score so far
    n_trials: int
    n_pruned: int

    @property
    def best(self) -> float:
        return self.improvements[-1][1] if self.improvements else 0.0

    def seconds_to(self, score: float) -> float | None:
        return next((seconds for seconds, best in self.improvements if best >= score), None)


def run_study(output: Path, name: str, arguments: Sequence[str], search: dict[str, object], *, workers: int) -> Path:
    """Run a study through the command line, in a folder of its own: studies beside it would give it a warm start.

    A study that was interrupted starts again, because its time is measured; `seconds.txt` marks a complete one.
    """
    folder = output / name
    study, seconds = folder / "study", folder / "seconds.txt"
    if seconds.exists():
        return study
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (output / ".cache").mkdir(exist_ok=True)
    (folder / ".cache").symlink_to((output / ".cache").resolve())
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump({"mlflow": {"enabled": False}, "search": search}), encoding="utf-8")
    command = program.command("tune", "--output", folder, "--run_name", study.name)
    command += ["--workers", str(workers), "--config", str(config), *arguments]
    started = time.monotonic()
    with (folder / "log.txt").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    seconds.write_text(str(time.monotonic() - started))
    return study


def load_trials(study: Path) -> list[FrozenTrial]:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(study / JOURNAL)))
    return finished_trials(optuna.load_study(study_name=study.name, storage=storage))


def study_curve(trials: Sequence[FrozenTrial]) -> StudyCurve:
    start = min(trial.datetime_start for trial in trials if trial.datetime_start is not None)
    improvements: list[tuple[float, float]] = []
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and is_feasible(trial)]
    for trial in sorted(complete, key=lambda trial: str(trial.datetime_complete)):
        assert trial.datetime_complete is not None and trial.value is not None
        if not improvements or trial.value > improvements[-1][1]:
            improvements.append(((trial.datetime_complete - start).total_seconds(), trial.value))
    return StudyCurve(improvements, len(trials), sum(trial.state is TrialState.PRUNED for trial in trials))


def race(output: Path, seeds: Sequence[int], write: Write) -> bool:
    """Run TPE and random search with the same wall time, one after the other; whether TPE is better on average."""
    shared = ["--preset", "tiny", "--n_trials", "1000", "--max_minutes", str(MINUTES), "--hparams", POOR_SETTINGS]
    curves: dict[str, list[StudyCurve]] = {name: [] for name in ARMS}
    for seed in seeds:
        for name, search in ARMS.items():
            arguments = [*shared, "--seed", str(seed)]
            study = run_study(output, f"{name}-{seed}", arguments, search | {"space": SPACE}, workers=CORES)
            curves[name].append(study_curve(load_trials(study)))
    write(f"{'seed':<6}{'arm':<8}{'best':>8}{'trials':>8}{'pruned':>8}   seconds to random's best\n")
    for i, seed in enumerate(seeds):
        for name in ARMS:
            curve = curves[name][i]
            seconds = curve.seconds_to(curves["random"][i].best)
            write(f"{seed:<6}{name:<8}{curve.best:>8.4f}{curve.n_trials:>8}{curve.n_pruned:>8}   {seconds}\n")
    for name in ARMS:
        write(f"{name:<8} best score {interval([curve.best for curve in curves[name]])}\n")
    differences = [tpe.best - random.best for tpe, random in zip(curves["tpe"], curves["random"], strict=True)]
    write(f"TPE with pruning minus random search: {interval(differences)}\n")
    return statistics.fmean(differences) > 0


def interval(values: Sequence[float]) -> str:
    """Mean and half-width of its 95 % confidence interval (Student's t)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.4f} (one seed)"
    half_width = float(students_t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.4f} ± {half_width:.4f} over {len(values)} seeds"


def retrain(output: Path, seeds: Sequence[int], write: Write) -> bool:
    """Train the settings that a study found and the demo's own; whether the former are better on average."""
    study = run_study(output, "search", ["--n_trials", str(N_TRIALS)], {}, workers=CORES)
    seconds = float((study.parent / "seconds.txt").read_text())
    write(f"a study of {N_TRIALS} trials with {CORES} workers: {seconds / 60:.1f} min (required: {MAX_MINUTES})\n")
    arms = {"found": ["--hparams_file", str(study / "best_hparams.yaml")], "own": []}
    jobs = [(name, seed) for seed in seeds for name in arms]
    with ThreadPoolExecutor(CORES) as pool:
        scores = dict(zip(jobs, pool.map(lambda job: train(output, job[0], job[1], arms[job[0]]), jobs), strict=True))
    for name in arms:
        of_arm = [scores[name, seed] for seed in seeds]
        write(f"{name:<6} {'  '.join(f'{score:.4f}' for score in of_arm)}   {interval(of_arm)}\n")
    differences = [scores["found", seed] - scores["own", seed] for seed in seeds]
    write(f"found minus own: {interval(differences)}\n")
    return statistics.fmean(differences) > 0 and seconds <= 60 * MAX_MINUTES


def train(output: Path, name: str, seed: int, arguments: Sequence[str]) -> float:
    """Train to the end; return the score of the best checkpoint."""
    options = ["--seed", str(seed), "--companion", "off", "--quiet", *arguments]
    run = program.train(output, f"{name}-{seed}", *options)
    best = json.loads((run / "summary.json").read_text(encoding="utf-8"))["best_checkpoint"]
    step = int(Path(best).name[5:13])
    return max(
        float(record["signals"]["composite_tts_score"])
        for record in program.read_records(run)
        if record["kind"] == "evaluation" and record["step"] == step
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks search", description=__doc__)
    parser.add_argument("comparison", choices=("race", "retrain"))
    parser.add_argument("--output", type=Path, default=Path("logs/search"))
    parser.add_argument("--seeds", type=int, nargs="+")
    options = parser.parse_args(arguments)
    output = options.output / options.comparison
    output.mkdir(parents=True, exist_ok=True)
    seeds = options.seeds or {"race": [1, 2, 3], "retrain": [101, 102, 103]}[options.comparison]
    is_met = {"race": race, "retrain": retrain}[options.comparison](output, seeds, sys.stdout.write)
    return conclude(sys.stdout.write, is_met=is_met)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
