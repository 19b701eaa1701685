"""Sending of a run folder's journal to MLflow, and reading of what the store then holds."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from monitoring.exporters.mlflow_run import MlflowRun
from monitoring.exporters.mlflow_settings import MlflowSettings, default_store_uri, subscriber_state_name
from monitoring.exporters.mlflow_store import PARENT_TAG
from monitoring.journal.tail import JournalTail
from tests.monitoring.journals import RunFolder


def make_tail(run: RunFolder, warn: Any = pytest.fail, **settings: Any) -> JournalTail:
    (run.path / "companion").mkdir(exist_ok=True)
    mlflow = MlflowSettings(**settings)
    state_name = subscriber_state_name(mlflow.store_uri(run.path.parent))
    return JournalTail("mlflow", run.path, lambda: MlflowRun(run.path, mlflow), state_name=state_name, warn=warn)


def send(run: RunFolder, **settings: Any) -> list[Run]:
    """Send the new part of the journal; return the MLflow runs of this folder, children last."""
    tail = make_tail(run, **settings)
    tail.finish_requested.set()
    tail.run()
    return runs_of(run, settings.get("uri"), settings.get("experiment", "voices"))


def client(run: RunFolder, uri: str | None = None) -> MlflowClient:
    return MlflowClient(tracking_uri=uri or default_store_uri(run.path.parent))


def runs_of(run: RunFolder, uri: str | None = None, experiment: str = "voices") -> list[Run]:
    entity = client(run, uri).get_experiment_by_name(experiment)
    assert entity is not None
    all_runs = client(run, uri).search_runs([entity.experiment_id])
    runs = [one for one in all_runs if one.info.run_name.split(",")[0] == run.path.name]
    return sorted(runs, key=lambda one: (PARENT_TAG in one.data.tags, int(one.data.tags.get("attempt", "1"))))


def metric_history(run: RunFolder, mlflow_run: Run, name: str, uri: str | None = None) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client(run, uri).get_metric_history(mlflow_run.info.run_id, name)]


def artifacts(run: RunFolder, mlflow_run: Run, path: str | None = None, uri: str | None = None) -> set[str]:
    return {file.path for file in client(run, uri).list_artifacts(mlflow_run.info.run_id, path) if not file.is_dir}
