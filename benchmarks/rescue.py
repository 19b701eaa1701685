"""Is a faulty training rescued? Faults × seeds × policies: do nothing, repair at random, supervise.

`python -m benchmarks.rescue` runs what has no result yet, two at a time,
appends each result to rescue.jsonl in the output folder, and prints the scorecard. Rescued: the last evaluation's
composite_tts_score is at least 90 % of the clean runs' median (over-fitting: of the run's own best), with at most twice
a clean run's steps, those done again included.
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
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.faults import FAULTS
from corpus.demo import make_demo_corpus
from corpus.utterances import read_corpus
from monitoring.journal import read as read_journal

ROOT = Path(__file__).parents[1]
POLICIES = ("nothing", "random", "supervised")
UTTERANCES, HELD_OUT, LONGEST_SECONDS = 440, 12, 1.5
EPOCHS = 4
TIME_LIMIT_SECONDS = 150
ENOUGH, WORK_LIMIT = 0.9, 2.0
HEALTHY_LANGUAGES = ("en-us", "en-gb", "en-gb-scotland", "es", "it", "de")
LONGER_WORDS = {  # so short a training is too short for them
    **{"epochs": 2 * EPOCHS, "decay_start_step": 260, "decay_half_life_steps": 60},
    **{"guide_anneal_start_step": 120, "guide_anneal_steps": 120, "alignment_patience_steps": 300},
}
CONFIG = """
tensorboard: false
watchdog: {least_patience_seconds: 15}
"""

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One run."""

    fault: str
    seed: int
    policy: str

    @property
    def name(self) -> str:
        return f"{self.fault.replace('/', 'by')}-{self.seed}-{self.policy}"


def jobs(faults: Sequence[str], seeds: Sequence[int], policies: Sequence[str]) -> Iterator[Job]:
    """The clean runs first, since all others are compared with them; then healthy ones of many kinds."""
    for seed in seeds:
        for policy in ("nothing", "supervised"):
            yield Job("none", seed, policy)
    for fault in faults:
        for seed in seeds:
            if fault == "healthy":
                continue
            yield from (Job(fault, seed, policy) for policy in policies)
    if "healthy" in faults:
        for number in range(20):
            yield from (Job("healthy", 100 + number, policy) for policy in ("nothing", "supervised"))


def healthy_kind(job: Job) -> tuple[str, int]:
    """Language and number of utterances."""
    rng = np.random.default_rng(job.seed)
    return str(rng.choice(HEALTHY_LANGUAGES)), int(rng.integers(360, 520))


def corpus_of(job: Job, output: Path) -> str:
    """Training and held-out recordings; what a fault spoils is a copy of them."""
    language, size = healthy_kind(job) if job.fault == "healthy" else ("en-us", UTTERANCES)
    clean = clean_corpus(output, language, size)
    fault = FAULTS.get(job.fault)
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
        changes |= {"learning_rate": 5e-3 * float(rng.uniform(0.85, 1.3)), "batch_size": int(rng.choice([6, 8]))}
    if job.fault in FAULTS:
        changes |= FAULTS[job.fault].hparams
    return changes


