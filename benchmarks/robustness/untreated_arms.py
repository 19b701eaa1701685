"""Races in which nothing is treated: how often one of six settings would be called a winner.

`python -m benchmarks untreated_arms --run FOLDER` trains fifteen equal arms from the newest checkpoint of a run, as a
race does, and keeps the distances of their speech in docs/untreated_arms.jsonl. The arms are then dealt to three
controls and six settings of two seeds in many ways: at most a twentieth of these races may have a winner. Beside it
stand races of one seed a setting and two controls, where the best is to beat the better control by more than the
controls differ.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import train_enhanced
from benchmarks.program import read_records
from benchmarks.reporting import Write, conclude
from commands.console import open_console
from commands.run.corpus import prepare_corpus
from commands.run.event_publisher import arm_signals
from files import REPOSITORY
from hparams import HParams
from models import build_model
from models.checkpoint_file import load_checkpoint
from reports import (
    AbandonedReport,
    CheckpointReport,
    EvaluationReport,
    QuarantineReport,
    RaceReport,
    RaceWinner,
    RollbackReport,
    StepReport,
    TrainerOrder,
)
from smart_tuner.treatment.verdicts.race import N_CONTROLS, N_SEEDS, Distances, judge_race
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits, RunState
from training.trainer import EnhancedTrainer

RESULTS = REPOSITORY / "docs" / "untreated_arms.jsonl"
N_SETTINGS = 6
N_ARMS = N_CONTROLS + N_SETTINGS * N_SEEDS
N_RACES, MAX_WINNERS = 2000, 0.05
FEWER_CONTROLS = 2


class ArmObserver:
    """Observer that keeps the distances of a race's arms and continues with the first."""

    def __init__(self) -> None:
        self.distances: list[dict[str, float]] = []

    def on_race(self, report: RaceReport) -> RaceWinner:
        self.distances = [dict(arm_signals(arm).distances) for arm in report.arms]
        return RaceWinner(0, None)

    def on_abandoned(self, report: AbandonedReport) -> None:
        return None

    def on_evaluation(self, report: EvaluationReport) -> float | None:
        return None

    def on_race_step(self) -> None: ...
    def on_step(self, report: StepReport) -> None: ...
    def on_evaluation_start(self) -> None: ...
    def on_save_start(self) -> None: ...
    def on_checkpoint(self, report: CheckpointReport) -> None: ...
    def on_rollback(self, report: RollbackReport) -> None: ...
    def on_quarantine(self, report: QuarantineReport) -> None: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}


def train_arms(run: Path, folder: Path, n_steps: int) -> tuple[int, list[dict[str, float]]]:
    """Train equal arms from the newest checkpoint of a run; its step, and each arm's distances by utterance."""
    start = read_records(run)[0]
    hparams = HParams.model_validate_json((run / "hparams.json").read_text(encoding="utf-8"))
    data = ["--data", start["data"]] if start["data"] else []
    options = train_enhanced.parse_options([*data, "--output", str(run.parent)])
    corpus = prepare_corpus(options, hparams, open_console()).training_data(hparams, ())
    saved = list_checkpoints(run / "checkpoints")[-1]
    (folder / "checkpoints").mkdir()
    shutil.copy(saved.path, folder / "checkpoints")
    observer = ArmObserver()
    model = build_model(hparams, len(corpus.symbols))
    state = RunState(model, corpus, hparams, folder=folder, observer=observer, device=torch.device("cpu"))
    state.load_state_dict(load_checkpoint(saved.path))
    trainer = EnhancedTrainer(state)
    arms: tuple[dict[str, float], ...] = ({},) * N_ARMS
    trainer.control.execute(
        TrainerOrder("race", step=saved.step, arms=arms, seeds=tuple(range(N_ARMS)), n_steps=n_steps)
    )
    trainer.fit(RunLimits(max_steps=saved.step + n_steps))
    return saved.step, observer.distances


def has_winner(arms: Sequence[Distances]) -> bool:
    treated = arms[N_CONTROLS:]
    settings = [treated[i : i + N_SEEDS] for i in range(0, len(treated), N_SEEDS)]
    return judge_race(arms[:N_CONTROLS], settings).verdict == "helped"


def has_winner_of_one_seed(arms: Sequence[Distances]) -> bool:
    """Whether the best of six arms beats the better of two others by more than those differ."""
    levels = [statistics.fmean(math.log(value) for value in arm.values()) for arm in arms]
    controls, treated = levels[:FEWER_CONTROLS], levels[FEWER_CONTROLS : FEWER_CONTROLS + N_SETTINGS]
    return min(controls) - min(treated) > abs(controls[0] - controls[1])


def print_table(records: Sequence[dict[str, Any]], write: Write) -> bool:
    is_met = bool(records)
    for record in records:
        arms, rng = record["arms"], np.random.default_rng(0)
        dealt = [[arms[i] for i in rng.permutation(len(arms))] for _ in range(N_RACES)]
        share = statistics.fmean(map(has_winner, dealt))
        of_one_seed = statistics.fmean(map(has_winner_of_one_seed, dealt))
        levels = [statistics.fmean(math.log(value) for value in arm.values()) for arm in arms]
        write(
            f"{record['run']} from step {record['step']}: arms differ by {statistics.stdev(levels):.1%}; races with a "
            f"winner {share:.1%}, required ≤ 5 %; with two controls and one seed {of_one_seed:.1%}\n"
        )
        is_met &= share <= MAX_WINNERS
    return is_met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of a run, for new arms; without it, the kept ones are judged")
    parser.add_argument("--steps", type=int, default=240, help="length of each arm")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.run is not None:
        with tempfile.TemporaryDirectory() as folder, options.results.open("a", encoding="utf-8") as file:
            step, arms = train_arms(options.run, Path(folder), options.steps)
            name = "/".join(options.run.parts[-2:])
            file.write(json.dumps({"run": name, "step": step, "n_steps": options.steps, "arms": arms}) + "\n")
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.is_file() else []
    return conclude(sys.stdout.write, is_met=print_table([json.loads(line) for line in lines], sys.stdout.write))


if __name__ == "__main__":
    sys.exit(main())
