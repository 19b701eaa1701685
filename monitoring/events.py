"""Events of a run with their signals, published to recorder, supervisor and heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from monitoring.measures.evaluation import UtteranceSignals
from monitoring.measures.residuals import OddGroup
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
    odd_group: OddGroup | None = None  # of the training utterances

    @property
    def odd_utterances(self) -> tuple[str, ...]:
        """Training utterances that stand apart as a group."""
        group = self.odd_group
        return group.utterances if group is not None and group.stands_apart else ()

    @property
    def distances(self) -> dict[str, float]:
        """Distance of what is said from the recording, by held-out utterance."""
        return known_distances(self.report, self.utterances)


def known_distances(report: EvaluationReport, utterances: Sequence[UtteranceSignals]) -> dict[str, float]:
    """Mel distances of the utterances that were said."""
    pairs = zip(report.decodes, utterances, strict=True)
    return {decode.id: signals.mel_distance for decode, signals in pairs if signals.mel_distance is not None}


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


@dataclass(frozen=True)
class AbandonedEvent:
    """The state that an intervention left was trained on and evaluated; nothing is decided yet."""

    start_step: int
    arm: ArmSignals | None
    problem: str


@dataclass(frozen=True)
class ReturnEvent:
    """Training continues with the state that an intervention had left."""

    start_step: int
    arm: ArmSignals
    evaluation: EvaluationEvent
    phase: str  # that training is in there


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
    | AbandonedEvent
    | ReturnEvent
)
Subscriber = Callable[[Event], None]
