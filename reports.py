"""Plain dataclasses shared by training and supervision: what a trainer reports, and what it can be ordered to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One training step; losses and gradient norm are None when the step was not finite and so was skipped."""

    step: int
    epoch: int
    utterance_ids: tuple[str, ...]
    utterance_losses: tuple[float, ...]  # one an utterance, NaN included; empty after running out of memory
    total_loss: float | None
    loss_parts: Mapping[str, float | None]  # terms of the total and other losses computed with it, by signal name
    measures: Mapping[str, float | None]  # of weights and gradients, by signal name; None in steps without measurement
    gradient_norm: float | None  # global L2 before clipping
    learning_rate: float
    update_ratio: float | None  # norm of the update / norm of the weights
    frames_per_second: float
    data_wait_share: float  # share of the step's time spent waiting for its batch
    memory_bytes: int
    nonfinite_steps: int  # of the run so far
    out_of_memory_steps: int  # of the run so far


@dataclass(frozen=True, kw_only=True)
class DecodeReport:
    """One held-out utterance, decoded teacher-forced and free-running; every array is cut to its valid region."""

    id: str
    text: str
    symbol_ids: tuple[int, ...]
    forced_attention: np.ndarray  # [S, N] decoder steps, tokens
    free_attention: np.ndarray  # [S', N]
    forced_gate: np.ndarray | None  # [S] probability of the end; None of a model without a gate
    gate_threshold: float
    durations: np.ndarray | None  # [N] predicted frames of each symbol; None of a model that predicts none
    n_frames_per_step: int
    recorded_mel: np.ndarray  # [n_mel, T] natural log
    forced_mel: np.ndarray  # [n_mel, T] natural log
    free_mel: np.ndarray  # [n_mel, T'] natural log
    stopped: bool  # whether the free-running decode ended by itself


@dataclass(frozen=True, kw_only=True)
class SentenceReport:
    """One of the person's own sentences, decoded free-running."""

    id: str
    text: str
    symbol_ids: tuple[int, ...]
    free_attention: np.ndarray  # [S, N]
    free_mel: np.ndarray  # [n_mel, T]
    stopped: bool


@dataclass(frozen=True, kw_only=True)
class PlainDecodeReport:
    """One raw decode of a text as people type it."""

    text: str
    n_frames: int
    expected_frames: float  # by the mean of the training texts
    stopped: bool


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Held-out losses (`val_…`) and decodes at one step."""

    step: int
    epoch: int
    training_seconds: float  # spent in training steps so far, evaluations not counted
    losses: dict[str, float]
    decodes: Sequence[DecodeReport]
    sentences: Sequence[SentenceReport]
    plain_decodes: Sequence[PlainDecodeReport] = ()


@dataclass(frozen=True)
class CheckpointReport:
    """A checkpoint was written, or found at the start of a session."""

    step: int
    latest: Path
    best: Path | None
    kept: Sequence[int]  # steps of all checkpoints on disk


@dataclass(frozen=True)
class RollbackReport:
    """Return to a checkpoint; `step` is None when none could be read, `problems` say why newer ones failed."""

    wanted_step: int
    step: int | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class QuarantineReport:
    """Utterances that are excluded from training from now on."""

    utterances: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class ArmReport:
    """One arm of a race: trained from the race's checkpoint on the same data, then evaluated."""

    knobs: Mapping[str, float]
    steps: tuple[StepReport, ...]
    evaluation: EvaluationReport


@dataclass(frozen=True)
class RaceReport:
    """All arms of a race from one checkpoint."""

    start_step: int
    arms: tuple[ArmReport, ...]


@dataclass(frozen=True)
class RaceWinner:
    """The arm that training continues with, by index, and the score of its evaluation."""

    arm: int
    score: float | None


@dataclass(frozen=True)
class AbandonedReport:
    """State that an intervention left, trained on from `start_step` for as long as what came instead, and evaluated.

    `arm` is None when that state cannot be read any more; `problem` says why.
    """

    start_step: int
    arm: ArmReport | None
    problem: str = ""


class TrainingObserver(Protocol):
    """Receiver of a trainer's reports; scores evaluations and chooses the winner of a race."""

    def on_step(self, report: StepReport) -> None: ...

    def on_evaluation_start(self) -> None: ...

    def on_evaluation(self, report: EvaluationReport) -> float | None:
        """Return the score that decides which checkpoint is best."""
        ...

    def on_save_start(self) -> None:
        """Flush: everything reported so far must be on disk before the checkpoint that counts on it."""
        ...

    def on_checkpoint(self, report: CheckpointReport) -> None: ...

    def on_rollback(self, report: RollbackReport) -> None: ...

    def on_quarantine(self, report: QuarantineReport) -> None: ...

    def on_race_step(self) -> None:
        """One step of an arm is done; it is not a step of the run yet."""
        ...

    def on_race(self, report: RaceReport) -> RaceWinner:
        """Choose the arm that training continues with."""
        ...

    def on_abandoned(self, report: AbandonedReport) -> RaceWinner | None:
        """Choose whether training continues with the abandoned state; None: it does not."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


Action = Literal[
    "turn",
    "rerun_step",  # train on the data of the last step again
    "quarantine",
    "release",  # take utterances out of quarantine
    "screen",  # quarantine all utterances whose mels hold NaN or infinity
    "reset_moments",
    "roll_back",
    "restart",
    "race",
    "try_abandoned",  # train on what the last rollback or restart left behind, and continue with the better one
    "keep_fewer_checkpoints",
    "fetch_faster",  # double the loader's threads
    "enter_phase",
    "finish",  # end successfully with the best checkpoint
    "stop",  # end as hopeless, exit code 3
]


@dataclass(frozen=True)
class TrainerOrder:
    """One action that a supervisor or a person orders; the trainer executes it between two steps."""

    action: Action
    knobs: Mapping[str, float] = field(default_factory=dict)  # turn, restart, roll_back: new positions
    step: int = 0  # roll_back, race: the checkpoint to go back to; try_abandoned: the step that was left
    skip_since: int | None = None  # roll_back: leave out the data of all steps from this one on
    n_steps: int = 0  # race, try_abandoned: length of each arm; reset_moments: length of the new warm-up
    arms: tuple[Mapping[str, float], ...] = ()  # race: the knobs of each arm
    seeds: tuple[int, ...] = ()  # race: of each arm; 0 continues with the random state of the checkpoint
    hparams: Mapping[str, float] = field(default_factory=dict)  # restart: changes of the recipe itself
    utterances: tuple[str, ...] = ()  # quarantine, release
    targets: Mapping[str, float] = field(default_factory=dict)  # enter_phase: shares that multiply the schedules
    reason: str = ""  # quarantine, finish, stop
