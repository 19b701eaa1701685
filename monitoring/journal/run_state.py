"""What a run's journal tells so far: the one picture that report, messages and charts are made from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from monitoring.journal.journal import records

MOST_POINTS = 1_000
CLOCKED = 30  # blocks of steps, by which the pace is told
STARTS = ("started", "warm_started", "resumed")  # kinds of records a session begins with

Record = Mapping[str, Any]


class Series:
    """A signal over all steps in bounded memory: means of ever more neighbouring steps."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self._stride, self._waiting = 1, list[tuple[int, float]]()

    def add(self, step: int, value: float | None) -> None:
        if value is None:
            return
        self._waiting.append((step, value))
        if len(self._waiting) < self._stride:
            return
        self.points.append(_middle(self._waiting))
        self._waiting = []
        if len(self.points) > MOST_POINTS:
            self.points = [_middle(self.points[i : i + 2]) for i in range(0, len(self.points), 2)]
            self._stride *= 2

    def forget_after(self, step: int) -> None:
        self.points = [point for point in self.points if point[0] <= step]
        self._waiting = [point for point in self._waiting if point[0] <= step]

    @property
    def latest(self) -> float | None:
        newest = self._waiting or self.points
        return newest[-1][1] if newest else None

    def all(self) -> list[tuple[int, float]]:
        """With the newest ones, which are not yet enough for a mean."""
        return self.points + self._waiting[-1:]


def _middle(points: list[tuple[int, float]]) -> tuple[int, float]:
    return points[-1][0], sum(value for _, value in points) / len(points)


def _end_of_course(from_step: int, start: Record) -> int | None:
    """Where training ends if it begins anew at a step."""
    course, most = start.get("course_steps"), start.get("most_steps")
    if course is None:
        return None
    return int(from_step + course if most is None else min(from_step + course, most))


@dataclass
class InterventionEntry:
    """An intervention, and what became of it."""

    number: int
    record: Record
    follow_ups: list[Record] = field(default_factory=list)

    @property
    def step(self) -> int:
        return int(self.record["step"])

    @property
    def by(self) -> str:
        return str(self.record.get("by", "supervisor"))

    @property
    def is_advice(self) -> bool:
        """Said, not done."""
        return bool(self.record.get("advice"))

    @property
    def is_superseded(self) -> bool:
        """By something a person did meanwhile."""
        return any("superseded_by" in told for told in self.follow_ups)

    @property
    def verdict(self) -> str | None:
        return next((str(told["verdict"]) for told in reversed(self.follow_ups) if "verdict" in told), None)


