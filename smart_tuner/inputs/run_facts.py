"""Facts of a run that are fixed before its first step; together with the signals they determine every decision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

RESTART_FACTS = ("warmup_steps", "n_frames_per_step", "alignment_prior")
"""Facts of the same name as the setting that a restart may change."""
MIN_WINDOW_STEPS = 20  # enough for a median
WINDOWS_PER_PLAN = 15
STRIDES_PER_WINDOW = 30


class KnobFacts(BaseModel):
    """A knob's start position, its bounds, and positions known to be good."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float
    low: float
    high: float
    first: float | None = None  # first position above zero of a knob that starts switched off
    preset: float | None = None  # the preset's position, if the start is far from it
    former: float | None = None  # position that undoes the change of a setting at the resume


class RunFacts(BaseModel):
    """Written to the journal's first record, so that decisions can be recomputed from the journal alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps_per_evaluation: int = Field(ge=1)
    steps_per_epoch: int = Field(ge=1)
    planned_steps: int = Field(ge=1)
    resumed_at: int = Field(0, ge=0)  # step that this session began at
    warmup_steps: int = Field(0, ge=0)
    alignment_patience_steps: int = Field(0, ge=0)  # steps that attention may take to form; 0: no attention
    search_patience_steps: int = Field(0, ge=0)  # the same of an alignment found by search; 0: the model has attention
    peak_learning_rate: float = Field(gt=0)
    decay_is_planned: bool = False  # whether the learning rate decays below half its peak within the plan
    balanced_gate_weight: float | None = None  # positive weight at which a gate learns to open, and not too early
    spectrum_loss: str = "mel_loss"  # the signal that measures how well recordings are predicted
    log_losses: tuple[str, ...] = ()  # losses that are logarithms, and may be negative
    n_frames_per_step: int | None = None  # the decoder's reduction factor, if the model has one
    alignment_prior: float | None = None  # of a model that searches its alignment
    utterances: int = Field(0, ge=0)  # in the training set
    evaluated_utterances: int = Field(0, ge=0)  # 0: not known
    effective_batch_size: int = Field(1, ge=1)
    knobs: dict[str, KnobFacts]
    preset_settings: dict[str, float] = Field(default_factory=dict)  # preset's values of settings that are far from it
    pinned: tuple[str, ...] = ()  # knobs that must not be turned
    forks: bool = False  # whether several continuations may be tried at a plateau
    actions: tuple[str, ...]  # actions of the training loop; remedies that need others are skipped

    def after_restart(self, changes: Mapping[str, float]) -> RunFacts:
        """Facts of the attempt that a restart with these changed settings begins."""
        known = {name: value for name, value in changes.items() if name in RESTART_FACTS}
        return self.model_copy(update={**known, "preset_settings": {}})

    def after_plan(self, planned_steps: int, patience_steps: int) -> RunFacts:
        """Facts of a plan whose length has been corrected."""
        patience = "search_patience_steps" if self.search_patience_steps else "alignment_patience_steps"
        return self.model_copy(update={"planned_steps": planned_steps, patience: patience_steps})

    def of_settings(self) -> dict[str, Any]:
        """Facts that a restart may change."""
        return {name: getattr(self, name) for name in (*RESTART_FACTS, "preset_settings")}

    def with_former(self, resumed_at: int, former: Mapping[str, float]) -> RunFacts:
        """Facts of a session after the one that changed settings, with the positions before that change."""
        knobs = {name: knob.model_copy(update={"former": former.get(name)}) for name, knob in self.knobs.items()}
        return self.model_copy(update={"resumed_at": resumed_at, "knobs": knobs})

    def signal_name(self, signal: str) -> str:
        """The signal with `spectrum_loss` replaced by this model's name for it."""
        return signal.replace("spectrum_loss", self.spectrum_loss)

    def is_logarithm(self, signal: str) -> bool:
        """Whether a signal is a logarithm itself: its differences correspond to factors of other signals."""
        return signal.removeprefix("val_") in self.log_losses

    def measured_values(self, signal: str, **logarithms: float) -> dict[str, float]:
        """Values on the scale the signal is measured on, from their logarithms."""
        if self.is_logarithm(signal):
            return logarithms
        return {name: math.exp(value) for name, value in logarithms.items()}

    @property
    def window_steps(self) -> int:
        """Steps that a detector looks back: those between two evaluations, but at most a fifteenth of the plan."""
        return max(MIN_WINDOW_STEPS, min(self.steps_per_evaluation, self.planned_steps // WINDOWS_PER_PLAN))

    @property
    def stride_steps(self) -> int:
        """Steps that count as one: detectors see each run as if its window had about thirty steps."""
        return max(1, round(self.window_steps / STRIDES_PER_WINDOW))
