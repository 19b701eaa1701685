"""The run as MLflow shows it."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from monitoring.exporters.mlflow_settings import MlflowSettings
from monitoring.exporters.mlflow_store import PARENT, MlflowStore, passing_or
from monitoring.exporters.mlflow_study import StudyRun
from monitoring.exporters.system_load import SystemMetrics
from monitoring.journal.journal import Record
from monitoring.journal.run_state import SESSION_STARTS, JournalState

MOST_METRICS, MOST_PARAMS, LONGEST_PARAM = 1000, 100, 6000  # in a request, as the server allows
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "FAILED", "interrupted": "KILLED"}
UNKNOWN = {"run_id": None, "child_id": None, "child_step": 0, "attempts": 1}
VERDICTS = ("helped", "no_effect", "harmful", "open")


Point = tuple[str, float, int, int]
"""Name, value, milliseconds, step."""


class MlflowRun:
    """Sends a journal to an MLflow run, which a resumed training continues; each new start has a child run.

    What is to be sent waits in a queue until the store has it, so that a server out of reach costs nothing.
    """

    def __init__(self, run: Path, settings: MlflowSettings, study: StudyRun | None = None) -> None:
        """`study`: of which it is a trial, and whose store it shares."""
        self._run, self._settings, self._study = run, settings, study
        self._left: deque[Callable[[], None]] = deque()
        self._store = MlflowStore(settings, run.parent if study is None else study.output)
        self._state: dict[str, Any] = {**UNKNOWN, "samples": 0}
        self._system = SystemMetrics()
        self._key, self._born = "", 0  # of the run, and when it was begun

    def on_record(self, record: Record, state: JournalState) -> None:
        self._key = f"{self._run.name} {state.created_at}"
        self._born = _milliseconds({"time": state.created_at})
        known = {
            **dict.fromkeys(SESSION_STARTS, self._start),
            "steps": self._steps,
            "evaluation": self._evaluation,
            "checkpoint": self._checkpoint,
            "intervention": self._intervention,
            "finished": self._finish,
        }
        if handle := known.get(record["kind"]):
            handle(record)
        if record["kind"] == "follow_up" and (winner := state.race_winner(record)) is not None:
            at = {"time": record["time"], "step": winner["steps"][-1]}
            self._steps({**at, **winner})
            self._signals({**at, "signals": winner["evaluation"]})
        if record["kind"] in ("phase", "intervention", "follow_up", "finished"):
            tags = {"phase": state.phases[-1][1] if state.phases else "none", **_counts(state)}
            self._left.append(lambda: self._set_tags(tags))

    def flush(self) -> None:
        self._sample_system()
        if not self._left:
            return
        from mlflow.exceptions import MlflowException

        while self._left:
            try:
                self._left[0]()
            except (MlflowException, OSError) as error:
                passing = passing_or(error, self._store.uri)
                if passing is error and self._is_mended():
                    continue
                raise passing from error
            self._left.popleft()

    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state |= state

    def close(self) -> None:
        """Every request is over when it returns."""

    def _start(self, record: Record) -> None:
        params = flattened({"hparams": record["hparams"], "choices": record["choices"]})
        tags = {"model": str(record["hparams"].get("model")), "status": "running", "data": str(record.get("data"))}

        def start() -> None:
            client = self._store.client
            self._mend()
            client.update_run(self._state["run_id"], status="RUNNING")
            if self._state["child_id"] is not None and record["step"] < self._state["child_step"]:
                self._end_child("KILLED")  # that new start will happen anew
            elif self._state["child_id"] is not None:
                client.update_run(self._state["child_id"], status="RUNNING")
            self._log_params(self._state["run_id"], params)
            self._set_tags(tags)
            self._log_artifact(self._run / "hparams.json", "")

        self._left.append(start)

    def _mend(self) -> bool:
        """Have a run and, where there was one, its child: people delete them. Whether something was missing."""
        before = dict(self._state)
        if not self._store.is_there(self._state["run_id"]):
            self._state |= UNKNOWN | {"run_id": self._own_run()}
        elif self._state["child_id"] is not None and not self._store.is_there(self._state["child_id"]):
            self._state["child_id"] = None
        return self._state != before

    def _own_run(self) -> str:
        tags = {} if self._study is None else {PARENT: self._study.run_in(self._store)}
        return self._store.run_of(self._key, self._run.name, born=self._born, tags=tags)

    def _is_mended(self) -> bool:
        """False as well where it cannot be: then what went wrong first is what there is to say."""
        from mlflow.exceptions import MlflowException

        try:
            return self._mend()
        except MlflowException:
            return False

    def _steps(self, record: Record) -> None:
        milliseconds = _milliseconds(record)
        self._log(
            (name, value, milliseconds, step)
            for name, column in record["signals"].items()
            for step, value in zip(record["steps"], column, strict=True)
        )

    def _evaluation(self, record: Record) -> None:
        self._signals(record)
        stems = [
            sample["file"] for sample in record.get("samples", ()) if not sample["file"].startswith("samples/worst")
        ]
        for file in (f"{stem}{suffix}" for stem in stems for suffix in (".png", ".wav")):
            self._left.append(lambda file=file: self._log_artifact(self._run / file, "samples"))  # type: ignore[misc]

    def _signals(self, record: Record) -> None:
        """Of one moment."""
        milliseconds = _milliseconds(record)
        self._log((name, value, milliseconds, record["step"]) for name, value in record["signals"].items())

    def _checkpoint(self, record: Record) -> None:
        if self._settings.checkpoints == "all":
            path = self._run / record["path"]
            self._left.append(lambda: self._log_artifact(path, "checkpoints"))

    def _intervention(self, record: Record) -> None:
        if record.get("action") != "restart" or "advice" in record:
            return
        settings = flattened({"knobs": record.get("knobs", {}), "hparams": record.get("settings", {})})
        tags = {"remedy": record["remedy"], "ailment": record["ailment"]}

        def begin_anew() -> None:
            if self._state["child_id"] is not None and self._state["child_step"] == record["step"]:
                return  # done before
            self._end_child("KILLED")
            client, attempt = self._store.client, self._state["attempts"] + 1
            parent = client.get_run(self._state["run_id"])
            child = client.create_run(
                parent.info.experiment_id,
                start_time=_milliseconds(record),
                run_name=f"{self._run.name}, attempt {attempt}",
                tags={PARENT: parent.info.run_id, "attempt": str(attempt), **tags},
            )
            self._state |= {"child_id": child.info.run_id, "child_step": record["step"], "attempts": attempt}

        self._left += [begin_anew, lambda: self._log_params(self._state["child_id"], settings)]

    def _finish(self, record: Record) -> None:
        status, milliseconds = STATUS[record["status"]], _milliseconds(record)

        def finish() -> None:
            for name in ("journal.jsonl", "summary.json", "report.html", "quarantine.json"):
                self._log_artifact(self._run / name, "")
            if self._settings.checkpoints != "none":
                self._log_artifact(self._run / "voice.safetensors", "")
            self._set_tags({"status": record["status"], "reason": str(record["reason"])[:LONGEST_PARAM]})
            self._end_child(status, goes_on=record["status"] in ("interrupted", "failed"))
            self._store.client.set_terminated(self._state["run_id"], status, milliseconds)

        self._left.append(finish)

    def _end_child(self, status: str, *, goes_on: bool = False) -> None:
        """`goes_on`: perhaps, in a later session."""
        if self._state["child_id"] is not None:
            self._store.client.set_terminated(self._state["child_id"], status)
            self._state["child_id"] = self._state["child_id"] if goes_on else None

    def _log(self, points: Iterable[tuple[str, float | None, int, int]]) -> None:
        """Of the run and of its present attempt; what was not measured is left out."""
        known: list[Point] = [(name, value, ms, step) for name, value, ms, step in points if value is not None]
        for i in range(0, len(known), MOST_METRICS):
            chunk = known[i : i + MOST_METRICS]
            self._left.append(lambda chunk=chunk: self._log_metrics(chunk))  # type: ignore[misc]

    def _log_metrics(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(*point) for point in points]
        for run_id in (self._state["run_id"], self._state["child_id"]):
            if run_id is not None:
                self._store.client.log_batch(run_id, metrics=metrics)

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """The first ones count: MLflow has no second value for a parameter, and the changed ones become tags."""
        from mlflow.entities import Param, RunTag

        known = self._store.client.get_run(run_id).data.params
        new = [Param(name, value) for name, value in params.items() if name not in known]
        changed = [RunTag(f"now.{name}", value) for name, value in params.items() if known.get(name, value) != value]
        for i in range(0, len(new), MOST_PARAMS):
            self._store.client.log_batch(run_id, params=new[i : i + MOST_PARAMS])
        if changed:
            self._store.client.log_batch(run_id, tags=changed[:MOST_PARAMS])

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._store.client.log_batch(self._state["run_id"], tags=[RunTag(name, value) for name, value in tags.items()])

    def _log_artifact(self, path: Path, place: str) -> None:
        """One that is gone by now (an old checkpoint, a sample of no sound) is left out."""
        if path.is_file():
            self._store.client.log_artifact(self._state["run_id"], str(path), place or None)

    def _sample_system(self) -> None:
        if self._state["run_id"] is None or not (measured := self._system.measured()):
            return
        now, sample = int(time.time() * 1000), self._state["samples"]
        self._state["samples"] = sample + 1
        points = [(name, value, now, sample) for name, value in measured.items()]
        self._left.append(lambda: self._log_system(points))

    def _log_system(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        self._store.client.log_batch(
            self._state["run_id"], metrics=[Metric(f"system/{point[0]}", *point[1:]) for point in points]
        )


def flattened(values: Mapping[str, Any]) -> dict[str, str]:
    """Of groups of values: group.name → its text."""
    return {
        f"{group}.{name}": (value if isinstance(value, str) else json.dumps(value))[:LONGEST_PARAM]
        for group, members in values.items()
        for name, value in members.items()
    }


def _counts(state: JournalState) -> dict[str, str]:
    verdicts = [entry.verdict or "open" for entry in state.interventions]
    counts = {f"interventions.{verdict}": str(verdicts.count(verdict)) for verdict in VERDICTS}
    return {"interventions": str(len(verdicts)), **counts}


def _milliseconds(record: Record) -> int:
    return int(datetime.fromisoformat(record["time"]).timestamp() * 1000)
