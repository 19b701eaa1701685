"""State of a run, rebuilt from its journal: the input of reports, messages and charts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from monitoring.journal.interventions import InterventionEntry, InterventionLog
from monitoring.journal.journal import RETURN_MARK, Record, iter_records
from monitoring.journal.series import DownsampledSeries

PACE_BLOCKS = 30  # the newest blocks of steps, from which the time left is estimated
SESSION_STARTS = ("started", "warm_started", "resumed")  # kinds of records that begin a session


@dataclass
class JournalState:
    """State after the records applied so far; a resume or a rollback removes the steps that it undoes."""

    name: str
    created_at: str | None = None  # time of the first record, ISO 8601
    start: Record | None = None  # the record that began the newest session
    step: int = 0
    phases: list[tuple[int, str]] = field(default_factory=list)  # first step, name
    series: dict[str, DownsampledSeries] = field(default_factory=dict)  # by signal
    evaluations: list[Record] = field(default_factory=list)
    quarantined_ids: list[str] = field(default_factory=list)
    latest_signals: dict[str, float | None] = field(default_factory=dict)
    planned_steps: int | None = None
    end: Record | None = None  # the `finished` record
    _log: InterventionLog = field(default_factory=InterventionLog)
    _arms: Sequence[Record] = ()  # of the newest race
    _abandoned: tuple[dict[str, DownsampledSeries], list[Record], list[tuple[int, str]]] | None = None
    """Curves, evaluations and phases before the newest rollback."""
    _plan_before_restart: int | None = None
    _block_ends: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=PACE_BLOCKS))  # seconds, step

    @staticmethod
    def load(folder: Path) -> JournalState:
        state = JournalState(folder.name)
        state.apply_all(iter_records(folder / "journal.jsonl"))
        return state

    def apply_all(self, records: Iterable[Record]) -> None:
        for record in records:
            self.apply(record)

    def apply(self, record: Record) -> None:
        self.created_at = self.created_at or record["time"]
        self._note_phase(record["step"], record.get("phase"))
        handlers = {
            **dict.fromkeys(SESSION_STARTS, self._on_start),
            "plan": self._on_plan,
            "steps": self._on_steps,
            "evaluation": self._on_evaluation,
            "checkpoint": self._on_checkpoint,
            "rolled_back": self._on_rollback,
            "race": self._on_race,
            "intervention": self._on_intervention,
            "follow_up": self._on_follow_up,
            "quarantined": self._on_quarantine,
            "finished": self._on_finish,
        }
        if handler := handlers.get(record["kind"]):
            handler(record)

    @property
    def interventions(self) -> list[InterventionEntry]:
        return self._log.entries

    @property
    def best_evaluation(self) -> Record | None:
        """The evaluation with the highest score."""
        scored = [record for record in self.evaluations if record["signals"].get("composite_tts_score") is not None]
        return max(scored, key=lambda record: float(record["signals"]["composite_tts_score"]), default=None)

    @property
    def seconds_left(self) -> float | None:
        """Remaining steps × median seconds a step, which no pause distorts; None where either is unknown."""
        seconds_per_step = [
            (end_seconds - start_seconds) / (end_step - start_step)
            for (start_seconds, start_step), (end_seconds, end_step) in pairwise(self._block_ends)
            if end_seconds > start_seconds and end_step > start_step
        ]
        if self.planned_steps is None or not seconds_per_step:
            return None
        return median(seconds_per_step) * max(0, self.planned_steps - self.step)

    @property
    def is_over(self) -> bool:
        return self.end is not None

    def race_winner(self, follow_up: Record) -> Record | None:
        """Return the winning arm (knobs, steps, signals, evaluation) of the race that a follow-up judges, if any."""
        if follow_up.get("verdict") and "from_step" in follow_up.get("evidence", {}):
            # a race of two arms, the second with the remedy, records a verdict only
            winner = follow_up["evidence"].get("winner", 1 if follow_up["verdict"] == "helped" else 0)
            return self._arms[winner]
        return None

    def _note_phase(self, step: int, phase: str | None) -> None:
        if phase is not None and (not self.phases or self.phases[-1][1] != phase):
            self.phases.append((step, phase))

    def _on_start(self, record: Record) -> None:
        """Undo everything later than the checkpoint that the session starts from: it will be trained again."""
        self.start, self.end = record, None
        self.planned_steps = record.get("planned_steps")
        self._drop_after(record["step"])
        self._log.undo_after(record["step"])

    def _on_plan(self, record: Record) -> None:
        self.planned_steps = record["planned_steps"]

    def _on_steps(self, record: Record) -> None:
        for name, column in record["signals"].items():
            series = self.series.setdefault(name, DownsampledSeries())
            for step, value in zip(record["steps"], column, strict=True):
                series.add(step, value)
            self.latest_signals[name] = column[-1]
        self.step = record["step"]
        if "time" in record:
            self._block_ends.append((datetime.fromisoformat(record["time"]).timestamp(), self.step))

    def _on_evaluation(self, record: Record) -> None:
        self._add_signals(record["step"], record["signals"])
        self.evaluations.append(record)

    def _on_checkpoint(self, record: Record) -> None:
        self._add_signals(record["step"], record.get("signals", {}))
        self._log.on_checkpoint(record["step"], record["kept"])

    def _add_signals(self, step: int, signals: Mapping[str, float | None]) -> None:
        for name, value in signals.items():
            self.series.setdefault(name, DownsampledSeries()).add(step, value)
            self.latest_signals[name] = value
        self.step = max(self.step, step)

    def _on_rollback(self, record: Record) -> None:
        if record["to"] is None:
            return
        if record.get(RETURN_MARK):
            self._restore_abandoned()
        else:
            self._abandoned = deepcopy(self.series), list(self.evaluations), list(self.phases)
        self._drop_after(record["to"])

    def _restore_abandoned(self) -> None:
        """Training returns to what it had left: the curves before a rollback, the plan before a restart."""
        if self._abandoned is not None:
            self.series, self.evaluations, self.phases = self._abandoned
        if self._plan_before_restart is not None:
            self.planned_steps = self._plan_before_restart
        self._abandoned = self._plan_before_restart = None

    def _on_race(self, record: Record) -> None:
        """Go back to the start of the race; the follow-up that names the winner adds the winner's steps."""
        self._drop_after(record["from_step"])
        self._arms = record["arms"]

    def _drop_after(self, step: int) -> None:
        for name, series in self.series.items():
            series.drop_after(step)
            self.latest_signals[name] = series.latest
        self.evaluations = [record for record in self.evaluations if record["step"] <= step]
        self.phases = [phase for phase in self.phases if phase[0] <= step] or self.phases[:1]
        self.step = step
        self._block_ends.clear()

    def _on_intervention(self, record: Record) -> None:
        if "on_the_way_to" not in record:  # a partial move of a knob belongs to the intervention before it
            self._log.add(record)
        if record.get("action") in ("restart", "roll_back"):
            self._abandoned = self._plan_before_restart = None
        if record.get("action") == "restart" and "advice" not in record and self.start is not None:
            self._plan_before_restart = self.planned_steps
            self.planned_steps = _planned_steps_after_restart(record["step"], self.start)

    def _on_follow_up(self, record: Record) -> None:
        self._log.add_follow_up(record)
        if (winner := self.race_winner(record)) is not None:
            last_step = winner["steps"][-1]
            self._on_steps({"step": last_step, **winner})
            self._add_signals(last_step, winner["evaluation"])

    def _on_quarantine(self, record: Record) -> None:
        self.quarantined_ids.extend(record["utterances"])

    def _on_finish(self, record: Record) -> None:
        self.end = record


def _planned_steps_after_restart(restart_step: int, start: Record) -> int | None:
    """Return the last planned step when the whole plan begins again at a step."""
    plan_length, max_steps = start.get("course_steps"), start.get("most_steps")
    if plan_length is None:
        return None
    end = restart_step + plan_length
    return int(end if max_steps is None else min(end, max_steps))
