"""Faults for the benchmark `rescue`: bad settings, damaged recordings, events in the middle of a training."""

from __future__ import annotations

import errno
import math
import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.robustness.faults.fault import EVENT_STEP, Fault, Rows, draw, rewrite
from benchmarks.robustness.faults.new import NEW_FAULTS
from corpus.batches import Batch
from hparams import ModelName
from models.glow_tts.model import GlowTTS
from models.tacotron2.model import Tacotron2
from training.checkpoints import checkpoint
from training.trainer import EnhancedTrainer


def damage_mels(trainer: EnhancedTrainer, share: float, value: float) -> None:
    """Overwrite half of some utterances' mels as they are loaded, after the corpus was checked."""
    loader = trainer.state.data.train
    load, ids = loader.load, [example.utterance.id for example in loader.examples]
    rng = np.random.default_rng(trainer.state.hparams.seed)
    damaged = set(rng.choice(ids, max(1, round(share * len(ids))), replace=False).tolist())

    def load_damaged(indices: Sequence[int], number: int = 0, *, epoch: int | None = None) -> Batch:
        batch = load(indices, number, epoch=epoch)
        for row in [row for row, id_ in enumerate(batch.ids) if id_ in damaged]:
            batch.mels[row, :, : int(batch.mel_lengths[row]) // 2] = value
        return batch

    loader.load = load_damaged  # type: ignore[method-assign]


huge_clip = partial(damage_mels, share=0.0, value=1e4)
nan_clips = partial(damage_mels, share=0.1, value=math.nan)


def wrong_transcripts(rows: Rows, rng: np.random.Generator) -> Rows:
    """Exchange the transcripts of a tenth of the recordings."""
    chosen = rng.choice(len(rows), len(rows) // 10, replace=False)
    texts = [rows[i][1] for i in np.roll(chosen, 1)]
    return [(path, texts[list(chosen).index(i)] if i in chosen else text) for i, (path, text) in enumerate(rows)]


def silent_edges(rows: Rows, rng: np.random.Generator) -> Rows:
    """Add 0.7 s of silence before and after every recording."""

    def pad(wave: np.ndarray, rate: int) -> np.ndarray:
        edge = np.zeros(round(0.7 * rate))
        return np.concatenate([edge, wave, edge])

    for path, _ in rows:
        rewrite(path, pad)
    return rows


def noisy_clips(rows: Rows, rng: np.random.Generator) -> Rows:
    """Replace three recordings of ten by noise."""
    for path, _ in draw(3 * len(rows) // 10, rows, rng):
        rewrite(path, lambda wave, rate: 0.1 * rng.standard_normal(len(wave)))
    return rows


def quiet_clips(rows: Rows, rng: np.random.Generator) -> Rows:
    """Make a fifth of the recordings a hundred times quieter."""
    for path, _ in draw(len(rows) // 5, rows, rng):
        rewrite(path, lambda wave, rate: 0.01 * wave)
    return rows


few_utterances = partial(draw, 20)


@torch.no_grad()
def perturb_weights(trainer: EnhancedTrainer, batch: Batch) -> None:
    generator = torch.Generator().manual_seed(trainer.state.hparams.seed)
    for weight in trainer.state.model.parameters():
        weight.add_(2.5 * weight.std(unbiased=False) * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def corrupt_moments(trainer: EnhancedTrainer, batch: Batch) -> None:
    generator = torch.Generator().manual_seed(trainer.state.hparams.seed)
    for moments in trainer.state.optimizer.state.values():
        moments["exp_avg"].copy_(0.1 * torch.randn(moments["exp_avg"].shape, generator=generator))
        moments["exp_avg_sq"].fill_(1e-4)


def multiply_learning_rate(trainer: EnhancedTrainer, batch: Batch, *, factor: float) -> None:
    trainer.state.knobs.learning_rate_multiplier *= factor


def freeze_moments(trainer: EnhancedTrainer, batch: Batch) -> None:
    for moments in trainer.state.optimizer.state.values():
        moments["exp_avg_sq"].fill_(1e8)


@torch.no_grad()
def scale_weights(trainer: EnhancedTrainer, batch: Batch) -> None:
    for weight in trainer.state.model.decoder.parameters():
        weight.mul_(3)


@torch.no_grad()
def randomize_attention(trainer: EnhancedTrainer, batch: Batch) -> None:
    generator = torch.Generator().manual_seed(trainer.state.hparams.seed)
    assert isinstance(trainer.state.model, Tacotron2)
    for weight in trainer.state.model.decoder.attention_layer.parameters():
        weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def set_weight_to_nan(trainer: EnhancedTrainer, batch: Batch) -> None:
    next(trainer.state.model.decoder.parameters()).view(-1)[0] = math.nan


def amplify_batch(trainer: EnhancedTrainer, batch: Batch) -> None:
    batch.mels.mul_(200)


@torch.no_grad()
def overflow_weights(trainer: EnhancedTrainer, batch: Batch) -> None:
    """Make weights as large as an overflow in half precision leaves them: no later loss is finite."""
    assert isinstance(trainer.state.model, GlowTTS)
    _, _, coupling = trainer.state.model.decoder.blocks()[-1]
    coupling.end.weight.mul_(1e5)


def kill_process(trainer: EnhancedTrainer, batch: Batch) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stall(trainer: EnhancedTrainer, batch: Batch) -> None:
    time.sleep(3600)


def limit_memory(trainer: EnhancedTrainer) -> None:
    """Raise an out-of-memory error for more than 4 utterances, as a GPU would that holds half a batch."""
    forward = trainer.state.model.forward

    def limited(batch: Batch) -> Any:
        if trainer.state.model.training and len(batch.ids) > 4:
            raise torch.OutOfMemoryError("out of memory: tried to allocate 2.00 GiB")
        return forward(batch)

    trainer.state.model.forward = limited  # type: ignore[method-assign]


def fill_disk(trainer: EnhancedTrainer, batch: Batch) -> None:
    """Leave no room for checkpoints until this process ends; the next one finds room again."""

    def raise_disk_full(path: Path, content: bytes | memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    patch.object(checkpoint, "write_atomically", raise_disk_full).start()


MAIN_FAULTS: dict[str, Fault] = {
    "learning_rate_x30": Fault({"learning_rate": 5e-3 * 30}),
    "learning_rate_/100": Fault({"learning_rate": 5e-3 / 100}),
    "no_guidance_batch_4": Fault({"guide_loss_weight": 0, "batch_size": 4, "epochs": 4}),
    "all_at_once": Fault(
        {"learning_rate": 5e-3 * 30, "guide_loss_weight": 0, "batch_size": 4, "epochs": 4}, prepare=nan_clips
    ),
    "learning_rate_x20_midrun": Fault(inject=partial(multiply_learning_rate, factor=20), from_step=EVENT_STEP),
    "moments_corrupted": Fault(inject=corrupt_moments, from_step=EVENT_STEP),
    "weights_perturbed": Fault(inject=perturb_weights, from_step=EVENT_STEP),
    "huge_clip": Fault({"grad_clip_thresh": 1e9}, prepare=huge_clip),
    "nan_clips": Fault(prepare=nan_clips),
    "wrong_transcripts": Fault(damage=wrong_transcripts),
    "silent_edges": Fault({"max_utterance_seconds": 3.5}, damage=silent_edges, damages_held_out=True),
    "gate_hardly_positive": Fault({"gate_positive_weight": 0.01}),
    "gate_too_early": Fault({"gate_positive_weight": 3000}),
    "no_clipping_and_spike": Fault({"grad_clip_thresh": 1e9}, inject=amplify_batch, from_step=EVENT_STEP),
    "overfitting": Fault(
        {"epochs": 120, "batch_size": 4, "learning_rate": 1e-2, "decay_start_step": 100_000},
        damage=few_utterances,
        compares_with_own_best=True,
    ),
    "out_of_memory": Fault(prepare=limit_memory),
    "process_killed": Fault(inject=kill_process, from_step=EVENT_STEP),
    "loader_stalled": Fault(inject=stall, from_step=EVENT_STEP),
    "disk_full": Fault(inject=fill_disk, from_step=EVENT_STEP),
}
DEVELOPMENT_FAULTS: dict[str, Fault] = {
    "learning_rate_x8": Fault({"learning_rate": 5e-3 * 8}),
    "learning_rate_x8_no_warmup": Fault({"learning_rate": 5e-3 * 8, "warmup_steps": 0}),
    "learning_rate_/10": Fault({"learning_rate": 5e-3 / 10}),
    "learning_rate_/1000_midrun": Fault(inject=partial(multiply_learning_rate, factor=1e-3), from_step=EVENT_STEP),
    "moments_frozen": Fault(inject=freeze_moments, from_step=EVENT_STEP),
    "decoder_scaled_x3": Fault(inject=scale_weights, from_step=EVENT_STEP),
    "heavy_weight_decay": Fault({"weight_decay": 0.1}),
    "gate_loss_x300": Fault({"gate_loss_weight": 300.0}),
    "guide_narrow_and_heavy": Fault({"guide_sigma": 0.03, "guide_loss_weight": 200.0}),
    "adam_forgets": Fault({"adam_beta2": 0.3}),
    "heavy_dropout": Fault({"p_prenet_dropout": 0.97, "p_encoder_dropout": 0.9}),
}
"""Tried on a supervisor that seemed finished: it rescued few of them, and was changed."""
UNSEEN_FAULTS: dict[str, Fault] = {
    "attention_forgotten": Fault(inject=randomize_attention, from_step=EVENT_STEP),
    "a_weight_not_finite": Fault(inject=set_weight_to_nan, from_step=EVENT_STEP),
    "learning_rate_x4_midrun": Fault(inject=partial(multiply_learning_rate, factor=4), from_step=EVENT_STEP),
    "noisy_clips": Fault(damage=noisy_clips),
    "quiet_clips": Fault(damage=quiet_clips),
    "batch_of_one": Fault({"batch_size": 1, "epochs": 1}),
}
"""Tried last: nothing was changed because of them."""
GLOW_TTS_FAULTS: dict[str, Fault] = {
    "exploding": Fault({"learning_rate": 1e-2 * 40, "warmup_steps": 0, "grad_clip_thresh": 1e9}),
    "amp_overflow": Fault(inject=overflow_weights, from_step=EVENT_STEP),
    "huge_clip": Fault({"grad_clip_thresh": 1e9}, prepare=huge_clip),
    "nan_clips": Fault(prepare=nan_clips),
    "plateau": Fault({"decay_start_step": 100_000, "learning_rate": 1e-2 * 4}),
    "weights_perturbed": Fault(inject=perturb_weights, from_step=EVENT_STEP),
    "moments_corrupted": Fault(inject=corrupt_moments, from_step=EVENT_STEP),
    "no_clipping_and_spike": Fault({"grad_clip_thresh": 1e9}, inject=amplify_batch, from_step=EVENT_STEP),
    "overfitting": Fault(
        {"epochs": 120, "batch_size": 4, "decay_start_step": 100_000},
        damage=few_utterances,
        compares_with_own_best=True,
    ),
    "out_of_memory": Fault(prepare=limit_memory),
    "process_killed": Fault(inject=kill_process, from_step=EVENT_STEP),
}

FAULT_GROUPS: dict[ModelName, tuple[dict[str, Fault], ...]] = {
    "tacotron2": (MAIN_FAULTS, DEVELOPMENT_FAULTS, UNSEEN_FAULTS, NEW_FAULTS),
    "glow_tts": (GLOW_TTS_FAULTS,),
}


def faults_of(model: ModelName) -> dict[str, Fault]:
    return {name: fault for group in FAULT_GROUPS[model] for name, fault in group.items()}
