"""Faults for benchmarks/robustness/rescue.py: through settings, recordings, or something that happens in mid-run."""

from __future__ import annotations

import errno
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from corpus.batches import Batch
from hparams import ModelName
from models.glow_tts.model import GlowTTS
from models.tacotron2.model import Tacotron2
from training.checkpoints import checkpoint
from training.trainer import EnhancedTrainer

STEP = 100
"""Where things happen that happen in mid-run: attention has formed, much is still to be learnt."""

Rows = list[tuple[Path, str]]
"""Recordings and their transcripts."""


@dataclass(frozen=True)
class Fault:
    """One kind of trouble; `spoil` changes a copy of the recordings, `happen` a running training."""

    hparams: Mapping[str, Any] = field(default_factory=dict)
    spoil: Callable[[Rows, np.random.Generator], Rows] | None = None
    prepare: Callable[[EnhancedTrainer], None] | None = None
    happen: Callable[[EnhancedTrainer, Batch], Batch] | None = None
    from_step: int = 0
    spoils_held_out: bool = False  # as all recordings of a corpus are alike
    of_own_best: bool = False  # rescued means: near its own best, not near the clean run's


def rewrite(path: Path, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
    wave, rate = soundfile.read(path)
    soundfile.write(path, change(wave, rate), rate, subtype="FLOAT", format="WAV")


def ruined(trainer: EnhancedTrainer, share: float, value: float) -> None:
    """Cached mels of some utterances went bad after the recordings were checked."""
    loader = trainer.state.data.train
    load, ids = loader.load, [example.utterance.id for example in loader.examples]
    rng = np.random.default_rng(trainer.state.hparams.seed)
    bad = set(rng.choice(ids, max(1, round(share * len(ids))), replace=False).tolist())

    def load_ruined(indices: Sequence[int], number: int = 0) -> Batch:
        batch = load(indices, number)
        for row in [row for row, id_ in enumerate(batch.ids) if id_ in bad]:
            batch.mels[row, :, : int(batch.mel_lengths[row]) // 2] = value
        return batch

    loader.load = load_ruined  # type: ignore[method-assign]


def huge_clip(trainer: EnhancedTrainer) -> None:
    ruined(trainer, 0.0, 1e4)


def nan_clips(trainer: EnhancedTrainer) -> None:
    ruined(trainer, 0.1, math.nan)


def wrong_transcripts(rows: Rows, rng: np.random.Generator) -> Rows:
    chosen = rng.choice(len(rows), len(rows) // 10, replace=False)
    texts = [rows[i][1] for i in np.roll(chosen, 1)]
    return [(path, texts[list(chosen).index(i)] if i in chosen else text) for i, (path, text) in enumerate(rows)]


def silent_edges(rows: Rows, rng: np.random.Generator) -> Rows:
    def pad(wave: np.ndarray, rate: int) -> np.ndarray:
        edge = np.zeros(round(0.7 * rate))
        return np.concatenate([edge, wave, edge])

    for path, _ in rows:
        rewrite(path, pad)
    return rows


def noisy_clips(rows: Rows, rng: np.random.Generator) -> Rows:
    """Three recordings of ten are nothing but noise."""
    for path, _ in (rows[i] for i in rng.choice(len(rows), 3 * len(rows) // 10, replace=False)):
        rewrite(path, lambda wave, rate: 0.1 * rng.standard_normal(len(wave)))
    return rows


def quiet_clips(rows: Rows, rng: np.random.Generator) -> Rows:
    """A fifth of the recordings are a hundred times quieter."""
    for path, _ in (rows[i] for i in rng.choice(len(rows), len(rows) // 5, replace=False)):
        rewrite(path, lambda wave, rate: 0.01 * wave)
    return rows


def few(rows: Rows, rng: np.random.Generator) -> Rows:
    return [rows[i] for i in rng.choice(len(rows), 20, replace=False)]


@torch.no_grad()
def perturb_weights(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    generator = torch.Generator().manual_seed(trainer.state.hparams.seed)
    for weight in trainer.state.model.parameters():
        weight.add_(2.5 * weight.std(unbiased=False) * torch.randn(weight.shape, generator=generator))
    return batch


@torch.no_grad()
def corrupt_moments(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    generator = torch.Generator().manual_seed(trainer.state.hparams.seed)
    for moments in trainer.state.optimizer.state.values():
        moments["exp_avg"].copy_(0.1 * torch.randn(moments["exp_avg"].shape, generator=generator))
        moments["exp_avg_sq"].fill_(1e-4)
    return batch


def raise_learning_rate(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    trainer.state.knobs.learning_rate_multiplier *= 20
    return batch


def lower_learning_rate(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    trainer.state.knobs.learning_rate_multiplier /= 1000
    return batch


def freeze_moments(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    for moments in trainer.state.optimizer.state.values():
        moments["exp_avg_sq"].fill_(1e8)
    return batch


@torch.no_grad()
def scale_weights(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    for weight in trainer.state.model.decoder.parameters():
        weight.mul_(3)
    return batch


@torch.no_grad()
def forget_attention(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    generator = torch.Generator().manual_seed(trainer.state.hparams.seed)
    assert isinstance(trainer.state.model, Tacotron2)
    for weight in trainer.state.model.decoder.attention_layer.parameters():
        weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return batch


@torch.no_grad()
def lose_a_weight(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    next(trainer.state.model.decoder.parameters()).view(-1)[0] = math.nan
    return batch


def raise_learning_rate_a_little(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    trainer.state.knobs.learning_rate_multiplier *= 4
    return batch


def spike(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    return replace(batch, mels=batch.mels * 200)


@torch.no_grad()
def overflow(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    """What an update that overflowed in half precision leaves behind: from here on nothing is finite."""
    assert isinstance(trainer.state.model, GlowTTS)
    _, _, coupling = trainer.state.model.decoder.blocks()[-1]
    coupling.end.weight.mul_(1e5)
    return batch


def kill(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    os.kill(os.getpid(), signal.SIGKILL)
    return batch


def stall(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    time.sleep(3600)
    return batch


def little_memory(trainer: EnhancedTrainer) -> None:
    """As on a GPU that holds half a batch."""
    forward = trainer.state.model.forward

    def checked(batch: Batch) -> Any:
        if trainer.state.model.training and len(batch.ids) > 4:
            raise torch.OutOfMemoryError("out of memory: tried to allocate 2.00 GiB")
        return forward(batch)

    trainer.state.model.forward = checked  # type: ignore[method-assign]


def fill_disk(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    """No room for checkpoints for as long as this process lives; afterwards someone has made room."""

    def full(path: Path, content: bytes | memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    vars(checkpoint)["write_atomically"] = full
    return batch


FAULTS: dict[str, Fault] = {
    "learning_rate_x30": Fault({"learning_rate": 5e-3 * 30}),
    "learning_rate_/100": Fault({"learning_rate": 5e-3 / 100}),
    "no_guidance_batch_4": Fault({"guide_loss_weight": 0, "batch_size": 4, "epochs": 4}),
    "all_at_once": Fault(
        {"learning_rate": 5e-3 * 30, "guide_loss_weight": 0, "batch_size": 4, "epochs": 4}, prepare=nan_clips
    ),
    "learning_rate_x20_midrun": Fault(happen=raise_learning_rate, from_step=STEP),
    "moments_corrupted": Fault(happen=corrupt_moments, from_step=STEP),
    "weights_perturbed": Fault(happen=perturb_weights, from_step=STEP),
    "huge_clip": Fault({"grad_clip_thresh": 1e9}, prepare=huge_clip),
    "nan_clips": Fault(prepare=nan_clips),
    "wrong_transcripts": Fault(spoil=wrong_transcripts),
    "silent_edges": Fault({"max_utterance_seconds": 3.5}, spoil=silent_edges, spoils_held_out=True),
    "gate_hardly_positive": Fault({"gate_positive_weight": 0.01}),
    "gate_too_early": Fault({"gate_positive_weight": 3000}),
    "no_clipping_and_spike": Fault({"grad_clip_thresh": 1e9}, happen=spike, from_step=STEP),
    "overfitting": Fault(
        {"epochs": 120, "batch_size": 4, "learning_rate": 1e-2, "decay_start_step": 100_000},
        spoil=few,
        of_own_best=True,
    ),
    "out_of_memory": Fault(prepare=little_memory),
    "process_killed": Fault(happen=kill, from_step=STEP),
    "loader_stalled": Fault(happen=stall, from_step=STEP),
    "disk_full": Fault(happen=fill_disk, from_step=STEP),
}
LEARNT_FROM: dict[str, Fault] = {
    "learning_rate_x8": Fault({"learning_rate": 5e-3 * 8}),
    "learning_rate_x8_no_warmup": Fault({"learning_rate": 5e-3 * 8, "warmup_steps": 0}),
    "learning_rate_/10": Fault({"learning_rate": 5e-3 / 10}),
    "learning_rate_/1000_midrun": Fault(happen=lower_learning_rate, from_step=STEP),
    "moments_frozen": Fault(happen=freeze_moments, from_step=STEP),
    "decoder_scaled_x3": Fault(happen=scale_weights, from_step=STEP),
    "heavy_weight_decay": Fault({"weight_decay": 0.1}),
    "gate_loss_x300": Fault({"gate_loss_weight": 300.0}),
    "guide_narrow_and_heavy": Fault({"guide_sigma": 0.03, "guide_loss_weight": 200.0}),
    "adam_forgets": Fault({"adam_beta2": 0.3}),
    "heavy_dropout": Fault({"p_prenet_dropout": 0.97, "p_encoder_dropout": 0.9}),
}
"""Tried when the supervisor was thought to be finished: it rescued few of them then, and was changed."""
UNFORESEEN: dict[str, Fault] = {
    "attention_forgotten": Fault(happen=forget_attention, from_step=STEP),
    "a_weight_not_finite": Fault(happen=lose_a_weight, from_step=STEP),
    "learning_rate_x4_midrun": Fault(happen=raise_learning_rate_a_little, from_step=STEP),
    "noisy_clips": Fault(spoil=noisy_clips),
    "quiet_clips": Fault(spoil=quiet_clips),
    "batch_of_one": Fault({"batch_size": 1, "epochs": 1}),
}
"""Tried last: nothing was changed for their sake."""
FLOW_FAULTS: dict[str, Fault] = {
    "exploding": Fault({"learning_rate": 1e-2 * 40, "warmup_steps": 0, "grad_clip_thresh": 1e9}),
    "amp_overflow": Fault(happen=overflow, from_step=STEP),
    "huge_clip": Fault({"grad_clip_thresh": 1e9}, prepare=huge_clip),
    "nan_clips": Fault(prepare=nan_clips),
    "plateau": Fault({"decay_start_step": 100_000, "learning_rate": 1e-2 * 4}),
    "weights_perturbed": Fault(happen=perturb_weights, from_step=STEP),
    "moments_corrupted": Fault(happen=corrupt_moments, from_step=STEP),
    "no_clipping_and_spike": Fault({"grad_clip_thresh": 1e9}, happen=spike, from_step=STEP),
    "overfitting": Fault({"epochs": 120, "batch_size": 4, "decay_start_step": 100_000}, spoil=few, of_own_best=True),
    "out_of_memory": Fault(prepare=little_memory),
    "process_killed": Fault(happen=kill, from_step=STEP),
}
"""Of GlowTTS."""

GROUPS: dict[ModelName, tuple[dict[str, Fault], ...]] = {
    "tacotron2": (FAULTS, LEARNT_FROM, UNFORESEEN),
    "glow_tts": (FLOW_FAULTS,),
}


def faults_of(model: ModelName) -> dict[str, Fault]:
    return {name: fault for group in GROUPS[model] for name, fault in group.items()}
