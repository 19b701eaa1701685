"""Is a faulty training rescued? Faults × seeds × policies: do nothing, repair at random, supervise.

`python -m benchmarks rescue` runs what has no result yet, two at a time,
appends each result to rescue.jsonl in the output folder, and prints the scorecard. Rescued: the last evaluation's
composite_tts_score is at least 90 % of the clean runs' median (over-fitting: of the run's own best), with at most twice
a clean run's steps, those done again included. The program was tuned on seeds 1 to 9; others are reported.
"""

from __future__ import annotations

import argparse
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

from benchmarks.robustness.faults import GROUPS, Fault, faults_of
from benchmarks.robustness.scorecard import POLICIES, Record, print_scorecard
from corpus.demo.demo_corpus import make_demo_corpus
from corpus.utterances import read_corpus
from files import REPOSITORY
from hparams import ModelName
from monitoring.journal.journal import read_journal
from recipes import RECIPES
from smart_tuner.replay import first_difference, replay

UTTERANCES, HELD_OUT, LONGEST_SECONDS = 440, 12, 1.5
EPOCHS = 8
TIME_LIMIT_SECONDS = 150
HEALTHY_LANGUAGES = ("en-us", "en-gb", "en-gb-scotland", "es", "it", "de")
LONGER_WORDS = {  # so short a training is too short for them
    **{"epochs": 11, "decay_start_step": 330, "decay_half_life_steps": 65},
    **{"guide_anneal_start_step": 120, "guide_anneal_steps": 120, "alignment_patience_steps": 360},
}
CONFIG = """
watchdog: {least_patience_seconds: 15}
"""


@dataclass(frozen=True)
class Job:
    """One run."""

    model: ModelName
    fault: str
    seed: int
    policy: str

    @property
    def name(self) -> str:
        return f"{self.fault.replace('/', 'by')}-{self.seed}-{self.policy}"

    @property
    def what(self) -> Fault | None:
        """None of a run without a fault."""
        return faults_of(self.model).get(self.fault)


def jobs(model: ModelName, faults: Sequence[str], seeds: Sequence[int], policies: Sequence[str]) -> Iterator[Job]:
    """The clean runs first, since all others are compared with them; then healthy ones of many kinds."""
    for seed in seeds:
        for policy in ("nothing", "supervised"):
            yield Job(model, "none", seed, policy)
    for fault in faults:
        for seed in seeds:
            if fault == "healthy":
                continue
            yield from (Job(model, fault, seed, policy) for policy in policies)
    if "healthy" in faults:
        for number in range(20):
            yield from (Job(model, "healthy", 420 + number, policy) for policy in policies if policy != "random")


def healthy_kind(job: Job) -> tuple[str, int]:
    """Language and number of utterances."""
    rng = np.random.default_rng(job.seed)
    return str(rng.choice(HEALTHY_LANGUAGES)), int(rng.integers(360, 520))


def corpus_of(job: Job, output: Path) -> str:
    """Training and held-out recordings; what a fault spoils is a copy of them."""
    language, size = healthy_kind(job) if job.fault == "healthy" else ("en-us", UTTERANCES)
    clean = clean_corpus(output, language, size)
    fault = job.what
    if fault is None or fault.spoil is None:
        return f"{clean}/train.txt,{clean}/validation.txt"
    spoiled = output / "corpora" / job.name.rsplit("-", 1)[0]
    if not (spoiled / "train.txt").exists():
        (spoiled / "wavs").mkdir(parents=True, exist_ok=True)
        for part in ("validation", "train") if fault.spoils_held_out else ("train",):
            rows = [line.split("|", 1) for line in (clean / f"{part}.txt").read_text(encoding="utf-8").splitlines()]
            copies = [(Path(shutil.copy(path, spoiled / "wavs" / Path(path).name)), text) for path, text in rows]
            write_rows(spoiled / f"{part}.txt", fault.spoil(copies, np.random.default_rng(job.seed)))
    return f"{spoiled}/train.txt,{spoiled if fault.spoils_held_out else clean}/validation.txt"


def clean_corpus(output: Path, language: str, size: int) -> Path:
    folder = output / "corpora" / f"clean-{language}-{size}"
    if not (folder / "train.txt").exists():
        corpus = read_corpus(str(make_demo_corpus(output / ".cache", language)), "filelist")
        short = [u for u in corpus.utterances if soundfile.info(u.audio_path).duration < LONGEST_SECONDS]
        folder.mkdir(parents=True, exist_ok=True)
        held_out = [u for u in short if u.split == "validation"][:HELD_OUT]
        write_rows(folder / "validation.txt", [(u.audio_path, u.text) for u in held_out])
        train = [u for u in short if u.split != "validation"][:size]
        write_rows(folder / "train.txt", [(u.audio_path, u.text) for u in train])
    return folder


def write_rows(path: Path, rows: Iterable[tuple[Path, str]]) -> None:
    path.write_text("".join(f"{audio.absolute()}|{text}\n" for audio, text in rows), encoding="utf-8")


