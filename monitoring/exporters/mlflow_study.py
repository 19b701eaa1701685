"""A study as MLflow shows it: a run that its trials are children of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitoring.exporters.mlflow_settings import MlflowSettings, without_password
from monitoring.exporters.mlflow_store import MlflowStore


@dataclass(frozen=True)
class StudyRun:
    """Of the study in this folder, begun at that moment (ISO 8601)."""

    folder: Path
    born: str

    @property
    def output(self) -> Path:
        return self.folder.parent

    def run_in(self, store: MlflowStore) -> str:
        born = int(datetime.fromisoformat(self.born).timestamp() * 1000)
        tags = {"kind": "study"}
        return store.run_of(f"{self.folder.name} {self.born}", self.folder.name, born=born, tags=tags)

    def close(
        self, settings: MlflowSettings, *, score: float, params: Mapping[str, str], files: Sequence[Path]
    ) -> None:
        """What it came to; an OSError when the store cannot be reached or refuses it."""
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        store = MlflowStore(settings, self.output)
        try:
            run_id, client = self.run_in(store), store.client
            client.log_metric(run_id, "composite_tts_score", score)
            client.log_batch(run_id, tags=[RunTag(f"best.{name}", value) for name, value in params.items()])
            for path in files:
                client.log_artifact(run_id, str(path))
            client.set_terminated(run_id, "FINISHED")
        except (MlflowException, OSError) as error:
            raise ConnectionError(f"{without_password(store.uri)}: {type(error).__name__}") from None
