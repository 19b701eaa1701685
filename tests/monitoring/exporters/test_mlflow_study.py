"""Study in MLflow: one run whose children are its trials."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from monitoring.exporters.mlflow_run import MlflowRun
from monitoring.exporters.mlflow_settings import MlflowSettings, default_store_uri
from monitoring.exporters.mlflow_store import PARENT_TAG
from monitoring.exporters.mlflow_study import MlflowStudy
from monitoring.journal.tail import JournalTail
from tests.monitoring.journals import RunFolder

CREATED_AT = "2026-11-22T08:00:00+00:00"


def send(run: RunFolder, settings: MlflowSettings, study: MlflowStudy) -> None:
    tail = JournalTail("mlflow", run.path, lambda: MlflowRun(run.path, settings, study), warn=pytest.fail)
    tail.finish_requested.set()
    tail.run()


def test_trials_are_children_of_the_study_in_its_store(tmp_path: Path) -> None:
    study, settings = MlflowStudy(tmp_path / "tune-demo", CREATED_AT), MlflowSettings()
    trials = tmp_path / "tune-demo" / "trials"
    trials.mkdir(parents=True)
    for name in ("trial-00000", "trial-00001"):
        run = RunFolder(trials / name)
        run.start()
        (run.path / "companion").mkdir(exist_ok=True)
        send(run, settings, study)
    best = tmp_path / "best_hparams.yaml"
    best.write_text("learning_rate: 0.1\n")
    study.finish(settings, score=0.75, params={"learning_rate": "0.1"}, files=[best])
    client = MlflowClient(tracking_uri=default_store_uri(tmp_path))
    experiment = client.get_experiment_by_name("voices")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"tune-demo", "trial-00000", "trial-00001"}
    parent = runs["tune-demo"]
    assert {run.data.tags.get(PARENT_TAG) for name, run in runs.items() if name != "tune-demo"} == {parent.info.run_id}
    assert parent.data.metrics == {"composite_tts_score": 0.75} and parent.info.status == "FINISHED"
    assert parent.data.tags["best.learning_rate"] == "0.1"
    assert [artifact.path for artifact in client.list_artifacts(parent.info.run_id)] == ["best_hparams.yaml"]
    assert not (trials / "mlflow.db").exists()


def test_an_unreachable_store_is_a_connection_error_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    study = MlflowStudy(tmp_path / "tune-demo", CREATED_AT)
    with pytest.raises(ConnectionError, match="http://127.0.0.1:1") as caught:
        study.finish(MlflowSettings(uri="http://me:geheim@127.0.0.1:1"), score=0.5, params={}, files=[])
    assert "geheim" not in str(caught.value)
