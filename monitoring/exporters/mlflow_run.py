"""MLflow run of a training: metrics, parameters, tags and artifacts from its journal."""

from __future__ import annotations

import functools
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from monitoring.exporters.mlflow_settings import MlflowSettings
from monitoring.exporters.mlflow_store import PARENT_TAG, MlflowStore, connection_error, is_temporary
from monitoring.exporters.mlflow_study import MlflowStudy
from monitoring.exporters.system_load import SystemLoad
from monitoring.journal.journal import Record
from monitoring.journal.journal_state import SESSION_STARTS, JournalState

MAX_METRICS, MAX_PARAMS, MAX_VALUE_LENGTH = 1000, 100, 6000  # limits of the server for one request
STATUSES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "FAILED", "interrupted": "KILLED"}
NO_RUN = {"run_id": None, "child_id": None, "child_step": 0, "attempts": 1}
VERDICTS = ("helped", "unknown", "no_effect", "harmful", "open")

Point = tuple[str, float, int, int]
"""Name, value, milliseconds since 1970, step."""


class MlflowRun:
    """Journal subscriber that fills one MLflow run, also over several sessions; each restart begins a child run.

    Requests wait in a queue until the store has answered them, so that an unreachable server loses nothing.
    """

    def __init__(self, run: Path, settings: MlflowSettings, study: MlflowStudy | None = None) -> None:
        """`study`: given for a trial, which uses the study's store and becomes a child of its run."""
        self._run, self._settings, self._study = run, settings, study
        self._requests: deque[Callable[[], None]] = deque()
        self._store = MlflowStore(settings, run.parent if study is None else study.output)
        self._state: dict[str, Any] = {**NO_RUN, "samples": 0}
        self._system_load = SystemLoad()
        self._key, self._start_ms = "", 0  # of the whole run, not of the session

    def on_record(self, record: Record, state: JournalState) -> None:
        self._key = f"{self._run.name} {state.created_at}"
        self._start_ms = _milliseconds({"time": state.created_at})
        handlers = {
            **dict.fromkeys(SESSION_STARTS, self._on_start),
            "steps": self._on_steps,
            "evaluation": self._on_evaluation,
            "checkpoint": self._on_checkpoint,
            "intervention": self._on_intervention,
            "finished": self._on_finish,
        }
        if handler := handlers.get(record["kind"]):
            handler(record)
        if record["kind"] == "follow_up" and (winner := state.race_winner(record)) is not None:
            common = {"time": record["time"], "step": winner["steps"][-1]}
            self._on_steps({**common, **winner})
            self._queue_signals({**common, "signals": winner["evaluation"]})
        if record["kind"] in ("phase", "intervention", "follow_up", "finished"):
            tags = {"phase": state.phases[-1][1] if state.phases else "none", **_count_verdicts(state)}
            self._requests.append(lambda: self._set_tags(tags))

    def flush(self) -> None:
        self._queue_system_load()
        if not self._requests:
            return
        from mlflow.exceptions import MlflowException

        while self._requests:
            try:
                self._requests[0]()
            except (MlflowException, OSError) as error:
                if is_temporary(error):
                    raise connection_error(error, self._store.uri) from error
                if self._replaces_deleted_run():
                    continue
                raise
            self._requests.popleft()

    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state |= state

    def close(self) -> None:
        """Nothing to close: there is no open connection between requests."""

    def _on_start(self, record: Record) -> None:
        params = flatten({"hparams": record["hparams"], "choices": record["choices"]})
        tags = {"model": str(record["hparams"].get("model")), "status": "running", "data": str(record.get("data"))}

        def start() -> None:
            client = self._store.client
            self._ensure_run()
            client.update_run(self._state["run_id"], status="RUNNING")
            if self._state["child_id"] is not None and record["step"] < self._state["child_step"]:
                self._end_child("KILLED")  # the resume undoes that restart
            elif self._state["child_id"] is not None:
                client.update_run(self._state["child_id"], status="RUNNING")
            self._log_params(self._state["run_id"], params)
            self._set_tags(tags)
            self._log_artifact(self._run / "hparams.json", "")

        self._requests.append(start)

    def _ensure_run(self) -> bool:
        """Find or create the run, and forget a deleted child; return whether one of them was missing."""
        before = dict(self._state)
        if not self._store.has_run(self._state["run_id"]):
            self._state |= NO_RUN | {"run_id": self._find_or_create_run()}
        elif self._state["child_id"] is not None and not self._store.has_run(self._state["child_id"]):
            self._state["child_id"] = None
        return self._state != before

    def _find_or_create_run(self) -> str:
        tags = {} if self._study is None else {PARENT_TAG: self._study.find_or_create_run(self._store)}
        return self._store.find_or_create_run(self._key, self._run.name, start_ms=self._start_ms, tags=tags)

    def _replaces_deleted_run(self) -> bool:
        """Replace a run that a person deleted; False if none is missing, or if the check fails too."""
        from mlflow.exceptions import MlflowException

        try:
            return self._ensure_run()
        except MlflowException:
            return False

    def _on_steps(self, record: Record) -> None:
        milliseconds = _milliseconds(record)
        self._queue_metrics(
            (name, value, milliseconds, step)
            for name, column in record["signals"].items()
            for step, value in zip(record["steps"], column, strict=True)
        )

    def _on_evaluation(self, record: Record) -> None:
        self._queue_signals(record)
        for sample in record.get("samples", ()):
            if not sample["file"].startswith("samples/worst"):
                for suffix in (".png", ".wav"):
                    path = self._run / (sample["file"] + suffix)
                    self._requests.append(functools.partial(self._log_artifact, path, "samples"))

    def _queue_signals(self, record: Record) -> None:
        milliseconds = _milliseconds(record)
        self._queue_metrics((name, value, milliseconds, record["step"]) for name, value in record["signals"].items())

    def _on_checkpoint(self, record: Record) -> None:
        if self._settings.checkpoints == "all":
            self._requests.append(functools.partial(self._log_artifact, self._run / record["path"], "checkpoints"))

    def _on_intervention(self, record: Record) -> None:
        if record.get("action") != "restart" or "advice" in record:
            return
        params = flatten({"knobs": record.get("knobs", {}), "hparams": record.get("settings", {})})
        tags = {"remedy": record["remedy"], "ailment": record["ailment"]}

        def begin_child() -> None:
            if self._state["child_id"] is not None and self._state["child_step"] == record["step"]:
                return  # an earlier session created it
            self._end_child("KILLED")
            client, attempt = self._store.client, self._state["attempts"] + 1
            parent = client.get_run(self._state["run_id"])
            child = client.create_run(
                parent.info.experiment_id,
                start_time=_milliseconds(record),
                run_name=f"{self._run.name}, attempt {attempt}",
                tags={PARENT_TAG: parent.info.run_id, "attempt": str(attempt), **tags},
            )
            self._state |= {"child_id": child.info.run_id, "child_step": record["step"], "attempts": attempt}

        self._requests += [begin_child, lambda: self._log_params(self._state["child_id"], params)]

    def _on_finish(self, record: Record) -> None:
        status, milliseconds = STATUSES[record["status"]], _milliseconds(record)

        def finish() -> None:
            for name in ("journal.jsonl", "summary.json", "report.html", "quarantine.json"):
                self._log_artifact(self._run / name, "")
            if self._settings.checkpoints != "none":
                self._log_artifact(self._run / "voice.safetensors", "")
            self._set_tags({"status": record["status"], "reason": str(record["reason"])[:MAX_VALUE_LENGTH]})
            self._end_child(status, may_resume=record["status"] in ("interrupted", "failed"))
            self._store.client.set_terminated(self._state["run_id"], status, milliseconds)

        self._requests.append(finish)

    def _end_child(self, status: str, *, may_resume: bool = False) -> None:
        """End the child run, if any; with `may_resume` a later session continues it."""
        if self._state["child_id"] is not None:
            self._store.client.set_terminated(self._state["child_id"], status)
            self._state["child_id"] = self._state["child_id"] if may_resume else None

    def _queue_metrics(self, values: Iterable[tuple[str, float | None, int, int]]) -> None:
        """Queue the values that were measured, for the run and its present child."""
        points: list[Point] = [(name, value, ms, step) for name, value, ms, step in values if value is not None]
        for i in range(0, len(points), MAX_METRICS):
            self._requests.append(functools.partial(self._log_metrics, points[i : i + MAX_METRICS]))

    def _log_metrics(self, points: Sequence[Point], *, for_child: bool = True) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(*point) for point in points]
        for run_id in (self._state["run_id"], self._state["child_id"] if for_child else None):
            if run_id is not None:
                self._store.client.log_batch(run_id, metrics=metrics)

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log new parameters; MLflow cannot change one, so that a changed value becomes the tag `now.<name>`."""
        from mlflow.entities import Param, RunTag

        known = self._store.client.get_run(run_id).data.params
        new = [Param(name, value) for name, value in params.items() if name not in known]
        changed = [RunTag(f"now.{name}", value) for name, value in params.items() if known.get(name, value) != value]
        for i in range(0, len(new), MAX_PARAMS):
            self._store.client.log_batch(run_id, params=new[i : i + MAX_PARAMS])
        if changed:
            self._store.client.log_batch(run_id, tags=changed[:MAX_PARAMS])

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._store.client.log_batch(self._state["run_id"], tags=[RunTag(name, value) for name, value in tags.items()])

    def _log_artifact(self, path: Path, folder: str) -> None:
        """Upload a file unless it is gone by now: an old checkpoint, or a sample without sound."""
        if path.is_file():
            self._store.client.log_artifact(self._state["run_id"], str(path), folder or None)

    def _queue_system_load(self) -> None:
        if self._state["run_id"] is None or not (load := self._system_load.sample()):
            return
        milliseconds, sample = int(time.time() * 1000), self._state["samples"]
        self._state["samples"] = sample + 1
        points = [(f"system/{name}", value, milliseconds, sample) for name, value in load.items()]
        self._requests.append(functools.partial(self._log_metrics, points, for_child=False))


def flatten(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return `{"group.name": text}` for groups of values."""
    return {
        f"{group}.{name}": (value if isinstance(value, str) else json.dumps(value))[:MAX_VALUE_LENGTH]
        for group, values in groups.items()
        for name, value in values.items()
    }


def _count_verdicts(state: JournalState) -> dict[str, str]:
    verdicts = [entry.verdict or "open" for entry in state.interventions]
    counts = {f"interventions.{verdict}": str(verdicts.count(verdict)) for verdict in VERDICTS}
    return {"interventions": str(len(verdicts)), **counts}


def _milliseconds(record: Record) -> int:
    return int(datetime.fromisoformat(record["time"]).timestamp() * 1000)
