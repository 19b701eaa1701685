"""Ten faults whose kinds and magnitudes were fixed before any training had met them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.robustness.faults.fault import Fault, Rows, draw, rewrite
from corpus.batches import Batch
from models.tacotron2.model import Tacotron2
from training.trainer import EnhancedTrainer


def ascend_gradient(trainer: EnhancedTrainer, batch: Batch) -> None:
    """Reverse the gradients of the next fifteen updates."""
    remaining = iter(range(15))

    def reverse(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if next(remaining, None) is None:
            return
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.neg_()

    trainer.state.optimizer.register_step_pre_hook(reverse)


def raise_rate_slowly(trainer: EnhancedTrainer, batch: Batch) -> None:
    """Raise the learning rate by 4 % at each of the next hundred steps, to fifty times its value."""
    remaining = iter(range(100))

    def raise_rate(*_: Any) -> None:
        if next(remaining, None) is not None:
            trainer.state.knobs.learning_rate_multiplier *= 1.04

    trainer.state.optimizer.register_step_post_hook(raise_rate)


@torch.no_grad()
def permute_symbols(trainer: EnhancedTrainer, batch: Batch) -> None:
    """Exchange the embeddings of all symbols at random."""
    assert isinstance(trainer.state.model, Tacotron2)
    generator = torch.Generator().manual_seed(trainer.state.hparams.seed)
    weight = trainer.state.model.embedding.weight
    weight.copy_(weight[torch.randperm(len(weight), generator=generator)])


@torch.no_grad()
def forget_decoder(trainer: EnhancedTrainer, batch: Batch) -> None:
    """Draw the weights of the decoder's recurrent layers anew."""
    assert isinstance(trainer.state.model, Tacotron2)
    generator = torch.Generator().manual_seed(trainer.state.hparams.seed)
    decoder = trainer.state.model.decoder
    for layer in (decoder.attention_rnn, decoder.decoder_rnn):
        for weight in layer.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def round_weights(trainer: EnhancedTrainer, batch: Batch) -> None:
    """Round every weight to a multiple of a tenth, as a broken conversion would."""
    for weight in trainer.state.model.parameters():
        weight.copy_((10 * weight).round() / 10)


def repeat_batch(trainer: EnhancedTrainer, batch: Batch) -> None:
    """Train on this one batch in the next eighty steps, as with a loader that does not move on."""
    remaining, step = iter(range(80)), trainer.train_step

    def train_step(*batches: Batch, started: float | None = None) -> Any:
        chosen = batches if next(remaining, None) is None else (batch,) * len(batches)
        return step(*chosen, started=started)

    trainer.train_step = train_step  # type: ignore[method-assign]


def reversed_clips(rows: Rows, rng: np.random.Generator) -> Rows:
    """Reverse a quarter of the recordings in time."""
    for path, _ in draw(len(rows) // 4, rows, rng):
        rewrite(path, lambda wave, rate: wave[::-1])
    return rows


def append_wave(other: np.ndarray, wave: np.ndarray, rate: int) -> np.ndarray:
    return np.concatenate([wave, other])


def spliced_clips(rows: Rows, rng: np.random.Generator) -> Rows:
    """Append a second recording to three recordings of ten, without its text."""
    appended = [soundfile.read(path)[0] for path, _ in draw(3 * len(rows) // 10, rows, rng)]
    for (path, _), other in zip(draw(len(appended), rows, rng), appended, strict=True):
        rewrite(path, partial(append_wave, other))
    return rows


def half_recordings(rows: Rows, rng: np.random.Generator) -> Rows:
    """Cut four recordings of ten after their first half, as in a broken download."""
    for path, _ in draw(4 * len(rows) // 10, rows, rng):
        rewrite(path, lambda wave, rate: wave[: len(wave) // 2])
    return rows


NEW_FAULTS: dict[str, Fault] = {
    "gradient_ascent": Fault(inject=ascend_gradient, from_step=150),
    "rate_rises_slowly": Fault(inject=raise_rate_slowly, from_step=100),
    "symbols_permuted": Fault(inject=permute_symbols, from_step=150),
    "decoder_forgotten": Fault(inject=forget_decoder, from_step=200),
    "weights_rounded": Fault(inject=round_weights, from_step=150),
    "same_batch": Fault(inject=repeat_batch, from_step=150),
    "dropout_decoder": Fault({"p_decoder_dropout": 0.8, "p_attention_dropout": 0.8}),
    "reversed_clips": Fault(damage=reversed_clips),
    "spliced_clips": Fault({"max_utterance_seconds": 3.5}, damage=spliced_clips),
    "half_recordings": Fault(damage=half_recordings),
}
