"""Free-running decoding of sentences to mels, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from corpus.batches import pad_inputs
from corpus.text.frontend import TextFrontend
from hparams import UserError
from models import TrainableModel
from models.interface import FreeRunningOutput
from models.memory import run_in_fitting_parts
from reports import SentenceReport

SHOWN_CHARACTERS = 60
"""Longest part of a text in a message."""


@dataclass(frozen=True)
class Sentence:
    """A text with its symbol ids, ready for decoding."""

    id: str
    text: str
    symbol_ids: tuple[int, ...]
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further inputs that the model declares, as those of an example."""


def encode_sentence(
    id_: str, text: str, frontend: TextFrontend, inputs: Mapping[str, np.ndarray] | None = None
) -> Sentence:
    symbol_ids = tuple(frontend.encode(text))
    if not symbol_ids:
        raise UserError(f"{text[:SHOWN_CHARACTERS]!r} holds nothing that can be spoken with the symbols of this voice")
    return Sentence(id_, text, symbol_ids, inputs or {})


@contextmanager
def evaluation_mode(model: TrainableModel, seed: int) -> Iterator[None]:
    """Evaluation mode without gradients, with random numbers from `seed`; mode and random state are restored."""
    was_training = model.training
    devices = [device_of(model)] if device_of(model).type == "cuda" else []
    with torch.random.fork_rng(devices), torch.inference_mode():
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def decode_sentences(
    model: TrainableModel, sentences: Sequence[Sentence], batch_size: int, *, max_steps: int | None = None
) -> list[SentenceReport]:
    """Decode sentences, with similar lengths in one batch; the reports are in the order of the sentences.

    `max_steps`: a limit on decoder steps below that of the recipe.
    """
    by_length = sorted(sentences, key=lambda sentence: -len(sentence.symbol_ids))
    batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]

    def decode(some: Sequence[Sentence]) -> list[SentenceReport]:
        return _decode_batch(model, some, max_steps)

    parts = [part for batch in batches for part in run_in_fitting_parts(batch, decode)]
    reports = {report.id: report for part in parts for report in part}
    return [reports[sentence.id] for sentence in sentences]


def _decode_batch(model: TrainableModel, sentences: Sequence[Sentence], max_steps: int | None) -> list[SentenceReport]:
    device = device_of(model)
    lengths = torch.tensor([len(sentence.symbol_ids) for sentence in sentences])
    inputs = pad_inputs([sentence.inputs for sentence in sentences], model.INPUTS, lengths.numpy())
    rows = [torch.tensor(sentence.symbol_ids, device=device) for sentence in sentences]
    text = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    on_device = {name: x.to(device) for name, x in inputs.items()}
    output = model.synthesize(text, lengths.to(device), max_steps, on_device)
    return [_report(output, i, sentence) for i, sentence in enumerate(sentences)]


def _report(output: FreeRunningOutput, i: int, sentence: Sentence) -> SentenceReport:
    mel, attention = map(to_numpy, output.item(i, len(sentence.symbol_ids)))
    return SentenceReport(
        id=sentence.id,
        text=sentence.text,
        symbol_ids=sentence.symbol_ids,
        free_attention=attention,
        free_mel=mel,
        stopped=bool(output.stopped[i]),
    )


def to_numpy(x: Tensor) -> np.ndarray:
    return x.float().cpu().numpy()
