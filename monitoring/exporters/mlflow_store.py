"""Store of MLflow runs: its experiment, and its runs, which are found by a key."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from monitoring.exporters.mlflow_settings import MlflowSettings, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

REQUEST_SECONDS = 10
TEMPORARY_ERRORS = (
    *("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
    "DEADLINE_EXCEEDED",
)
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own pages nest runs by this tag
TRAINING_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow shows its pages for language models
KEY_TAG = "run_key"  # run names are not unique


class MlflowStore:
    """The MLflow store of the runs in the folder `output`, as the settings define it."""

    def __init__(self, settings: MlflowSettings, output: Path) -> None:
        self._settings, self._output = settings, output
        self.uri = settings.store_uri(output)

    @functools.cached_property
    def client(self) -> MlflowClient:
        configure_mlflow()
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def has_run(self, run_id: str | None) -> bool:
        """Whether a run exists and was not deleted."""
        from mlflow.exceptions import MlflowException

        if run_id is None:
            return False
        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def find_or_create_run(self, key: str, name: str, *, start_ms: int, tags: Mapping[str, str]) -> str:
        """Return the id of the run with this key; it may exist although nobody saved its id before being killed."""
        experiment_id = self.find_or_create_experiment()
        runs = self.client.search_runs([experiment_id], f"tags.{KEY_TAG} = {json.dumps(key)}", max_results=1)
        if runs:
            return str(runs[0].info.run_id)
        return str(self.client.create_run(experiment_id, start_ms, {KEY_TAG: key, **tags}, name).info.run_id)

    def find_or_create_experiment(self) -> str:
        """Return the id of the experiment; a deleted one keeps its name, so that a new one is called `name (2)`."""
        from mlflow.exceptions import MlflowException

        name, n = self._settings.experiment, 1
        while (experiment := self.client.get_experiment_by_name(name)) is not None:
            if experiment.lifecycle_stage == "active":
                return str(experiment.experiment_id)
            n += 1
            name = f"{self._settings.experiment} ({n})"
        has_server = urlsplit(self.uri).scheme in ("http", "https", "") or self.uri.startswith("databricks")
        artifacts = None if has_server else (self._output / "mlflow-artifacts").resolve().as_uri()
        try:
            return str(self.client.create_experiment(name, artifact_location=artifacts, tags=TRAINING_TAGS))
        except MlflowException:  # another run may have created it in the meantime
            if (experiment := self.client.get_experiment_by_name(name)) is None:
                raise
            return str(experiment.experiment_id)


def count_experiments(uri: str) -> int:
    """Return the number of experiments of a server; ConnectionError where `MlflowRun` would retry, else ValueError."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    configure_mlflow()
    try:
        return len(MlflowClient(tracking_uri=uri).search_experiments())
    except (MlflowException, OSError) as error:
        if is_temporary(error):
            raise connection_error(error, uri) from None
        code = getattr(error, "error_code", "nonsense")
        raise ValueError(f"{without_credentials(uri)} answers {code}") from None


def is_temporary(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, OSError) or getattr(error, "error_code", None) in TEMPORARY_ERRORS


def connection_error(error: Exception, uri: str) -> ConnectionError:
    """Return the OSError on which a journal tail retries; its message holds no credentials."""
    return ConnectionError(f"{without_credentials(uri)} cannot be reached ({type(error).__name__})")


def configure_mlflow() -> None:
    """Set short timeouts, since the journal tail retries, and turn off telemetry."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # at INFO it logs the creation of its tables
