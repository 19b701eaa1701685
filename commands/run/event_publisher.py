"""Publisher of a training's events: measures each report once and hands it, with its signals, to every subscriber."""

from __future__ import annotations

from collections.abc import Sequence
from shutil import disk_usage
from typing import Any

from commands.process.heartbeat import Heartbeat
from monitoring.events import (
    AbandonedEvent,
    ArmSignals,
    CheckpointEvent,
    EvaluationEvent,
    EvaluationStartEvent,
    Event,
    RaceDecisionEvent,
    RaceEvent,
    RaceStepEvent,
    ReturnEvent,
    SaveStartEvent,
    StepEvent,
    Subscriber,
    known_distances,
)
from monitoring.journal.recorder import RunRecorder
from monitoring.measures.evaluation import evaluation_signals, utterance_signals
from monitoring.measures.residuals import UtteranceResiduals
from monitoring.measures.signals import outlier_utterances, step_signals
from reports import (
    AbandonedReport,
    ArmReport,
    CheckpointReport,
    EvaluationReport,
    QuarantineReport,
    RaceReport,
    RaceWinner,
    RollbackReport,
    StepReport,
)
from smart_tuner.runtime import SupervisorRuntime


class EventPublisher:
    """The trainer's observer. Subscribers receive each event in this order: recorder, supervisor, the others."""

    def __init__(
        self,
        recorder: RunRecorder,
        others: Sequence[Subscriber] = (),
        residuals: UtteranceResiduals | None = None,
    ) -> None:
        self.recorder, self._others = recorder, tuple(others)
        self._residuals = residuals or UtteranceResiduals()
        self.supervisor: SupervisorRuntime | None = None  # set once there is a trainer that it can steer

    def publish(self, event: Event) -> None:
        supervisor = () if self.supervisor is None else (self.supervisor.on_event,)
        receivers = (self.recorder.on_event, *supervisor, *self._others)
        if isinstance(event, EvaluationStartEvent | SaveStartEvent):
            # the watchdog must know of it before the recorder writes
            receivers = (*self._others, self.recorder.on_event, *supervisor)
        for receive in receivers:
            receive(event)

    def on_step(self, report: StepReport) -> None:
        self._residuals.record(report.utterance_ids, report.utterance_losses)
        self.publish(StepEvent(report, step_signals(report), outlier_utterances(report)))

    def on_evaluation_start(self) -> None:
        self.publish(EvaluationStartEvent())

    def on_evaluation(self, report: EvaluationReport) -> float | None:
        utterances = [utterance_signals(decode) for decode in report.decodes]
        group = self._residuals.odd_group()
        signals = evaluation_signals(report, utterances) | (group.signals if group is not None else {})
        self.publish(EvaluationEvent(report, signals, utterances, group))
        return signals["composite_tts_score"]

    def on_save_start(self) -> None:
        self.publish(SaveStartEvent())

    def on_checkpoint(self, report: CheckpointReport) -> None:
        self.publish(_checkpoint_event(report))

    def announce_checkpoint(self, report: CheckpointReport) -> None:
        """Tell recorder and supervisor of the checkpoint that this session begins with; nothing was written now."""
        event = _checkpoint_event(report)
        self.recorder.on_event(event)
        if self.supervisor is not None:
            self.supervisor.on_event(event)

    def on_rollback(self, report: RollbackReport) -> None:
        if report.step is not None:
            self._residuals.clear()
        self.publish(report)

    def on_quarantine(self, report: QuarantineReport) -> None:
        self._residuals.forget(report.utterances)
        self.publish(report)

    def on_race_step(self) -> None:
        self.publish(RaceStepEvent())

    def on_race(self, report: RaceReport) -> RaceWinner:
        arms = tuple(arm_signals(arm) for arm in report.arms)
        self.publish(RaceEvent(report.start_step, arms))
        assert self.supervisor is not None, "only a supervisor orders races"
        winner = self.supervisor.on_race(report.start_step, arms)
        self.publish(RaceDecisionEvent(report.start_step, arms[winner], report.arms[winner]))
        return RaceWinner(winner, arms[winner].evaluation["composite_tts_score"])

    def on_abandoned(self, report: AbandonedReport) -> RaceWinner | None:
        arm = None if report.arm is None else arm_signals(report.arm)
        self.publish(AbandonedEvent(report.start_step, arm, report.problem))
        assert self.supervisor is not None, "only a supervisor orders it"
        phase = self.supervisor.on_abandoned(report.start_step, arm)
        if phase is None or arm is None or report.arm is None:
            return None
        evaluation = report.arm.evaluation
        utterances = [utterance_signals(decode) for decode in evaluation.decodes]
        event = EvaluationEvent(evaluation, arm.evaluation, utterances)
        self._residuals.clear()
        self.publish(ReturnEvent(report.start_step, arm, event, phase))
        return RaceWinner(0, arm.evaluation["composite_tts_score"])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of recorder and supervisor; the key "listener" is that of earlier checkpoints."""
        supervisor = {} if self.supervisor is None else {"listener": self.supervisor.state_dict()}
        return self.recorder.state_dict() | supervisor | {"residuals": self._residuals.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.recorder.load_state_dict(state)
        if "residuals" in state:  # earlier versions had none
            self._residuals.load_state_dict(state["residuals"])
        if self.supervisor is not None and "listener" in state:
            self.supervisor.load_state_dict(state["listener"])


def _checkpoint_event(report: CheckpointReport) -> CheckpointEvent:
    free, size = disk_usage(report.latest.parent).free, report.latest.stat().st_size
    return CheckpointEvent(report, {"disk_free_bytes": float(free), "checkpoint_bytes": float(size)})


def arm_signals(arm: ArmReport) -> ArmSignals:
    steps = tuple((report.step, step_signals(report)) for report in arm.steps)
    utterances = [utterance_signals(decode) for decode in arm.evaluation.decodes]
    distances = known_distances(arm.evaluation, utterances)
    return ArmSignals(arm.knobs, steps, evaluation_signals(arm.evaluation, utterances), distances)


def report_progress(heartbeat: Heartbeat) -> Subscriber:
    """Make a subscriber that tells the watchdog, or the other ranks, which work begins and ends."""

    def on_event(event: Event) -> None:
        match event:
            case StepEvent():
                heartbeat.report_step(event.report.step)
            case EvaluationStartEvent():
                heartbeat.begin("evaluation")
            case SaveStartEvent():
                heartbeat.begin("save")
            case EvaluationEvent() | CheckpointEvent() | RaceStepEvent() | RaceDecisionEvent() | AbandonedEvent():
                heartbeat.done()

    return on_event
