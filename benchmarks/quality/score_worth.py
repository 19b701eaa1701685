"""Does composite_tts_score say what a listener would? Its rank correlation with a recogniser's errors.

`python -m benchmarks score_worth` trains demos of different quality (half an hour on two cores), has their checkpoints
read sentences nobody trained on, and counts what a small recogniser mishears; it has only ever heard espeak-ng's own
recordings. Goes on where it was stopped; exits 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.quality.recogniser import Recogniser, character_error_rate, load_or_train
from benchmarks.quality.sentences import ORDINARY_SENTENCES
from files import REPOSITORY, truncate_torn_line
from monitoring.journal.journal import iter_records, read_journal
from smart_tuner.search.importance import ranks_of
from training.checkpoints.checkpoint import SavedCheckpoint, list_checkpoints

PROGRAM = REPOSITORY / "train_enhanced.py"
RECIPES = {
    "as it is": "",
    "slow": "learning_rate=6e-4",
    "hasty": "learning_rate=8e-3",
    "unguided": "guide_loss_weight=0.5,learning_rate=1.5e-3",
    "gates": "gate_loss_weight=0.03,gate_positive_weight=5",
}
STEPS_PER_CHECKPOINT = 150
FEWEST_CHECKPOINTS, BAR = 30, 0.8

Row = dict[str, Any]


def train(output: Path, name: str, recipe: str) -> Path:
    """A demo, unsupervised so that a bad recipe stays one, with all its checkpoints."""
    run = output / name.replace(" ", "-")
    every = f"iters_per_checkpoint={STEPS_PER_CHECKPOINT},iters_per_evaluation={STEPS_PER_CHECKPOINT}"
    settings = ",".join(filter(None, [recipe, every, "keep_checkpoints=100", "evaluation_samples=0"]))
    command = [sys.executable, str(PROGRAM), "--mode", "train", "--output", str(output), "--run_name", run.name]
    command += ["--hparams", settings, "--supervise", "off", "--companion", "off", "--quiet"]
    subprocess.run(command, check=True)
    return run


def scores(run: Path) -> dict[int, float]:
    """Step → composite_tts_score of its evaluation."""
    told = [record for record in read_journal(run / "journal.jsonl") if record["kind"] == "evaluation"]
    known = {record["step"]: record["signals"]["composite_tts_score"] for record in told}
    return {step: float(score) for step, score in known.items() if score is not None}


def misheard(checkpoint: SavedCheckpoint, recogniser: Recogniser) -> float:
    """Character error rate of all sentences as this checkpoint speaks them."""
    with tempfile.TemporaryDirectory() as folder:
        texts, spoken = Path(folder) / "sentences.txt", Path(folder) / "spoken"
        texts.write_text("\n".join(ORDINARY_SENTENCES) + "\n", encoding="utf-8")
        command = [sys.executable, str(PROGRAM), "--mode", "synthesize", "--resume", str(checkpoint.path)]
        command += ["--text_file", str(texts), "--out", str(spoken)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        waves = [soundfile.read(path, dtype="float32") for path in sorted(spoken.glob("*.wav"))]
    return character_error_rate(recogniser.transcribe([wave for wave, _ in waves], waves[0][1]), ORDINARY_SENTENCES)


def measured(output: Path, recogniser: Recogniser, known: Sequence[Row]) -> Iterator[Row]:
    done = {(row["recipe"], row["step"]) for row in known}
    with ThreadPoolExecutor(2) as pool:
        runs = dict(zip(RECIPES, pool.map(lambda named: train(output, *named), RECIPES.items()), strict=True))
        for name, run in runs.items():
            scored = scores(run)
            wanted = [
                saved
                for saved in list_checkpoints(run / "checkpoints")
                if saved.step in scored and (name, saved.step) not in done
            ]
            for saved, rate in zip(wanted, pool.map(lambda saved: misheard(saved, recogniser), wanted), strict=True):
                yield {"recipe": name, "step": saved.step, "score": scored[saved.step], "misheard": rate}


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's."""
    return float(np.corrcoef(ranks_of(np.array(first)), ranks_of(np.array(second)))[0, 1])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks score_worth", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("logs/score_worth"))
    parser.add_argument("--recogniser", type=Path, default=Path("logs/.cache/recogniser"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "score_worth.jsonl"
    rows: list[Row] = []
    if path.exists():
        truncate_torn_line(path)  # its checkpoint is measured again
        rows = list(iter_records(path))
    with path.open("a", encoding="utf-8") as file:
        for row in measured(options.output, load_or_train(options.recogniser), rows):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    for row in sorted(rows, key=lambda row: float(row["score"])):
        sys.stdout.write(f"{row['recipe']:<10} step {row['step']:>5}  score {row['score']:.3f}  ")
        sys.stdout.write(f"misheard {row['misheard']:6.1%}\n")
    found = -rank_correlation([row["score"] for row in rows], [row["misheard"] for row in rows])
    heard = [row for row in rows if row["score"] > 0]
    among = -rank_correlation([row["score"] for row in heard], [row["misheard"] for row in heard])
    is_enough = len(rows) >= FEWEST_CHECKPOINTS and found >= BAR
    sys.stdout.write(f"{'ok' if is_enough else 'MISSED'}  rank correlation with what is understood: {found:.3f} over ")
    sys.stdout.write(f"{len(rows)} checkpoints (wanted: {BAR} over {FEWEST_CHECKPOINTS}); ")
    sys.stdout.write(f"{among:.3f} over the {len(heard)} with a score above 0\n")
    return 0 if is_enough else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