def run(job: Job, output: Path, commit: str) -> Record:
    """Train once and say what came of it."""
    folder = output / "runs" / job.name
    shutil.rmtree(folder, ignore_errors=True)
    config = output / "config.yaml"
    options = [f"--seed={job.seed}", "--preset=tiny", f"--output={folder.parent}", f"--run_name={folder.name}"]
    options += [f"--data={corpus_of(job, output)}", "--data_format=filelist", f"--config={config}", "--device=cpu"]
    options += ["--hparams=" + ",".join(f"{name}={value}" for name, value in settings_of(job).items())]
    fault = job.fault if job.fault in FAULTS else "none"
    command = [sys.executable, "-m", "benchmarks.faulty_run", fault, job.policy, *options]
    began = time.monotonic()
    with (output / "runs" / f"{job.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}, process_group=0
        )
        try:
            code: int | None = process.wait(TIME_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    seconds = round(time.monotonic() - began, 1)
    return {"commit": commit, **vars(job), "exit": code, "seconds": seconds, **measured(folder, job)}


def measured(folder: Path, job: Job) -> Record:
    """What a run's journal says."""
    records = read_journal(folder / "journal.jsonl") if (folder / "journal.jsonl").exists() else []
    scores = [r["signals"]["composite_tts_score"] for r in records if r["kind"] == "evaluation"]
    aligned = [
        r["step"] for r in records if r["kind"] == "evaluation" and (r["signals"]["free_diagonality"] or 0) > 0.7
    ]
    work = sum(len(r["steps"]) for r in records if r["kind"] == "steps")
    work += sum(len(arm["steps"]) for r in records if r["kind"] == "race" for arm in r["arms"])
    fault = FAULTS.get(job.fault)
    begin = fault.from_step if fault is not None else 0
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


def is_rescued(result: Record, clean: Record) -> bool:
    score = result["score"]
    if result["exit"] != 0 or score is None or result["work"] > WORK_LIMIT * clean["work"] * _length(result["fault"]):
        return False
    own = FAULTS.get(result["fault"])
    wanted = max(s for s in result["scores"] if s is not None) if own and own.of_own_best else clean["score"]
    return bool(score >= ENOUGH * wanted)


def _length(fault: str) -> float:
    """How many clean runs the fault's own settings ask for."""
    return 1.0 if fault != "overfitting" else float("inf")


def clean_run(results: Sequence[Record]) -> Record:
    clean = [r for r in results if r["fault"] == "none" and r["policy"] == "nothing" and r["score"] is not None]
    return {name: statistics.median(r[name] for r in clean) for name in ("score", "work")}


def print_scorecard(results: Sequence[Record], write: Any = sys.stdout.write) -> None:
    clean = clean_run(results)
    write(f"\nclean: score {clean['score']:.3f} in {clean['work']:.0f} steps (median)\n\n")
    write(
        "| fault | nothing | random | supervised | score | diagnosis | after steps | interventions |\n"
        + "|---" * 8
        + "|\n"
    )
    totals = {policy: [0, 0] for policy in POLICIES}
    for fault in dict.fromkeys(r["fault"] for r in results if r["fault"] in FAULTS):
        cells = []
        for policy in POLICIES:
            mine = [r for r in results if r["fault"] == fault and r["policy"] == policy]
            rescued = sum(is_rescued(r, clean) for r in mine)
            totals[policy][0] += rescued
            totals[policy][1] += len(mine)
            cells.append(f"{rescued}/{len(mine)}")
        mine = [r for r in results if r["fault"] == fault and r["policy"] == "supervised"]
        scores = " ".join("–" if r["score"] is None else f"{r['score']:.2f}" for r in mine)
        found = ", ".join(sorted({r["diagnosis"] or "none" for r in mine}))
        steps = [r["steps_to_diagnosis"] for r in mine if r["steps_to_diagnosis"] is not None]
        after = f"{statistics.median(steps):.0f}" if steps else "–"
        done = statistics.fmean(len(r["interventions"]) for r in mine) if mine else 0
        write(f"| {fault} | {' | '.join(cells)} | {scores} | {found} | {after} | {done:.1f} |\n")
    write(f"| all | {' | '.join(f'{a}/{b}' for a, b in totals.values())} | | | | |\n\n")
    _print_healthy(results, write)


def _print_healthy(results: Sequence[Record], write: Any) -> None:
    healthy = [r for r in results if r["fault"] in ("healthy", "none") and r["policy"] == "supervised"]
    false = sum(len(r["interventions"]) for r in healthy)
    write(f"false interventions: {false} in {len(healthy)} healthy runs\n")
    for policy in ("nothing", "supervised"):
        scores = [r["score"] for r in results if r["fault"] == "none" and r["policy"] == policy and r["score"]]
        if scores:
            write(f"clean, {policy}: {' '.join(f'{score:.3f}' for score in scores)}\n")
    verdicts = [v for r in results if r["policy"] == "supervised" for v in r["verdicts"]]
    write("verdicts: " + ", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts))) + "\n")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rescue", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "logs" / "rescue")
    parser.add_argument("--faults", nargs="*", default=[*FAULTS, "healthy"], choices=[*FAULTS, "healthy"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    (options.output / "runs").mkdir(parents=True, exist_ok=True)
    (options.output / "config.yaml").write_text(CONFIG, encoding="utf-8")
    path = options.output / "rescue.jsonl"
    results = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(r["fault"], r["seed"], r["policy"]) for r in results}
    wanted = [
        j for j in jobs(options.faults, options.seeds, options.policies) if (j.fault, j.seed, j.policy) not in done
    ]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
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
    print_scorecard(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
