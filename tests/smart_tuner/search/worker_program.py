"""A worker, in a process of its own, whose trials do nothing but take some time.

What it began and ended it says in `ran.txt`, a line each, whatever the storage knows of it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from optuna.trial import Trial

from smart_tuner.search.trials import first_number
from smart_tuner.search.worker import Worker
from tests.smart_tuner.search.some_study import plan, study


def main(folder: Path, url: str | None, n_trials: int, seconds: float) -> None:
    opened, kept = study(folder, url)

    def say(line: str) -> None:
        file = os.open(folder / "ran.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    def run(trial: Trial) -> float:
        params = {dimension.name: dimension.suggest(trial) for dimension in plan().space}
        number = first_number(opened.get_trials(deepcopy=False)[trial.number])
        say(f"begin {number}")
        for evaluation in (1, 2, 3):
            time.sleep(seconds / 3)
            trial.report(evaluation * 0.1, evaluation)
        say(f"end {number}")
        return float(params["batch_size"]) / 64

    worker = Worker(opened, plan(), kept, folder, n_trials=n_trials)
    worker.work(run, lambda: os.getppid() == 1)
