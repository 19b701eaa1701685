"""What the trainer tells those who watch: plain facts, no judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class StepReport:
    """One training step; losses and norm are None when the step was not finite and so was skipped."""

    step: int
    epoch: int
    utterance_ids: tuple[str, ...]
    utterance_losses: tuple[float, ...]  # one an utterance, NaN included; none after running out of memory
    total_loss: float | None
    loss_parts: Mapping[str, float | None]  # what it is the sum of, and what else was computed with it
    measures: Mapping[str, float | None]  # of the model's weights and gradients; None in most steps
    gradient_norm: float | None
    learning_rate: float
    update_ratio: float | None
    frames_per_second: float
    data_wait_share: float
    memory_bytes: int
    nonfinite_steps: int
    out_of_memory_steps: int


@dataclass(frozen=True)
class DecodeReport:
    """One held-out utterance, decoded with its recording as teacher and freely."""

    id: str
    text: str
    symbol_ids: tuple[int, ...]
    forced_attention: np.ndarray  # [S, N]
    free_attention: np.ndarray  # [S', N]
    forced_gate: np.ndarray | None  # [S] probabilities; None of a model without a gate
    gate_threshold: float
    durations: np.ndarray | None  # [N] frames predicted for each symbol; None of a model that predicts none
    n_frames_per_step: int
    recorded_mel: np.ndarray  # [n_mel, T]
    forced_mel: np.ndarray  # [n_mel, T]
    free_mel: np.ndarray  # [n_mel, T']
    stopped: bool


@dataclass(frozen=True)
class SentenceReport:
    """One of the person's own sentences, spoken freely."""

    id: str
    text: str
    symbol_ids: tuple[int, ...]
    free_attention: np.ndarray  # [S, N]
    free_mel: np.ndarray  # [n_mel, T]
    stopped: bool


@dataclass(frozen=True)
class EvaluationReport:
    """Held-out losses (`val_…`) and decodes at one step."""

    step: int
    epoch: int
    training_seconds: float
    losses: dict[str, float]
    decodes: Sequence[DecodeReport]
    sentences: Sequence[SentenceReport]


@dataclass(frozen=True)
class RollbackReport:
    """Training went back to a checkpoint (None: none could be read); `problems` say what was wrong with newer ones."""

    wanted_step: int
    step: int | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ArmReport:
    """One contender of a race from the same checkpoint on the same data."""

    knobs: dict[str, float]
    steps: tuple[StepReport, ...]
    evaluation: EvaluationReport


class Watcher(Protocol):
    """Someone who is told of every step and evaluation, and whose memory is kept in the checkpoints."""

    def on_step(self, report: StepReport) -> None: ...

    def before_evaluation(self) -> None:
        """Held-out utterances are going to be decoded, which takes longer than a step."""
        ...

    def on_evaluation(self, report: EvaluationReport) -> float | None:
        """Returns the score that decides which checkpoint is best."""
        ...

    def before_checkpoint(self) -> None:
        """What was told so far is to be on disk before the checkpoint that counts on it."""
        ...

    def after_checkpoint(self, *, latest: Path, best: Path | None, kept: Sequence[int]) -> None:
        """A checkpoint was written; these are the newest and the best there are, and the steps of all."""
        ...

    def on_rollback(self, report: RollbackReport) -> None: ...

    def on_quarantine(self, utterances: Sequence[str], reason: str) -> None:
        """These will not be trained on any more."""
        ...

    def on_arm_step(self) -> None:
        """A contender of a race did a step, which is none of the run yet."""
        ...

    def on_race(self, start_step: int, arms: Sequence[ArmReport]) -> int:
        """Returns which arm training goes on with."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
