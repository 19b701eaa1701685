"""Events of a run with their signals, published to recorder, supervisor and heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from monitoring.measures.evaluation import UtteranceSignals
from monitoring.measures.signals import Signals
from reports import ArmReport, CheckpointReport, EvaluationReport, QuarantineReport, RollbackReport, StepReport


@dataclass(frozen=True)
class StepEvent:
    """A training step is done; `outliers` maps utterances to their loss as a multiple of the batch's median."""

    report: StepReport
    signals: Signals
    outliers: Mapping[str, float | None]


@dataclass(frozen=True)
class EvaluationStartEvent:
    """Held-out utterances are about to be decoded, which takes longer than a step."""


@dataclass(frozen=True)
class EvaluationEvent:
    """An evaluation is done; `utterances` are the signals of its decodes, in their order."""

    report: EvaluationReport
    signals: Signals
    utterances: Sequence[UtteranceSignals]


@dataclass(frozen=True)
class SaveStartEvent:
    """A checkpoint is about to be written."""


@dataclass(frozen=True)
class CheckpointEvent:
    """A checkpoint was written, or found at the start of a session; its size and the free disk space."""

    report: CheckpointReport
    signals: Signals


@dataclass(frozen=True)
class RaceStepEvent:
    """One step of an arm is done."""


@dataclass(frozen=True)
class ArmSignals:
    """One arm of a race: its knobs, the signals of its steps and of its evaluation."""

    knobs: Mapping[str, float]
    steps: tuple[tuple[int, Signals], ...]
    evaluation: Signals = field(default_factory=dict)
    distances: Mapping[str, float] = field(default_factory=dict)  # of its speech, by held-out utterance


@dataclass(frozen=True)
class RaceEvent:
    """All arms of a race are trained and evaluated; none is chosen yet."""

    start_step: int
    arms: tuple[ArmSignals, ...]


@dataclass(frozen=True)
class RaceDecisionEvent:
    """The arm that training continues with."""

    start_step: int
    winner: ArmSignals
    report: ArmReport


Event = (
    StepEvent
    | EvaluationStartEvent
    | EvaluationEvent
    | SaveStartEvent
    | CheckpointEvent
    | RollbackReport
    | QuarantineReport
    | RaceStepEvent
    | RaceEvent
    | RaceDecisionEvent
)
Subscriber = Callable[[Event], None]
