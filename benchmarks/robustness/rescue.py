"""Share of faulty trainings that are rescued by four policies.

Nothing: no supervisor. Random: the same detectors, all remedies in a random order. Obvious: the same detectors, one
rollback, then one restart with the preset. Supervised. All but nothing have the same watchdog.
`python -m benchmarks rescue` runs every combination of fault, seed and policy that has no result yet, two at a time,
appends each result to rescue.jsonl in the output folder, and prints the scorecard; random and obvious are run on the
later kinds of faults with two seeds. Rescued: the last evaluation's composite_tts_score is at least 90 % of the clean
runs' median (overfitting: of the run's own best), with at most twice a clean run's steps, repeated ones included.
Seeds 1 to 9 served to tune the program; results are reported for others. A result counts only with the digest of the
supervisor and the faults that it was made with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.program import read_records
from benchmarks.robustness.faults.fault import Fault
from benchmarks.robustness.faults.lists import FAULT_GROUPS, MAIN_FAULTS, faults_of
from benchmarks.robustness.scorecard import POLICIES, Record, print_scorecard
from corpus.demo.demo_corpus import make_demo_corpus
from corpus.utterances import read_corpus
from files import REPOSITORY
from hparams import ModelName
from recipes import RECIPES
from smart_tuner.replay import first_difference, replay

N_UTTERANCES, N_HELD_OUT, MAX_CLIP_SECONDS = 440, 12, 1.5
EPOCHS = 8
TIME_LIMIT_SECONDS = 150
ALIGNED_DIAGONALITY = 0.7
HEALTHY_LANGUAGES = ("en-us", "en-gb", "en-gb-scotland", "es", "it", "de")
N_HEALTHY, FIRST_HEALTHY_SEED = 16, 440
HEALTHY_BATCHES, HEALTHY_RATES = (4, 8, 16, 32), (0.7, 1.4)
COMPARED_POLICIES, N_COMPARED_SEEDS = ("random", "obvious"), 2
LONGER_TRAINING = {  # for languages with longer words
    **{"epochs": 11, "decay_start_step": 330, "decay_half_life_steps": 65},
    **{"guide_anneal_start_step": 120, "guide_anneal_steps": 120, "alignment_patience_steps": 360},
}
CONFIG = "watchdog: {least_patience_seconds: 15}\n"


@dataclass(frozen=True)
class RescueJob:
    """One run of the benchmark; its fields are part of each result."""

    model: ModelName
    fault: str  # or "none", "healthy"
    seed: int
    policy: str

    @property
    def name(self) -> str:
        return f"{self.fault.replace('/', 'by')}-{self.seed}-{self.policy}"

    @property
    def definition(self) -> Fault | None:
        """The fault; None in a run without one."""
        return faults_of(self.model).get(self.fault)


def plan_jobs(
    model: ModelName, faults: Sequence[str], seeds: Sequence[int], policies: Sequence[str]
) -> Iterator[RescueJob]:
    """Yield the clean runs first, because all others are compared with them; healthy ones of many kinds last."""
    for seed in seeds:
        for policy in ("nothing", "supervised"):
            yield RescueJob(model, "none", seed, policy)
    for fault in faults:
        for seed in seeds:
            if fault == "healthy":
                continue
            is_compared = fault not in MAIN_FAULTS and seed in seeds[:N_COMPARED_SEEDS]
            chosen = [policy for policy in policies if is_compared or policy not in COMPARED_POLICIES]
            yield from (RescueJob(model, fault, seed, policy) for policy in chosen)
    if "healthy" in faults:
        for number in range(N_HEALTHY):
            seed = FIRST_HEALTHY_SEED + number
            yield from (
                RescueJob(model, "healthy", seed, policy) for policy in policies if policy not in COMPARED_POLICIES
            )


def healthy_kind(job: RescueJob) -> tuple[str, int]:
    """Language and number of utterances."""
    rng = np.random.default_rng(job.seed)
    return str(rng.choice(HEALTHY_LANGUAGES)), int(rng.integers(360, 520))


def corpus_of(job: RescueJob, output: Path) -> str:
    """Make the file lists of a job's training and held-out recordings; a fault damages copies of them."""
    language, size = healthy_kind(job) if job.fault == "healthy" else ("en-us", N_UTTERANCES)
    clean = clean_corpus(output, language, size)
    fault = job.definition
    if fault is None or fault.damage is None:
        return f"{clean}/train.txt,{clean}/validation.txt"
    damaged = output / "corpora" / job.name.rsplit("-", 1)[0]
    if not (damaged / "train.txt").exists():
        (damaged / "wavs").mkdir(parents=True, exist_ok=True)
        for part in ("validation", "train") if fault.damages_held_out else ("train",):
            rows = [line.split("|", 1) for line in (clean / f"{part}.txt").read_text(encoding="utf-8").splitlines()]
            copies = [(Path(shutil.copy(path, damaged / "wavs" / Path(path).name)), text) for path, text in rows]
            write_rows(damaged / f"{part}.txt", fault.damage(copies, np.random.default_rng(job.seed)))
    return f"{damaged}/train.txt,{damaged if fault.damages_held_out else clean}/validation.txt"


