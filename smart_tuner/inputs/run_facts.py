"""What a supervisor knows of a run before its first step; together with the signals it decides everything."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class KnobFacts(BaseModel):
    """Where a knob starts, its bounds, and what else is known of good positions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float
    low: float
    high: float
    first: float | None = None  # above zero, for one that starts switched off
    preset: float | None = None  # where the preset has it, for one that starts far from there


class RunFacts(BaseModel):
    """Fixed at the start and kept in the journal's first record, so that decisions can be recomputed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps_per_evaluation: int = Field(ge=1)
    steps_per_epoch: int = Field(ge=1)
    planned_steps: int = Field(ge=1)
    warmup_steps: int = Field(0, ge=0)
    alignment_patience_steps: int = Field(0, ge=0)  # how long attention may take to form; 0: the model has none
    peak_learning_rate: float = Field(gt=0)
    balanced_gate_weight: float | None = None  # at which gates learn to open, and not too early
    spectrum_loss: str = "mel_loss"  # which signal says how well the recordings are predicted
    log_losses: tuple[str, ...] = ()  # losses that are logarithms, and may lie below zero
    n_frames_per_step: int | None = None  # the reduction factor of a decoder, where the model has one
    utterances: int = Field(0, ge=0)  # to train on
    evaluated_utterances: int = Field(0, ge=0)  # 0: not known
    effective_batch_size: int = Field(1, ge=1)
    knobs: dict[str, KnobFacts]
    preset_settings: dict[str, float] = Field(default_factory=dict)  # those without a knob that are far from the run's
    pinned: tuple[str, ...] = ()
    forks: bool = False  # whether several ways on may be tried at a plateau
    actions: tuple[str, ...]  # what the training loop can do; remedies that need more are passed over

    def amended(self, changes: Mapping[str, float]) -> RunFacts:
        """What is known of a run that began anew with these changes of its settings."""
        told = {name: value for name, value in changes.items() if name in ("warmup_steps", "n_frames_per_step")}
        return self.model_copy(update={**told, "preset_settings": {}})

    def named(self, signal: str) -> str:
        """`…spectrum_loss` as the model calls it."""
        return signal.replace("spectrum_loss", self.spectrum_loss)

    def is_logarithm(self, signal: str) -> bool:
        """Whether a signal is a logarithm itself, so that a change of it is what a factor is to others."""
        return signal.removeprefix("val_") in self.log_losses

    def as_told(self, signal: str, **logarithms: float) -> dict[str, float]:
        """Values of a signal as it is measured, from their logarithms."""
        if self.is_logarithm(signal):
            return logarithms
        return {name: math.exp(value) for name, value in logarithms.items()}

    @property
    def window_steps(self) -> int:
        """Over how many steps a detector looks back: enough for a median, not more than an evaluation lasts."""
        return min(100, max(20, self.steps_per_evaluation))
