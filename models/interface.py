"""What an acoustic model owes the trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from corpus.batches import Batch


@dataclass(frozen=True)
class Losses:
    """The scalar to minimise and its parts by signal name (`mel_loss`, `gate_loss`, …), all scalar tensors."""

    total: Tensor
    parts: dict[str, Tensor]
    by_utterance: Tensor  # [B] above zero: how badly each utterance is spoken, to tell a bad clip from a bad model

    def detached(self) -> Losses:
        """The same numbers without the graph that made them."""
        parts = {name: value.detach() for name, value in self.parts.items()}
        return Losses(self.total.detach(), parts, self.by_utterance.detach())


@dataclass(frozen=True)
class LossKnobs:
    """The weights of a loss that may change while training runs."""

    guide_weight: float
    guide_sigma: float
    gate_positive_weight: float
    duration_loss_weight: float


@dataclass(frozen=True)
class Output:
    """A teacher-forced pass of a decoder with attention. Decoder steps S = ceil(T / r)."""

    mels: Tensor  # [B, n_mel, T] before the postnet
    mels_postnet: Tensor  # [B, n_mel, T]
    gates: Tensor  # [B, S] logits of "this step holds the last frame"
    alignments: Tensor  # [B, S, N], rows sum to 1


@dataclass(frozen=True)
class Forced:
    """What a pass with the recordings as teachers came to, for those who look; item b is valid up to its lengths."""

    mels: Tensor  # [B, n_mel, T]
    mel_lengths: Tensor  # [B] frames
    alignments: Tensor  # [B, S, N], rows sum to 1
    steps: Tensor  # [B]
    gates: Tensor | None  # [B, S] probability of the end; None of a model that knows durations
    durations: Tensor | None  # [B, N] frames predicted for each symbol; None of a model that predicts none


@dataclass(frozen=True)
class Decoded:
    """A free-running pass; item b is valid up to its own lengths."""

    mels: Tensor  # [B, n_mel, T]
    mel_lengths: Tensor  # [B] frames
    alignments: Tensor  # [B, S, N]
    steps: Tensor  # [B]
    stopped: Tensor  # [B] bool: by itself, not because it was cut


class AcousticModel(Protocol):
    """Text to mel: trained on batches, then speaks freely. Implementations are nn.Modules."""

    LOSS_PARTS: tuple[str, ...]
    """Names of what the loss is the sum of, and of what else is computed with it, as signals bear them."""

    MEASURES: tuple[str, ...]
    """Names of what `measures` tells, as signals bear them."""

    SPECTRUM_LOSS: str
    """Which part says how well the recordings are predicted."""

    LOG_LOSSES: tuple[str, ...]
    """Those that are logarithms, like that of a likelihood, and may lie below zero."""

    HAS_ATTENTION: bool
    """Whether it has to learn which symbol is next; without, alignment is monotonic by construction."""

    @property
    def frames_per_step(self) -> int:
        """Mel frames of a step of its alignments."""
        ...

    def forward(self, batch: Batch) -> Any:
        """A pass over recordings; what it returns is for `losses` and `forced`."""
        ...

    def losses(self, output: Any, batch: Batch, knobs: LossKnobs) -> Losses:
        """The losses of a pass against its batch."""
        ...

    def snapshot(self) -> list[Tensor]:
        """Copies of what a pass changes while it trains, beside gradients; none where a pass changes nothing."""
        ...

    def restore(self, snapshot: list[Tensor]) -> None: ...

    def measures(self) -> dict[str, float]:
        """The health of its weights."""
        ...

    def gradient_parts(self) -> dict[str, list[nn.Parameter]]:
        """Modules whose gradients are told apart, by signal name."""
        ...

    def forced(self, output: Any, batch: Batch) -> Forced: ...

    def fold(self) -> None:
        """Multiply out what is kept in factors for learning: it will only speak from now on."""
        ...

    def open_gate_at(self, threshold: float) -> None:
        """The probability of the end that stops synthesis, where the model has such a gate."""
        ...

    def synthesize(
        self, text: Tensor, text_lengths: Tensor, max_steps: int | None = None, speakers: Tensor | None = None
    ) -> Decoded:
        """Free-running decode of symbol ids [B, N] with lengths [B], cut at `max_steps` (the recipe's, if smaller).

        `speakers` [B] of a model that has several.
        """
        ...
