"""Correlation of composite_tts_score with intelligibility: its rank correlation with a recogniser's error rate.

`python -m benchmarks score_worth` trains demo voices of different quality (half an hour on two cores), synthesizes
sentences outside the training corpus with each checkpoint, and measures the character error rate of a small recogniser
trained on espeak-ng alone. It continues where it was stopped, and exits 1 when the requirement is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import program
from benchmarks.quality.recogniser import Recogniser, character_error_rate, load_or_train
from benchmarks.quality.sentences import ORDINARY_SENTENCES
from benchmarks.reporting import result_word
from files import truncate_torn_line
from monitoring.journal.journal import iter_records
from smart_tuner.search.importance import rank
from training.checkpoints.checkpoint import SavedCheckpoint, list_checkpoints

RECIPES = {  # the names are those in results of earlier sessions
    "as it is": "",
    "slow": "learning_rate=6e-4",
    "hasty": "learning_rate=8e-3",
    "unguided": "guide_loss_weight=0.5,learning_rate=1.5e-3",
    "gates": "gate_loss_weight=0.03,gate_positive_weight=5",
}
STEPS_PER_CHECKPOINT = 150
MIN_CHECKPOINTS, MIN_CORRELATION = 30, 0.8

Row = dict[str, Any]


def train(output: Path, name: str, changes: str) -> Path:
    """Train a demo voice and keep all its checkpoints; unsupervised, so that a bad recipe is not corrected."""
    intervals = f"iters_per_checkpoint={STEPS_PER_CHECKPOINT},iters_per_evaluation={STEPS_PER_CHECKPOINT}"
    settings = ",".join(filter(None, [changes, intervals, "keep_checkpoints=100", "evaluation_samples=0"]))
    options = ["--hparams", settings, "--supervise", "off", "--companion", "off", "--quiet"]
    return program.train(output, name.replace(" ", "-"), *options)


def scores_by_step(run: Path) -> dict[int, float]:
    """composite_tts_score of each evaluation that has one."""
    evaluations = [record for record in program.read_records(run) if record["kind"] == "evaluation"]
    scores = {record["step"]: record["signals"]["composite_tts_score"] for record in evaluations}
    return {step: float(score) for step, score in scores.items() if score is not None}


def error_rate(checkpoint: SavedCheckpoint, recogniser: Recogniser) -> float:
    """Character error rate of all sentences as this checkpoint speaks them."""
    with tempfile.TemporaryDirectory() as folder:
        waves, rate = program.synthesize(("--resume", checkpoint.path), ORDINARY_SENTENCES, Path(folder))
    return character_error_rate(recogniser.transcribe(waves, rate), ORDINARY_SENTENCES)


def measure_missing(output: Path, recogniser: Recogniser, known: Sequence[Row]) -> Iterator[Row]:
    """Train every recipe and measure the checkpoints that `known` does not hold yet."""
    done = {(row["recipe"], row["step"]) for row in known}
    with ThreadPoolExecutor(2) as pool:
        runs = dict(zip(RECIPES, pool.map(lambda item: train(output, *item), RECIPES.items()), strict=True))
        for name, run in runs.items():
            scores = scores_by_step(run)
            missing = [
                saved
                for saved in list_checkpoints(run / "checkpoints")
                if saved.step in scores and (name, saved.step) not in done
            ]
            for saved, rate in zip(missing, pool.map(lambda c: error_rate(c, recogniser), missing), strict=True):
                yield {"recipe": name, "step": saved.step, "score": scores[saved.step], "misheard": rate}


def measure_all(output: Path, recogniser: Recogniser) -> list[Row]:
    """Measure what an earlier session has not measured yet; every row is appended to a file at once."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "score_worth.jsonl"
    rows: list[Row] = []
    if path.exists():
        truncate_torn_line(path)  # the checkpoint of that line is measured again
        rows = list(iter_records(path))
    with path.open("a", encoding="utf-8") as file:
        for row in measure_missing(output, recogniser, rows):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    return rows


def intelligibility_correlation(rows: Sequence[Row]) -> float:
    """Spearman's rank correlation of score and negative error rate."""
    scores, errors = ([row[name] for row in rows] for name in ("score", "misheard"))
    return -float(np.corrcoef(rank(np.array(scores)), rank(np.array(errors)))[0, 1])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks score_worth", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("logs/score_worth"))
    parser.add_argument("--recogniser", type=Path, default=Path("logs/.cache/recogniser"))
    options = parser.parse_args(arguments)
    rows = measure_all(options.output, load_or_train(options.recogniser))
    for row in sorted(rows, key=lambda row: float(row["score"])):
        sys.stdout.write(f"{row['recipe']:<10} step {row['step']:>5}  score {row['score']:.3f}  ")
        sys.stdout.write(f"misheard {row['misheard']:6.1%}\n")
    correlation = intelligibility_correlation(rows)
    positive = [row for row in rows if row["score"] > 0]
    is_met = len(rows) >= MIN_CHECKPOINTS and correlation >= MIN_CORRELATION
    sys.stdout.write(f"{result_word(is_met)}  rank correlation of score and intelligibility: {correlation:.3f} over ")
    sys.stdout.write(f"{len(rows)} checkpoints (required: {MIN_CORRELATION} over {MIN_CHECKPOINTS}); ")
    positive_correlation = intelligibility_correlation(positive)
    sys.stdout.write(f"{positive_correlation:.3f} over the {len(positive)} with a score above 0\n")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
