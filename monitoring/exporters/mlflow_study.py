"""Study in MLflow: a run whose children are the runs of its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitoring.exporters.mlflow_settings import MlflowSettings, without_credentials
from monitoring.exporters.mlflow_store import MlflowStore


@dataclass(frozen=True)
class MlflowStudy:
    """The run of the study in `folder`, created at `created_at` (ISO 8601)."""

    folder: Path
    created_at: str

    @property
    def output(self) -> Path:
        return self.folder.parent

    def find_or_create_run(self, store: MlflowStore) -> str:
        start_ms = int(datetime.fromisoformat(self.created_at).timestamp() * 1000)
        key, name = f"{self.folder.name} {self.created_at}", self.folder.name
        return store.find_or_create_run(key, name, start_ms=start_ms, tags={"kind": "study"})

    def finish(
        self, settings: MlflowSettings, *, score: float, params: Mapping[str, str], files: Sequence[Path]
    ) -> None:
        """Log the best trial and end the run; a ConnectionError when the store cannot be reached or refuses it."""
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        store = MlflowStore(settings, self.output)
        try:
            run_id, client = self.find_or_create_run(store), store.client
            client.log_metric(run_id, "composite_tts_score", score)
            client.log_batch(run_id, tags=[RunTag(f"best.{name}", value) for name, value in params.items()])
            for path in files:
                client.log_artifact(run_id, str(path))
            client.set_terminated(run_id, "FINISHED")
        except (MlflowException, OSError) as error:
            raise ConnectionError(f"{without_credentials(store.uri)}: {type(error).__name__}") from None