def settings_of(job: Job) -> dict[str, Any]:
    changes: dict[str, Any] = {"epochs": EPOCHS}
    if job.fault == "healthy":
        changes |= {} if healthy_kind(job)[0].startswith("en") else LONGER_WORDS
        rng = np.random.default_rng(1000 + job.seed)
        rate = RECIPES[job.model].presets["tiny"]["learning_rate"]
        changes |= {"learning_rate": rate * float(rng.uniform(0.85, 1.3)), "batch_size": int(rng.choice([6, 8]))}
    return changes if job.what is None else changes | dict(job.what.hparams)


def run(job: Job, output: Path, commit: str) -> Record:
    """Train once and say what came of it."""
    folder = output / "runs" / job.name
    shutil.rmtree(folder, ignore_errors=True)
    config = output / "config.yaml"
    options = [f"--seed={job.seed}", "--preset=tiny", f"--output={folder.parent}", f"--run_name={folder.name}"]
    options += [f"--data={corpus_of(job, output)}", "--data_format=filelist", f"--config={config}", "--device=cpu"]
    options += ["--hparams=" + ",".join(f"{name}={value}" for name, value in settings_of(job).items())]
    fault = "none" if job.what is None else job.fault
    command = [sys.executable, "-m", "benchmarks.robustness.faulty_run", job.model, fault, job.policy, *options]
    began = time.monotonic()
    with (output / "runs" / f"{job.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}, process_group=0
        )
        try:
            code: int | None = process.wait(TIME_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    seconds = round(time.monotonic() - began, 1)
    told = {**measured(folder, job), **(recomputed(folder) if job.policy == "supervised" else {})}
    return {"commit": commit, **vars(job), "exit": code, "seconds": seconds, **told}


def measured(folder: Path, job: Job) -> Record:
    """What a run's journal says."""
    records = read_journal(folder / "journal.jsonl") if (folder / "journal.jsonl").exists() else []
    scores = [r["signals"]["composite_tts_score"] for r in records if r["kind"] == "evaluation"]
    aligned = [
        r["step"] for r in records if r["kind"] == "evaluation" and (r["signals"]["free_diagonality"] or 0) > 0.7
    ]
    work = sum(len(r["steps"]) for r in records if r["kind"] == "steps")
    work += sum(len(arm["steps"]) for r in records if r["kind"] == "race" for arm in r["arms"])
    begin = 0 if job.what is None else job.what.from_step
    found = [r for r in records if r["kind"] == "diagnosis" and r["severity"] != "notice"]
    return {
        "score": scores[-1] if scores else None,
        "scores": scores,
        "aligned_step": aligned[0] if aligned else None,
        "work": work,
        "diagnosis": found[0]["ailment"] if found else None,
        "steps_to_diagnosis": found[0]["step"] - begin if found else None,
        "interventions": [r["remedy"] for r in records if r["kind"] == "intervention" and "remedy" in r],
        "verdicts": [r["verdict"] for r in records if r["kind"] == "follow_up" and "verdict" in r],
    }


def recomputed(folder: Path) -> Record:
    """Whether replay decides the same, and what deciding costs beside a step; reading the journal is counted in."""
    began = time.process_time()
    told = replay(folder)
    seconds = time.process_time() - began
    records = read_journal(folder / "journal.jsonl")
    n_steps = sum(len(r["steps"]) for r in records if r["kind"] == "steps")
    in_a_row = [(before, after) for before, after in pairwise(records) if before["kind"] == after["kind"] == "steps"]
    steps = [_seconds_between(before, after) / len(after["steps"]) for before, after in in_a_row]
    return {
        "replays": first_difference(told) is None,
        "deciding_ms": 1000 * seconds / max(1, n_steps),
        "step_ms": 1000 * statistics.median(steps) if steps else None,
    }


def _seconds_between(before: Record, after: Record) -> float:
    return (datetime.fromisoformat(after["time"]) - datetime.fromisoformat(before["time"])).total_seconds()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks rescue", description=__doc__)
    parser.add_argument("--model", default="tacotron2", choices=GROUPS)
    parser.add_argument("--output", type=Path, help="logs/rescue/<model>, where it goes on")
    parser.add_argument("--faults", nargs="*", help="all, and healthy runs")
    parser.add_argument("--seeds", nargs="*", type=int, default=[10, 11, 12])
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    options.output = options.output or REPOSITORY / "logs" / "rescue" / options.model
    known = [*faults_of(options.model), "healthy"]
    options.faults = known if options.faults is None else options.faults
    if unknown := set(options.faults) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(known)}")
    (options.output / "runs").mkdir(parents=True, exist_ok=True)
    (options.output / "config.yaml").write_text(CONFIG, encoding="utf-8")
    path = options.output / "rescue.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    results = [{"model": "tacotron2", **json.loads(line)} for line in lines]  # older ones do not say it
    done = {(r["fault"], r["seed"], r["policy"]) for r in results}
    wanted = [
        job
        for job in jobs(options.model, options.faults, options.seeds, options.policies)
        if (job.fault, job.seed, job.policy) not in done
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True
    ).stdout
    for job in wanted:
        corpus_of(job, options.output)
    with ThreadPoolExecutor(options.jobs) as pool, path.open("a", encoding="utf-8") as file:
        for result in pool.map(lambda job: run(job, options.output, commit.strip()), wanted):
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
