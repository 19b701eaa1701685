"""Recorder of a run: journal, decoded samples and summary.json, from which everything else is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monitoring.events import (
    AbandonedEvent,
    ArmSignals,
    CheckpointEvent,
    EvaluationEvent,
    EvaluationStartEvent,
    Event,
    RaceDecisionEvent,
    RaceEvent,
    ReturnEvent,
    SaveStartEvent,
    StepEvent,
)
from monitoring.journal.journal import RETURN_MARK, Journal
from monitoring.journal.sample_writer import SampleWriter
from monitoring.journal.summary import write_summary
from monitoring.measures.history import SignalHistory
from monitoring.measures.signals import Signals
from monitoring.terminal.progress import ProgressDisplay
from reports import QuarantineReport, RollbackReport

SCHEMA_VERSION = 1
STEPS_PER_RECORD = 20  # step signals are journalled in blocks: a block is one write and one fsync


class RunRecorder:
    """Subscriber that writes journal, samples and summary.json; it decides nothing."""

    def __init__(self, folder: Path, samples: SampleWriter, *, model: str, display: ProgressDisplay) -> None:
        self.folder, self._samples, self._display = folder, samples, display
        self.journal = Journal(folder / "journal.jsonl")
        self.history = SignalHistory()
        self._history_before_rollback: dict[str, Any] | None = None  # None after a restart
        self._pending: list[tuple[int, Signals]] = []
        self._outliers: dict[str, dict[str, float | None]] = {}  # step → utterances whose loss stands out
        self._summary: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "status": "running",
            "reason": None,
            "model": model,
            "step": 0,
            "epoch": 0,
            "seconds": 0.0,
            "phase": None,
            "signals": {},
            "interventions": {},
            "best_checkpoint": None,
            "samples": [],
        }

    def begin(self, *, step: int, epoch: int, best: Path | None, samples: list[str]) -> None:
        """Mark the run as running, with what an earlier session left."""
        self._summary |= {"step": step, "epoch": epoch, "best_checkpoint": self._relative(best), "samples": samples}
        self.write_summary()

    def on_event(self, event: Event) -> None:
        match event:
            case StepEvent():
                self._on_step(event)
            case EvaluationStartEvent():
                self.write_steps()
                self._display.on_evaluation_start()
            case SaveStartEvent():
                self.write_steps()
            case EvaluationEvent():
                self._on_evaluation(event)
            case CheckpointEvent():
                self._on_checkpoint(event)
            case RollbackReport():
                self._on_rollback(event)
            case QuarantineReport():
                utterances = list(event.utterances)
                self.journal.write("quarantined", self._summary["step"], utterances=utterances, reason=event.reason)
            case RaceEvent():
                self._on_race(event)
            case RaceDecisionEvent():
                self._on_race_decision(event)
            case AbandonedEvent():
                self._on_abandoned(event)
            case ReturnEvent():
                self._on_return(event)

    def _on_step(self, event: StepEvent) -> None:
        report = event.report
        self.history.record(report.step, event.signals)
        self._pending.append((report.step, event.signals))
        if event.outliers:
            self._outliers[str(report.step)] = dict(event.outliers)
        if len(self._pending) >= STEPS_PER_RECORD:
            self.write_steps()
        self._summary |= {"step": report.step, "epoch": report.epoch}
        self._display.on_step(report)

    def _on_evaluation(self, event: EvaluationEvent, **fields: Any) -> None:
        report = event.report
        self.write_steps()
        self.history.record(report.step, event.signals)
        written = self._samples.write(event)
        for id_ in written.skipped:
            self.journal.write("sample_skipped", report.step, utterance=id_, reason="its mel is not finite")
        if written.journal_fields:
            self._summary["samples"] = written.files
        self.journal.write(
            "evaluation",
            report.step,
            signals=event.signals,
            training_seconds=report.training_seconds,
            utterances=[
                {"id": decode.id, "text": decode.text, **asdict(utterance), "score": utterance.score}
                for decode, utterance in zip(report.decodes, event.utterances, strict=True)
            ],
            **({"odd_utterances": list(event.odd_utterances)} if event.odd_utterances else {}),
            **written.journal_fields,
            **fields,
        )
        self.write_summary()
        self._display.on_evaluation(report.step, event.signals)

    def write_steps(self) -> None:
        """Journal the pending steps, so that they come before anything that follows from them."""
        if not self._pending:
            return
        outliers = {"outliers": self._outliers} if self._outliers else {}
        self.journal.write("steps", self._pending[-1][0], **_columns(self._pending), **outliers)
        self._pending, self._outliers = [], {}

    def _on_checkpoint(self, event: CheckpointEvent) -> None:
        report = event.report
        self._summary["best_checkpoint"] = self._relative(report.best)
        path = str(report.latest.relative_to(self.folder))
        self.history.record(report.step, event.signals)
        self.journal.write("checkpoint", report.step, path=path, kept=list(report.kept), signals=event.signals)
        self.journal.allocate_reserve()

    def _on_rollback(self, report: RollbackReport) -> None:
        self.write_steps()
        step = self._summary["step"] if report.step is None else report.step
        self.journal.write(
            "rolled_back", step, wanted_step=report.wanted_step, to=report.step, problems=report.problems
        )
        if report.step is not None:
            self._history_before_rollback = self.history.state_dict()
            self._go_back(report.step)

    def _go_back(self, step: int) -> None:
        self.history.drop_after(step)
        self._summary["step"] = step

    def _on_race(self, event: RaceEvent) -> None:
        arms = [_arm_fields(arm) for arm in event.arms]
        self.write_steps()
        self.journal.write("race", self._summary["step"], from_step=event.start_step, arms=arms)

    def _on_race_decision(self, event: RaceDecisionEvent) -> None:
        self._go_back(event.start_step)
        for step, signals in event.winner.steps:
            self.history.record(step, signals)
        last = event.report.steps[-1]
        self.history.record(last.step, event.winner.evaluation)
        self._summary |= {"step": last.step, "epoch": last.epoch}

    def _on_abandoned(self, event: AbandonedEvent) -> None:
        self.write_steps()
        arm = None if event.arm is None else _arm_fields(event.arm)
        self.journal.write(
            "abandoned", self._summary["step"], from_step=event.start_step, arm=arm, problem=event.problem
        )

    def _on_return(self, event: ReturnEvent) -> None:
        """Journal the way back like a rollback, with the steps that were done there meanwhile."""
        mark = {RETURN_MARK: True}
        self.enter_phase(event.phase)
        if self._history_before_rollback is not None:
            self.history.load_state_dict(self._history_before_rollback)
        self.journal.write(
            "rolled_back", event.start_step, wanted_step=event.start_step, to=event.start_step, problems=(), **mark
        )
        self._go_back(event.start_step)
        for step, signals in event.arm.steps:
            self.history.record(step, signals)
            self._summary["step"] = step
        if event.arm.steps:
            self.journal.write("steps", event.arm.steps[-1][0], **_columns(event.arm.steps), **mark)
        self._summary["epoch"] = event.evaluation.report.epoch
        self._on_evaluation(event.evaluation, **mark)

    def on_decision(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        """Journal a decision of the supervisor, after the signals it follows from."""
        self.write_steps()
        self.enter_phase(fields["phase"])
        self.journal.write(kind, step, **fields)
        if fields.get("action") == "restart":
            self._history_before_rollback = None
        if verdict := fields.get("verdict"):
            counts = self._summary["interventions"]
            counts[verdict] = counts.get(verdict, 0) + 1
        self._display.on_decision(kind, step, fields)

    def on_request(self, step: int, request: Mapping[str, Any]) -> None:
        """Journal a person's request with its result."""
        self.write_steps()
        self.journal.write("order", step, **request)
        self._display.on_request(step, request)

    def on_plan(self, step: int, *, planned_steps: int, patience_steps: int, text: str) -> None:
        """Journal that the length of the training has changed, and with it the time that attention may take."""
        self.write_steps()
        self.journal.write("plan", step, planned_steps=planned_steps, patience_steps=patience_steps, text=text)
        self._display.on_note(text)
        self._display.set_last_step(planned_steps)

    def on_note(self, step: int, text: str) -> None:
        """Journal a note of a process beside the training."""
        self.journal.write("note", step, text=text)
        self._display.on_note(text)

    def on_turn(self, step: int, knob: str, *, before: float, after: float) -> None:
        """Journal that a person has turned a knob."""
        self.write_steps()
        self.journal.write("intervention", step, by="person", knob=knob, **{"from": before, "to": after})

    def enter_phase(self, phase: str | None) -> None:
        """Name the phase in every record from here on; None without supervisor."""
        self._summary["phase"] = self.journal.phase = phase
        self._display.set_phase(phase)

    def _relative(self, path: Path | None) -> str | None:
        return None if path is None else str(path.relative_to(self.folder))

    def finish(self, *, status: str, reason: str) -> None:
        """Write the last record; no step is lost, and on a full disk the journal's reserve makes room."""
        self._display.close()
        self.journal.release_reserve()
        self.write_steps()
        self.journal.write("finished", self._summary["step"], status=status, reason=reason)
        self._summary |= {"status": status, "reason": reason}
        self.write_summary()

    @property
    def is_running(self) -> bool:
        return bool(self._summary["status"] == "running")

    def close(self) -> None:
        self._display.close()
        self.journal.close()

    def write_summary(self) -> None:
        self._summary["signals"] = self.history.latest()
        self._summary["seconds"] = round(self._display.elapsed_seconds(), 3)
        write_summary(self.folder, self._summary)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history.state_dict(), "seconds": self._display.elapsed_seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history.load_state_dict(state["history"])
        self._display.add_earlier_seconds(state["seconds"])


def _arm_fields(arm: ArmSignals) -> dict[str, Any]:
    evaluation = {"evaluation": arm.evaluation, "distances": dict(arm.distances)}
    return {"knobs": dict(arm.knobs), **_columns(arm.steps), **evaluation}


def _columns(steps: Sequence[tuple[int, Signals]]) -> dict[str, Any]:
    """Turn the signals of several steps into one list a signal."""
    names = steps[0][1] if steps else ()
    return {"steps": [step for step, _ in steps], "signals": {name: [s[name] for _, s in steps] for name in names}}
