"""The contract between the trainer and an acoustic model, and the outputs that models share.

Shapes: B utterances, N symbols, T mel frames, S decoder steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from corpus.batches import Axis, Batch


@dataclass(frozen=True)
class Losses:
    """The scalar to minimise and its parts by signal name (`mel_loss`, `gate_loss`, …), all scalar tensors."""

    total: Tensor
    parts: dict[str, Tensor]
    by_utterance: Tensor  # [B] above zero: the error of each utterance, to tell a bad recording from a bad model

    def detached(self) -> Losses:
        """The same numbers without their autograd graph."""
        parts = {name: value.detach() for name, value in self.parts.items()}
        return Losses(self.total.detach(), parts, self.by_utterance.detach())


LossKnobs = Mapping[str, float]
"""Settings of the loss that may change while training runs: those that a model declares in LOSS_KNOBS, by name."""


@dataclass(frozen=True)
class AttentionOutput:
    """Teacher-forced pass of a decoder with attention; S = ceil(T / frames per step)."""

    mels: Tensor  # [B, n_mel, T] before the postnet
    mels_postnet: Tensor  # [B, n_mel, T]
    gates: Tensor  # [B, S] logits of "this step holds the last frame"
    alignments: Tensor  # [B, S, N], rows sum to 1


@dataclass(frozen=True)
class AlignedMels:
    """Mels with alignments, in a form common to all models; item b is valid up to its own lengths."""

    mels: Tensor  # [B, n_mel, T]
    mel_lengths: Tensor  # [B] frames
    alignments: Tensor  # [B, S, N], rows sum to 1
    steps: Tensor  # [B]

    def item(self, i: int, n_symbols: int) -> tuple[Tensor, Tensor]:
        """Mel [n_mel, T] and alignment [S, N] of one item, without padding."""
        mel, alignment = self.mels[i, :, : int(self.mel_lengths[i])], self.alignments[i, : int(self.steps[i])]
        return mel, alignment[:, :n_symbols]


@dataclass(frozen=True)
class TeacherForcedOutput(AlignedMels):
    """Teacher-forced pass, for evaluation."""

    gates: Tensor | None  # [B, S] probability that speech ends; None for a model that predicts durations
    durations: Tensor | None  # [B, N] predicted frames of each symbol; None for a model that predicts none


@dataclass(frozen=True)
class FreeRunningOutput(AlignedMels):
    """Free-running synthesis."""

    stopped: Tensor  # [B] bool: true if the model ended speech itself, false if it was cut at the step limit


class AcousticModel(Protocol):
    """Text-to-mel model: trained on batches, then synthesises freely. Implementations are nn.Modules.

    `models/contract.py` checks the behaviour that no type can express.
    """

    LOSS_PARTS: tuple[str, ...]
    """Signal names of the terms of the loss, and of other values computed with it; `total_loss` comes on top."""

    MEASURES: tuple[str, ...]
    """Signal names of the values that `measures` returns."""

    SPECTRUM_LOSS: str
    """The loss part that measures how well mels are predicted."""

    LOG_LOSSES: tuple[str, ...]
    """Losses that are logarithms, such as a negative log-likelihood, and may be negative."""

    HAS_ATTENTION: bool
    """True if the model has to learn its alignment; false if the alignment is monotonic by construction."""

    HAS_GATE: bool
    """True if the model predicts the end of speech; false if durations determine it."""

    LOSS_KNOBS: tuple[str, ...]
    """Names of the knobs that `losses` reads."""

    INPUTS: Mapping[str, Axis]
    """Further inputs of `forward` and `synthesize` by name, each with its axis."""

    @property
    def frames_per_step(self) -> int:
        """Mel frames in one step of the alignments."""
        ...

    def forward(self, batch: Batch) -> Any:
        """Teacher-forced pass; the result goes to `losses` and `teacher_forced_output`."""
        ...

    def losses(self, output: Any, batch: Batch, knobs: LossKnobs) -> Losses: ...

    def snapshot(self) -> list[Tensor]:
        """Copy the state, other than gradients, that a training pass changes; empty if a pass changes none."""
        ...

    def restore(self, snapshot: list[Tensor]) -> None:
        """Undo what passes since the snapshot have changed."""
        ...

    def measures(self) -> dict[str, float]:
        """Health values of the weights, by the names in `MEASURES`."""
        ...

    def gradient_parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters whose gradient norm is reported separately, by signal name."""
        ...

    def teacher_forced_output(self, output: Any, batch: Batch) -> TeacherForcedOutput: ...

    def fold(self) -> None:
        """Merge parametrised weights for faster synthesis; the model cannot be trained afterwards."""
        ...

    def set_speed(self, speed: float) -> None:
        """Set the speed of synthesis, 1: as trained; no effect on a model that predicts no durations."""
        ...

    def set_gate_threshold(self, threshold: float) -> None:
        """Set the gate probability that ends synthesis; no effect on a model without a gate."""
        ...

    def synthesize(
        self,
        text: Tensor,
        text_lengths: Tensor,
        max_steps: int | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> FreeRunningOutput:
        """Free-running synthesis of symbol ids [B, N] with lengths [B].

        It is cut at `max_steps` or the recipe's `max_decoder_steps`, whichever is smaller. `inputs` are the further
        inputs that the model declares, as in a batch.
        """
        ...