def clean_corpus(output: Path, language: str, size: int) -> Path:
    """Make file lists of short demo recordings; return their folder."""
    folder = output / "corpora" / f"clean-{language}-{size}"
    if not (folder / "train.txt").exists():
        corpus = read_corpus(str(make_demo_corpus(output / ".cache", language)), "filelist")
        short = [u for u in corpus.utterances if soundfile.info(u.audio_path).duration < MAX_CLIP_SECONDS]
        folder.mkdir(parents=True, exist_ok=True)
        held_out = [u for u in short if u.split == "validation"][:N_HELD_OUT]
        write_rows(folder / "validation.txt", [(u.audio_path, u.text) for u in held_out])
        train = [u for u in short if u.split != "validation"][:size]
        write_rows(folder / "train.txt", [(u.audio_path, u.text) for u in train])
    return folder


def write_rows(path: Path, rows: Iterable[tuple[Path, str]]) -> None:
    path.write_text("".join(f"{audio.absolute()}|{text}\n" for audio, text in rows), encoding="utf-8")


def settings_of(job: RescueJob) -> dict[str, Any]:
    preset = RECIPES[job.model].presets["tiny"]
    changes: dict[str, Any] = {"epochs": EPOCHS}
    changes |= {name: preset[name] for name in RECIPES[job.model].recordings["tiny"] if name in preset}  # espeak-ng's
    if job.model == "glow_tts":
        changes["alignment_guide"] = "diagonal"
    if job.fault == "healthy":
        changes |= {} if healthy_kind(job)[0].startswith("en") else LONGER_TRAINING
        rng = np.random.default_rng(1000 + job.seed)
        changes["learning_rate"] = preset["learning_rate"] * float(rng.uniform(*HEALTHY_RATES))
        changes["batch_size"] = int(rng.choice(HEALTHY_BATCHES))
        changes["epochs"] *= max(1, changes["batch_size"] // preset["batch_size"])  # not fewer steps than usual
    return changes if job.definition is None else changes | dict(job.definition.hparams)


def digest_of(policy: str) -> str:
    """Short digest of the source that decides what happens in a run of this policy."""
    files = sorted((REPOSITORY / "benchmarks" / "robustness" / "faults").glob("*.py"))
    if policy != "nothing":
        files += sorted((REPOSITORY / "smart_tuner").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def run_job(job: RescueJob, output: Path, commit: str) -> Record:
    """Train once; return the result."""
    folder = output / "runs" / job.name
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    code = _run_until_limit(_command(job, output), output / "runs" / f"{job.name}.log")
    seconds = round(time.monotonic() - started, 1)
    measures = measure_run(folder, job) | (measure_replay(folder) if job.policy == "supervised" else {})
    return {
        "commit": commit,
        "digest": digest_of(job.policy),
        **vars(job),
        "exit": code,
        "seconds": seconds,
        **measures,
    }


def _command(job: RescueJob, output: Path) -> list[str]:
    options = [f"--seed={job.seed}", "--preset=tiny", f"--output={output / 'runs'}", f"--run_name={job.name}"]
    options += [f"--data={corpus_of(job, output)}", "--data_format=filelist", "--warm_start=none"]
    options += [f"--config={output / 'config.yaml'}", "--device=cpu"]
    options += ["--hparams=" + ",".join(f"{name}={value}" for name, value in settings_of(job).items())]
    fault = "none" if job.definition is None else job.fault
    return [sys.executable, "-m", "benchmarks.robustness.faulty_run", job.model, fault, job.policy, *options]


def _run_until_limit(command: Sequence[str], log_path: Path) -> int:
    """Run with one thread; after the time limit kill the process. Return the exit code."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log, env=environment, process_group=0)
        try:
            return process.wait(TIME_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def measure_run(folder: Path, job: RescueJob) -> Record:
    """Scores, amount of work, diagnoses and interventions of a run, from its journal."""
    records = read_records(folder)
    evaluations = [r for r in records if r["kind"] == "evaluation"]
    scores = [r["signals"]["composite_tts_score"] for r in evaluations]
    aligned = [r["step"] for r in evaluations if (r["signals"]["free_diagonality"] or 0) > ALIGNED_DIAGONALITY]
    work = sum(len(r["steps"]) for r in records if r["kind"] == "steps")
    work += sum(len(arm["steps"]) for r in records if r["kind"] == "race" for arm in r["arms"])
    work += sum(len(r["arm"]["steps"]) for r in records if r["kind"] == "abandoned" and r["arm"] is not None)
    first_step = 0 if job.definition is None else job.definition.from_step
    diagnoses = [r for r in records if r["kind"] == "diagnosis" and r["severity"] != "notice"]
    return {
        "score": scores[-1] if scores else None,
        "scores": scores,
        "aligned_step": aligned[0] if aligned else None,
        "work": work,
        "diagnosis": diagnoses[0]["ailment"] if diagnoses else None,
        "steps_to_diagnosis": diagnoses[0]["step"] - first_step if diagnoses else None,
        "interventions": [r["remedy"] for r in records if r["kind"] == "intervention" and "remedy" in r],
        "verdicts": [r["verdict"] for r in records if r["kind"] == "follow_up" and "verdict" in r],
    }


def measure_replay(folder: Path) -> Record:
    """Whether a replay makes the same decisions, and its time beside a training step's; reading is included."""
    started = time.thread_time()
    replayed = replay(folder)
    seconds = time.thread_time() - started
    records = read_records(folder)
    n_steps = sum(len(r["steps"]) for r in records if r["kind"] == "steps")
    blocks = [(before, after) for before, after in pairwise(records) if before["kind"] == after["kind"] == "steps"]
    step_seconds = [_seconds_between(before, after) / len(after["steps"]) for before, after in blocks]
    return {
        "replays": first_difference(replayed) is None,
        "deciding_ms": 1000 * seconds / max(1, n_steps),
        "step_ms": 1000 * statistics.median(step_seconds) if step_seconds else None,
    }


def _seconds_between(before: Record, after: Record) -> float:
    return (datetime.fromisoformat(after["time"]) - datetime.fromisoformat(before["time"])).total_seconds()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks rescue", description=__doc__)
    parser.add_argument("--model", default="tacotron2", choices=FAULT_GROUPS)
    parser.add_argument("--output", type=Path, help="default: logs/rescue/<model>; results already there are kept")
    parser.add_argument("--faults", nargs="*", help='names of faults, or "healthy"; default: all')
    parser.add_argument("--seeds", nargs="*", type=int, default=[10, 11, 12])
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    options.output = options.output or REPOSITORY / "logs" / "rescue" / options.model
    known = [*faults_of(options.model), "healthy"]
    options.faults = known if options.faults is None else options.faults
    if unknown := set(options.faults) - set(known):
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    return options


def load_results(path: Path) -> list[Record]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [{"model": "tacotron2", **json.loads(line)} for line in lines]  # early results do not name the model


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    (options.output / "runs").mkdir(parents=True, exist_ok=True)
    (options.output / "config.yaml").write_text(CONFIG, encoding="utf-8")
    path = options.output / "rescue.jsonl"
    results = [r for r in load_results(path) if r.get("digest") == digest_of(r["policy"])]
    done = {(r["fault"], r["seed"], r["policy"]) for r in results}
    planned = plan_jobs(options.model, options.faults, options.seeds, options.policies)
    missing = [job for job in planned if (job.fault, job.seed, job.policy) not in done]
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()
    for job in missing:
        corpus_of(job, options.output)
    with ThreadPoolExecutor(options.jobs) as pool, path.open("a", encoding="utf-8") as file:
        for result in pool.map(lambda job: run_job(job, options.output, commit), missing):
            results.append(result)
            file.write(json.dumps(result) + "\n")
            file.flush()
            shown = {name: result[name] for name in ("fault", "seed", "policy", "exit", "score", "work", "seconds")}
            sys.stdout.write(f"{shown} {result['diagnosis']} {result['interventions']} {result['verdicts']}\n")
            sys.stdout.flush()
    print_scorecard(results, sys.stdout.write)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
