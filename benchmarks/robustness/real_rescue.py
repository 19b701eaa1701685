"""Faults on real speech: six of them, each left alone and supervised, from one base voice, twelve minutes each.

`python -m benchmarks real_rescue --data FOLDER --language de --base VOICE` runs what has no result yet in
docs/real_rescue.jsonl, two at a time on a thread each, and prints a table. Faults that happen in mid-run do so after a
quarter of the clean run's steps. Rescued: at least 90 % of the clean run's last score; named in time: diagnosed within
a fifth of the plan after the fault.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.program import read_records
from benchmarks.reporting import conclude
from benchmarks.robustness.rescue import digest_of
from corpus.utterances import read_corpus
from files import REPOSITORY

RESULTS = REPOSITORY / "docs" / "real_rescue.jsonl"
EVENTS = ("learning_rate_x20_midrun", "weights_perturbed", "attention_forgotten")
SETTINGS = ("learning_rate_x30", "heavy_weight_decay")
FAULTS = (*SETTINGS, *EVENTS, "wrong_transcripts")
WRONG_SHARE, EVENT_SHARE, MIN_SCORE_SHARE, NAMED_SHARE = 0.3, 0.25, 0.9, 0.2
Record = dict[str, Any]


def exchange_texts(data: str, folder: Path, seed: int) -> Path:
    """Write a file list in which three transcripts of ten belong to other recordings."""
    utterances = read_corpus(data, "auto").utterances
    rng, texts = np.random.default_rng(seed), [u.text for u in utterances]
    chosen = rng.choice(len(texts), round(WRONG_SHARE * len(texts)), replace=False)
    for i, j in zip(chosen, np.roll(chosen, 1), strict=True):
        texts[i] = utterances[j].text
    path = folder / "exchanged.txt"
    lines = [f"{u.audio_path.absolute()}|{text}\n" for u, text in zip(utterances, texts, strict=True)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def options_of(fault: str, clean: Record | None, arguments: argparse.Namespace) -> list[str]:
    """Name of the fault for `faulty_run`, and the options that cause it."""
    data = arguments.data
    name, hparams = "none", {}
    if fault == "wrong_transcripts":
        data = str(exchange_texts(arguments.data, arguments.output, arguments.seed))
    elif fault in EVENTS and clean is not None:
        name = f"{fault}@{round(EVENT_SHARE * clean['planned_steps'])}"
    elif fault == "learning_rate_x30" and clean is not None:
        hparams = {"learning_rate": 30 * clean["learning_rate"]}
    elif fault == "heavy_weight_decay":
        hparams = {"weight_decay": 0.1}
    settings = [f"--hparams={','.join(f'{k}={v}' for k, v in hparams.items())}"] if hparams else []
    return [name, f"--data={data}", *settings]


def run(fault: str, policy: str, clean: Record | None, arguments: argparse.Namespace) -> Record:
    name, *options = options_of(fault, clean, arguments)
    folder = arguments.output / f"{fault}-{policy}"
    command = [sys.executable, "-m", "benchmarks.robustness.faulty_run", arguments.model, name, policy]
    command += [*options, f"--language={arguments.language}", f"--warm_start={arguments.base}", "--device=cpu"]
    command += [f"--max_minutes={arguments.minutes}", f"--seed={arguments.seed}"]
    command += [f"--output={arguments.output}", f"--run_name={folder.name}"]
    with (arguments.output / f"{folder.name}.log").open("wb") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        code = subprocess.run(command, cwd=REPOSITORY, stdout=log, stderr=log, env=environment, check=False).returncode
    return {"fault": fault, "policy": policy, "digest": digest_of(policy), "exit": code, **measure(folder)}


def measure(folder: Path) -> Record:
    records = read_records(folder)
    start = next(r for r in records if r["kind"] == "started")
    plans = [r["planned_steps"] for r in records if "planned_steps" in r]
    scores = [r["signals"]["composite_tts_score"] for r in records if r["kind"] == "evaluation"]
    diagnoses = [r for r in records if r["kind"] == "diagnosis" and r["severity"] != "notice"]
    return {
        "planned_steps": plans[-1],
        "learning_rate": start["hparams"]["learning_rate"],
        "score": scores[-1] if scores else None,
        "best": max((s for s in scores if s is not None), default=None),
        "diagnoses": [[d["ailment"], d["step"]] for d in diagnoses],
        "interventions": [r["remedy"] for r in records if r["kind"] == "intervention" and "remedy" in r],
        "verdicts": [r["verdict"] for r in records if r["kind"] == "follow_up" and "verdict" in r],
    }


def print_table(results: Sequence[Record]) -> bool:
    clean = next(r for r in results if (r["fault"], r["policy"]) == ("none", "nothing"))
    write = sys.stdout.write
    write(f"clean: {clean['score']:.2f}\n\n")
    write("| fault | left alone | supervised | diagnosis (step of the plan's) | remedies |\n")
    write("|---|---|---|---|---|\n")
    is_met = True
    for fault in ("none", *FAULTS):
        alone, ours = (
            next((r for r in results if (r["fault"], r["policy"]) == (fault, policy)), None)
            for policy in ("nothing", "supervised")
        )
        if alone is None or ours is None:
            continue
        named = ", ".join(f"{ailment} ({step})" for ailment, step in ours["diagnoses"][:3]) or "none"
        write(f"| {fault} | {alone['score'] or 0:.2f} | {ours['score'] or 0:.2f} | {named} of {ours['planned_steps']} ")
        write(f"| {', '.join(ours['interventions']) or 'none'} |\n")
        is_sick = (alone["score"] or 0) < MIN_SCORE_SHARE * clean["score"]
        begun = EVENT_SHARE * ours["planned_steps"] if fault in EVENTS else 0
        late = min((step for _, step in ours["diagnoses"]), default=ours["planned_steps"]) - begun
        is_met &= not is_sick or late <= NAMED_SHARE * ours["planned_steps"]
        is_met &= fault != "none" or not ours["interventions"]
    return is_met


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks real_rescue", description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--language", default="de")
    parser.add_argument("--base", type=Path, required=True, help="a voice to begin with")
    parser.add_argument("--model", default="tacotron2", choices=("tacotron2",))
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "logs" / "real_rescue")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    results = [r for r in map(json.loads, lines) if r["digest"] == digest_of(r["policy"])]

    def add(jobs: Sequence[tuple[str, str]], clean: Record | None) -> None:
        done = {(r["fault"], r["policy"]) for r in results}
        missing = [job for job in jobs if job not in done]
        with ThreadPoolExecutor(arguments.jobs) as pool, RESULTS.open("a", encoding="utf-8") as file:
            for result in pool.map(lambda job: run(job[0], job[1], clean, arguments), missing):
                results.append(result)
                file.write(json.dumps(result) + "\n")
                file.flush()

    add([("none", "nothing"), ("none", "supervised")], None)
    clean = next(r for r in results if (r["fault"], r["policy"]) == ("none", "nothing"))
    add([(fault, policy) for fault in FAULTS for policy in ("nothing", "supervised")], clean)
    return conclude(sys.stdout.write, is_met=print_table(results))


if __name__ == "__main__":
    sys.exit(main())