@dataclass
class JournalState:
    """Made of journal records one after the other; what was undone by a resume or a rollback is forgotten."""

    name: str
    created_at: str | None = None  # when its first record was written
    start: Record | None = None
    step: int = 0
    phases: list[tuple[int, str]] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)
    evaluations: list[Record] = field(default_factory=list)
    interventions: list[InterventionEntry] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    latest_signals: dict[str, float | None] = field(default_factory=dict)
    planned_steps: int | None = None
    end: Record | None = None
    _arms: Sequence[Record] = ()  # of the latest race: without and with the treatment
    _n_interventions: int = 0  # with those that were undone, since numbers are not given twice
    _saved: dict[int, list[tuple[InterventionEntry, int]]] = field(default_factory=dict)
    """By checkpoint step: the interventions before it, each with its number of follow-ups."""
    _clock: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=CLOCKED))  # seconds, step

    @staticmethod
    def load(folder: Path) -> JournalState:
        state = JournalState(folder.name)
        state.apply_all(records(folder / "journal.jsonl"))
        return state

    def apply_all(self, records: Iterable[Record]) -> None:
        for record in records:
            self.apply(record)

    def apply(self, record: Record) -> None:
        self.created_at = self.created_at or record["time"]
        self._enter(record["step"], record.get("phase"))
        known = {
            **dict.fromkeys(STARTS, self._start),
            "steps": self._steps,
            "evaluation": self._evaluation,
            "checkpoint": self._checkpoint,
            "rolled_back": self._rolled_back,
            "race": self._race,
            "intervention": self._intervention,
            "follow_up": self._follow_up,
            "quarantined": lambda told: self.quarantined.extend(told["utterances"]),
            "finished": self._finished,
        }
        if handle := known.get(record["kind"]):
            handle(record)

    @property
    def best_evaluation(self) -> Record | None:
        """The evaluation of the highest score."""
        scored = [told for told in self.evaluations if told["signals"].get("composite_tts_score") is not None]
        return max(scored, key=lambda told: float(told["signals"]["composite_tts_score"]), default=None)

    @property
    def seconds_left(self) -> float | None:
        """By the usual pace of late, to which a pause does not belong; None where there is none to tell."""
        paces = [
            (ended - began) / (last - first)
            for (began, first), (ended, last) in pairwise(self._clock)
            if ended > began and last > first
        ]
        if self.planned_steps is None or not paces:
            return None
        return median(paces) * max(0, self.planned_steps - self.step)

    @property
    def is_over(self) -> bool:
        return self.end is not None

    def winner(self, follow_up: Record) -> Record | None:
        """Of the race that a follow-up judges: knobs, steps, signals, evaluation; None where there was no race."""
        if follow_up.get("verdict") and "from_step" in follow_up.get("evidence", {}):
            won = follow_up["evidence"].get("winner", 1 if follow_up["verdict"] == "helped" else 0)
            return self._arms[won]
        return None

    def _enter(self, step: int, phase: str | None) -> None:
        if phase is not None and (not self.phases or self.phases[-1][1] != phase):
            self.phases.append((step, phase))

    def _start(self, record: Record) -> None:
        """A run that goes on is under way again; what it had recorded beyond its checkpoint will happen anew."""
        self.start, self.end = record, None
        self.planned_steps = record.get("planned_steps")
        self._forget_after(record["step"])
        self._undo_interventions(record["step"])

    def _undo_interventions(self, step: int) -> None:
        """Of those after the checkpoint of this step only what the training did not do itself is left.

        Steps do not tell which those are: at a rollback they go back, and what was done stays done.
        """
        kept = self._saved.get(step)
        if kept is None:
            kept = [(entry, len(entry.follow_ups)) for entry in self.interventions if entry.step <= step]
        for entry, n_follow_ups in kept:
            del entry.follow_ups[n_follow_ups:]
        saved = {entry.number for entry, _ in kept}
        self.interventions = [
            entry for entry in self.interventions if entry.number in saved or entry.by != "supervisor"
        ]

    def _steps(self, record: Record) -> None:
        for name, column in record["signals"].items():
            series = self.series.setdefault(name, Series())
            for step, value in zip(record["steps"], column, strict=True):
                series.add(step, value)
            self.latest_signals[name] = column[-1]
        self.step = record["step"]
        if "time" in record:
            self._clock.append((datetime.fromisoformat(record["time"]).timestamp(), self.step))

    def _evaluation(self, record: Record) -> None:
        self._signals(record["step"], record["signals"])
        self.evaluations.append(record)

    def _checkpoint(self, record: Record) -> None:
        self._signals(record["step"], record.get("signals", {}))
        self._saved[record["step"]] = [(entry, len(entry.follow_ups)) for entry in self.interventions]
        self._saved = {step: entries for step, entries in self._saved.items() if step in record["kept"]}

    def _signals(self, step: int, signals: Mapping[str, float | None]) -> None:
        for name, value in signals.items():
            self.series.setdefault(name, Series()).add(step, value)
            self.latest_signals[name] = value
        self.step = max(self.step, step)

    def _rolled_back(self, record: Record) -> None:
        if record["to"] is not None:
            self._forget_after(record["to"])

    def _race(self, record: Record) -> None:
        """Its stretch is trained once more, by both contenders; which of them goes on is the follow-up's to say."""
        self._forget_after(record["from_step"])
        self._arms = record["arms"]

    def _forget_after(self, step: int) -> None:
        for name, series in self.series.items():
            series.forget_after(step)
            self.latest_signals[name] = series.latest
        self.evaluations = [told for told in self.evaluations if told["step"] <= step]
        self.phases = [change for change in self.phases if change[0] <= step] or self.phases[:1]
        self.step = step
        self._clock.clear()

    def _intervention(self, record: Record) -> None:
        if "on_the_way_to" not in record:
            self._n_interventions += 1
            self.interventions.append(InterventionEntry(self._n_interventions, record))
        if record.get("action") == "restart" and "advice" not in record and self.start is not None:
            self.planned_steps = _end_of_course(record["step"], self.start)

    def _follow_up(self, record: Record) -> None:
        about = (record["ailment"], record["remedy"])
        for entry in reversed(self.interventions):
            if (entry.record.get("ailment"), entry.record.get("remedy")) == about:
                entry.follow_ups.append(record)
                break
        if (winner := self.winner(record)) is not None:
            self._steps({"step": winner["steps"][-1], **winner})
            self._signals(winner["steps"][-1], winner["evaluation"])

    def _finished(self, record: Record) -> None:
        self.end = record
