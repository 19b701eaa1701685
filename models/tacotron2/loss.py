"""Loss of Tacotron 2: mel, gate and guided attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from corpus.batches import Batch
from hparams import HParams
from models.interface import AttentionOutput, Losses, LossKnobs
from models.layers import length_mask


def tacotron2_losses(output: AttentionOutput, batch: Batch, knobs: LossKnobs, hparams: HParams) -> Losses:
    """Means over valid positions; with `leaky_padding` over the whole padded batch, as in the reference."""
    steps = torch.ceil(batch.mel_lengths / hparams.n_frames_per_step)
    mel_lengths = torch.full_like(batch.mel_lengths, batch.mels.size(2)) if hparams.leaky_padding else batch.mel_lengths
    gate_steps = torch.full_like(steps, output.gates.size(1)) if hparams.leaky_padding else steps
    mel = mel_loss(output, batch.mels, length_mask(mel_lengths, batch.mels.size(2)))
    gate = gate_loss(output.gates, steps, length_mask(gate_steps, output.gates.size(1)), knobs["gate_positive_weight"])
    guide = guide_loss(output.alignments, steps, batch.text_lengths, knobs["guide_sigma"])
    total = mel + hparams.gate_loss_weight * gate + knobs["guide_weight"] * guide
    parts = {"mel_loss": mel, "gate_loss": gate, "guide_loss": guide, "total_loss": total}
    return Losses(total, parts, mel_loss_by_utterance(output, batch))


def mel_loss(output: AttentionOutput, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error before plus after the postnet; mask [B, T]."""
    count = mask.sum() * target.size(1)
    squares = (output.mels - target).square() + (output.mels_postnet - target).square()
    return (squares * mask.unsqueeze(1)).sum() / count


@torch.no_grad()
def mel_loss_by_utterance(output: AttentionOutput, batch: Batch) -> Tensor:
    """[B] squared error before the postnet, whose batch normalisation mixes the errors of all utterances."""
    mask = length_mask(batch.mel_lengths, batch.mels.size(2))
    squares = (output.mels - batch.mels).square().mean(1)
    return squares.masked_fill(~mask, 0.0).sum(1) / batch.mel_lengths


def gate_loss(gates: Tensor, steps: Tensor, mask: Tensor, positive_weight: float) -> Tensor:
    """Cross-entropy of the gate logits [B, S] with a target that opens at the step of the last frame and stays open."""
    target = (~length_mask(steps - 1, gates.size(1))).to(gates.dtype)
    weight = gates.new_tensor(positive_weight)
    losses = F.binary_cross_entropy_with_logits(gates, target, pos_weight=weight, reduction="none")
    return (losses * mask).sum() / mask.sum()


def guide_loss(alignments: Tensor, steps: Tensor, text_lengths: Tensor, sigma: float) -> Tensor:
    """Attention mass times a penalty for its distance from the diagonal, mean over steps: 0 on it, at most 1."""
    n_steps, n_tokens = alignments.shape[1:]
    time = torch.arange(n_steps, device=steps.device) / steps.unsqueeze(1)
    position = torch.arange(n_tokens, device=steps.device) / text_lengths.unsqueeze(1)
    distance = time.unsqueeze(2) - position.unsqueeze(1)
    penalty = 1 - torch.exp(-distance.square() / (2 * sigma**2))
    mask = length_mask(steps, n_steps)
    return ((alignments * penalty).sum(2) * mask).sum() / mask.sum()
