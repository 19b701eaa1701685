"""Where runs are kept in MLflow: its experiment, and runs found by the key of what they stand for."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from monitoring.exporters.mlflow_settings import MlflowSettings, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

REQUEST_SECONDS = 10
MAY_PASS = (
    *("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
    "DEADLINE_EXCEEDED",
)
PARENT = "mlflow.parentRunId"  # as MLflow's own pages look for it
IS_TRAINING = {"mlflow.experimentKind": "custom_model_development"}  # else its pages show what language models need
KEY = "run_key"  # tells what a run stands for from others of its name
GONE = "RESOURCE_DOES_NOT_EXIST"


class MlflowStore:
    """The store that the settings name, for the runs of a folder."""

    def __init__(self, settings: MlflowSettings, output: Path) -> None:
        self._settings, self._output = settings, output
        self.uri = settings.store(output)

    @functools.cached_property
    def client(self) -> MlflowClient:
        set_up()
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def is_there(self, run_id: str | None) -> bool:
        from mlflow.exceptions import MlflowException

        if run_id is None:
            return False
        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != GONE:
                raise
            return False

    def run_of(self, key: str, name: str, *, born: int, tags: Mapping[str, str]) -> str:
        """The id of the run of this key; without one, perhaps since someone died before taking it down, a new one's."""
        experiment = self.experiment()
        found = self.client.search_runs([experiment], f"tags.{KEY} = {json.dumps(key)}", max_results=1)
        if found:
            return str(found[0].info.run_id)
        return str(self.client.create_run(experiment, born, {KEY: key, **tags}, name).info.run_id)

    def experiment(self) -> str:
        """Its id; one that was deleted keeps its name, and of several runs that begin at once one makes it."""
        from mlflow.exceptions import MlflowException

        client, wanted = self.client, self._settings.experiment
        name, n = wanted, 1
        while (found := client.get_experiment_by_name(name)) is not None:
            if found.lifecycle_stage == "active":
                return str(found.experiment_id)
            n += 1
            name = f"{wanted} ({n})"
        has_server = urlsplit(self.uri).scheme in ("http", "https", "") or self.uri.startswith("databricks")
        place = None if has_server else (self._output / "mlflow-artifacts").resolve().as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=IS_TRAINING))
        except MlflowException:
            if (found := client.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)


def experiments_at(uri: str) -> int:
    """How many a server has; raises what `MlflowRun` would wait for to pass."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    set_up()
    try:
        return len(MlflowClient(tracking_uri=uri).search_experiments())
    except (MlflowException, OSError) as error:
        passing = passing_or(error, uri)
        if passing is error:
            raise ValueError(f"{without_password(uri)} answers {getattr(error, 'error_code', 'nonsense')}") from None
        raise passing from None


def passing_or(error: Exception, uri: str) -> Exception:
    """As an OSError, if it may pass."""
    if isinstance(error, OSError) or getattr(error, "error_code", None) in MAY_PASS:
        return ConnectionError(f"{without_password(uri)} cannot be reached ({type(error).__name__})")
    return error


def set_up() -> None:
    """Fail soon, since whoever follows the journal tries again; and tell nobody else of it."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # that it makes its tables
