"""A worker process whose trials only take time; it logs the start and end of each to `trials.txt`, one line each."""

from __future__ import annotations

import os
import time
from pathlib import Path

from optuna.trial import Trial

from smart_tuner.search.trials import first_attempt_number
from smart_tuner.search.worker import StudyWorker
from tests.smart_tuner.search.small_study import make_plan, make_study

TRIAL_LOG = "trials.txt"


def main(folder: Path, url: str | None, n_trials: int, seconds: float) -> None:
    study, storage = make_study(folder, url)

    def log(line: str) -> None:
        file = os.open(folder / TRIAL_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    def run_trial(trial: Trial) -> float:
        params = {dimension.name: dimension.suggest(trial) for dimension in make_plan().space}
        number = first_attempt_number(study.get_trials(deepcopy=False)[trial.number])
        log(f"start {number}")
        for evaluation in (1, 2, 3):
            time.sleep(seconds / 3)
            trial.report(evaluation * 0.1, evaluation)
        log(f"end {number}")
        return float(params["batch_size"]) / 64

    worker = StudyWorker(study, make_plan(), storage, folder, n_trials=n_trials)
    worker.run(run_trial, lambda: os.getppid() == 1)
