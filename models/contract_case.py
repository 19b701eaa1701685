"""A tiny model and a batch for the checks of `models.contract`, and the passes that the checks compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from corpus.batches import Axis, Batch
from hparams import HParams
from models import TrainableModel
from models.interface import FreeRunningOutput, Losses, TeacherForcedOutput
from models.layers import length_mask

RANDOM_SETTINGS = ("dropout", "noise")
"""Settings with one of these words in their names make a pass random unless they are zero."""
WEIGHT_NOISE = 0.1
FILL_SYMBOL, FILL_MEL = 1, 9.0
MORE_TOKENS, MORE_FRAMES = 2, 5


@dataclass(frozen=True)
class ContractCase:
    """A tiny model, and a batch of several utterances of different lengths."""

    build: Callable[[HParams, int], TrainableModel]
    hparams: HParams
    n_symbols: int
    batch: Batch

    def new_model(self, *, is_random: bool = False) -> TrainableModel:
        """A freshly initialised model, always with the same weights; by default without dropout and noise."""
        names = [name for name in HParams.model_fields if any(word in name for word in RANDOM_SETTINGS)]
        hparams = self.hparams if is_random else self.hparams.model_copy(update=dict.fromkeys(names, 0.0))
        torch.manual_seed(0)
        return self.build(hparams, self.n_symbols)

    def model(self) -> TrainableModel:
        """A model for evaluation; noise on its weights replaces initial zeros, which would hide mistakes."""
        model, generator = self.new_model().eval(), torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(WEIGHT_NOISE * torch.randn(parameter.shape, generator=generator))
        return model

    def items(self) -> Iterator[tuple[int, Batch]]:
        """Each utterance in a batch of its own, without padding."""
        return ((i, self.batch.rows([i])) for i in range(len(self.batch.ids)))


class RecordingKnobs(dict[str, float]):
    """Loss knobs that record which of them are read."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(dict.fromkeys(names, 1.0))
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> float:
        if name not in self:
            raise AssertionError(f"losses() read the knob {name!r}, which LOSS_KNOBS does not declare")
        self.read.add(name)
        return super().__getitem__(name)


def compute_losses(model: TrainableModel, batch: Batch) -> Losses:
    """Losses of a pass; the seed repeats dropout that no setting turns off."""
    torch.manual_seed(2)
    return model.losses(model(batch), batch, RecordingKnobs(model.LOSS_KNOBS))


def add_padding(batch: Batch) -> Batch:
    """The batch with more padding."""
    n_more: dict[Axis, int] = {"utterance": 0, "token": MORE_TOKENS, "frame": MORE_FRAMES}
    inputs = {name: F.pad(x, (0, n_more[batch.axes[name]])) for name, x in batch.inputs.items()}
    text, mels = F.pad(batch.text, (0, MORE_TOKENS)), F.pad(batch.mels, (0, MORE_FRAMES))
    durations = None if batch.durations is None else F.pad(batch.durations, (0, MORE_TOKENS))
    return replace(batch, text=text, mels=mels, inputs=inputs, durations=durations)


def fill_padding(batch: Batch) -> Batch:
    """The batch with other values than zero in the padding of text and mels."""
    text_padding = ~length_mask(batch.text_lengths, batch.text.size(1))
    mel_padding = ~length_mask(batch.mel_lengths, batch.mels.size(2)).unsqueeze(1)
    text, mels = batch.text.masked_fill(text_padding, FILL_SYMBOL), batch.mels.masked_fill(mel_padding, FILL_MEL)
    return replace(batch, text=text, mels=mels)


@torch.no_grad()
def run_teacher_forced(model: TrainableModel, batch: Batch) -> TeacherForcedOutput:
    return model.teacher_forced_output(model(batch), batch)


def synthesize(model: TrainableModel, batch: Batch, max_steps: int | None = None) -> FreeRunningOutput:
    return model.synthesize(batch.text, batch.text_lengths, max_steps, batch.inputs)


def valid_part(output: TeacherForcedOutput | FreeRunningOutput, batch: Batch, i: int) -> dict[str, Tensor]:
    """All fields of item i, without padding."""
    n_symbols, n_steps = int(batch.text_lengths[i]), int(output.steps[i])
    mel, alignment = output.item(i, n_symbols)
    valid = {"mel": mel, "alignment": alignment, "steps": output.steps[i]}
    if isinstance(output, FreeRunningOutput):
        return valid | {"stopped": output.stopped[i]}
    if output.gates is not None:
        valid["gates"] = output.gates[i, :n_steps]
    if output.durations is not None:
        valid["durations"] = output.durations[i, :n_symbols]
    return valid


def copy_state(model: TrainableModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}
