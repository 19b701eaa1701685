"""Small studies of the tiny model, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import yaml

from smart_tuner.search.storage import JOURNAL
from tests.support.program import Outcome, Program, start, tiny
from tests.support.warm_start import WarmProcess

SPACE = {"learning_rate": {"times": [0.5, 2]}, "decoder_rnn_dim": {"low": 8, "high": 24}}
SEARCH: dict[str, Any] = {"trial_steps": 6, "evaluations": 3, "space": SPACE}
NAME = "study"


def settings(folder: Path, **search: Any) -> list[str]:
    """Return the --config option of a small study without MLflow."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"search": SEARCH | search, "mlflow": {"enabled": False}}), encoding="utf-8")
    return ["--config", str(path)]


def arguments(output: Path, data: Path, *more: object, n_trials: int = 3, **search: Any) -> list[str]:
    base = ["--mode", "tune", "--data", str(data), "--run_name", NAME, "--n_trials", str(n_trials)]
    return [*base, *tiny(epochs=400, cpu_threads=1), *settings(output, **search), *map(str, more)]


def tune(program: Program, data: Path, *more: object, **changes: Any) -> Outcome:
    return program(*arguments(program.output, data, *more, **changes))


def start_study(output: Path, data: Path, *more: object, **changes: Any) -> WarmProcess:
    return start(["--output", str(output), *arguments(output, data, *more, **changes)])


def study_in(output: Path, name: str = NAME) -> optuna.Study:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(output / name / JOURNAL)))
    return optuna.load_study(study_name=name, storage=storage)


def kinds(run: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in (run / "journal.jsonl").read_text().splitlines()]
