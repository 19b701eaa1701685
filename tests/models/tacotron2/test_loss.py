from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from corpus.batches import Batch
from models.interface import AttentionOutput
from models.layers import length_mask
from models.tacotron2.loss import gate_loss, guide_loss, mel_loss, mel_loss_by_utterance, tacotron2_losses
from tests.support.tiny import tiny_data, tiny_hparams, tiny_model


def path(n_steps: int, tokens: list[int], size: int) -> Tensor:
    """A hard alignment [1, S, size] that visits these tokens, each for the same number of steps."""
    alignment = torch.zeros(1, n_steps, size)
    for s in range(n_steps):
        alignment[0, s, tokens[s * len(tokens) // n_steps]] = 1
    return alignment


def test_guide_loss_is_near_zero_on_the_diagonal_and_large_far_from_it() -> None:
    steps, texts = torch.tensor([20.0]), torch.tensor([10])
    diagonal = guide_loss(path(20, list(range(10)), 10), steps, texts, 0.2)
    backwards = guide_loss(path(20, list(range(10))[::-1], 10), steps, texts, 0.2)
    stuck = guide_loss(path(20, [0], 10), steps, texts, 0.2)
    assert diagonal < 0.02
    assert backwards > 0.5 and stuck > 0.5
    assert diagonal < guide_loss(torch.full((1, 20, 10), 0.1), steps, texts, 0.2) < stuck + 0.2


def test_guide_loss_at_a_known_distance() -> None:
    far = path(2, [1, 1], 2)  # distances 0 − 1/2 and 1/2 − 1/2
    expected = (1 - math.exp(-(0.5**2) / (2 * 0.4**2))) / 2
    torch.testing.assert_close(guide_loss(far, torch.tensor([2.0]), torch.tensor([2]), 0.4), torch.tensor(expected))


def test_a_wider_guide_penalises_less() -> None:
    alignment, steps, texts = torch.full((1, 20, 10), 0.1), torch.tensor([20.0]), torch.tensor([10])
    assert guide_loss(alignment, steps, texts, 0.1) > guide_loss(alignment, steps, texts, 0.4)


def test_guide_loss_ignores_padding_and_uses_each_items_own_lengths() -> None:
    steps, texts = torch.tensor([10.0, 20.0]), torch.tensor([5, 10])
    short, long = path(10, list(range(5)), 10), path(20, list(range(10)), 10)
    short = torch.cat([short, torch.zeros(1, 10, 10)], dim=1)
    padded = short.clone()
    padded[:, 10:, 9] = 1.0
    both = torch.cat([short, long])
    assert guide_loss(both, steps, texts, 0.2) < 0.04
    torch.testing.assert_close(
        guide_loss(torch.cat([padded, long]), steps, texts, 0.2), guide_loss(both, steps, texts, 0.2)
    )


def logits_of(target: list[list[int]]) -> Tensor:
    return torch.tensor(target, dtype=torch.float32) * 40 - 20


def test_the_gate_target_opens_at_the_step_of_the_last_frame() -> None:
    steps = torch.tensor([4.0, 2.0])
    mask = length_mask(steps, 4)
    correct = logits_of([[0, 0, 0, 1], [0, 1, 0, 0]])
    assert gate_loss(correct, steps, mask, 8.0) < 1e-6
    for wrong in ([[0, 0, 1, 1], [0, 1, 0, 0]], [[0, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 0, 1], [0, 0, 0, 0]]):
        assert gate_loss(logits_of(wrong), steps, mask, 8.0) > 1


def test_the_positive_weight_multiplies_the_loss_of_the_end() -> None:
    steps, mask = torch.tensor([4.0]), torch.ones(1, 4, dtype=torch.bool)
    gates = torch.zeros(1, 4)
    torch.testing.assert_close(gate_loss(gates, steps, mask, 1.0), torch.tensor(math.log(2)))
    torch.testing.assert_close(gate_loss(gates, steps, mask, 8.0), torch.tensor(math.log(2) * (3 + 8) / 4))


def output_and_batch(r: int, frames: int) -> tuple[AttentionOutput, Batch]:
    """A perfect output for one utterance of four symbols, in a batch padded by four frames."""
    steps = -(-frames // r)
    mels = torch.randn(1, 3, frames + 4, generator=torch.Generator().manual_seed(frames))
    gates = torch.full((1, -(-(frames + 4) // r)), -20.0)
    gates[0, steps - 1] = 20.0
    alignments = path(gates.size(1), [0], 4)
    batch = Batch(("a",), torch.ones(1, 4, dtype=torch.int64), torch.tensor([4]), mels, torch.tensor([frames]))
    return AttentionOutput(mels.clone(), mels.clone(), gates, alignments), batch


KNOBS = {"guide_weight": 0.0, "guide_sigma": 0.4, "gate_positive_weight": 8.0}


@pytest.mark.parametrize(("r", "frames"), [(1, 7), (2, 8), (3, 7), (3, 9), (5, 6)])
def test_with_a_reduction_factor_the_last_step_holds_the_last_frame(r: int, frames: int) -> None:
    output, batch = output_and_batch(r, frames)
    hparams = tiny_hparams(n_frames_per_step=r, n_mel_channels=3)
    assert tacotron2_losses(output, batch, KNOBS, hparams).total < 1e-6
    shifted = AttentionOutput(output.mels, output.mels_postnet, output.gates.roll(1, 1), output.alignments)
    assert tacotron2_losses(shifted, batch, KNOBS, hparams).total > 1


def test_mel_loss_is_the_mean_square_before_plus_after_the_postnet_over_valid_frames() -> None:
    target = torch.zeros(1, 3, 6)
    mask = length_mask(torch.tensor([4]), 6)
    before, after = torch.full_like(target, 2.0), torch.full_like(target, 3.0)
    before[:, :, 4:] = 100.0
    output = AttentionOutput(before, after, torch.zeros(1, 6), torch.zeros(1, 6, 2))
    torch.testing.assert_close(mel_loss(output, target, mask), torch.tensor(2.0**2 + 3.0**2))


def test_the_total_is_the_weighted_sum_of_the_parts() -> None:
    output, batch = output_and_batch(2, 8)
    worse = AttentionOutput(output.mels + 1, output.mels_postnet, output.gates * 0, output.alignments)
    hparams = tiny_hparams(gate_loss_weight=3.0, n_frames_per_step=2)
    losses = tacotron2_losses(worse, batch, KNOBS | {"guide_weight": 2.0}, hparams)
    parts = losses.parts
    assert set(parts) == {"mel_loss", "gate_loss", "guide_loss", "total_loss"}
    assert parts["guide_loss"] > 0 and parts["gate_loss"] > 0
    expected = parts["mel_loss"] + 3.0 * parts["gate_loss"] + 2.0 * parts["guide_loss"]
    torch.testing.assert_close(losses.total, expected)
    assert losses.total is parts["total_loss"]


def test_leaky_losses_include_the_padding() -> None:
    output, batch = output_and_batch(1, 7)
    noisy = batch.mels.clone()
    noisy[:, :, 7:] += 1.0
    output = AttentionOutput(noisy, output.mels_postnet, output.gates, output.alignments)
    losses = [
        tacotron2_losses(output, batch, KNOBS, tiny_hparams(n_frames_per_step=1, leaky_padding=leaky)).parts["mel_loss"]
        for leaky in (False, True)
    ]
    assert losses[0] == 0
    torch.testing.assert_close(losses[1], torch.tensor(4 / 11))


def test_the_loss_by_utterance_is_the_mean_square_of_valid_frames_before_the_postnet() -> None:
    mels = torch.zeros(2, 3, 6)
    before = torch.full_like(mels, 2.0)
    before[1] = 3.0
    before[1, :, 4:] = math.nan
    output = AttentionOutput(before, torch.full_like(mels, 100.0), torch.zeros(2, 6), torch.zeros(2, 6, 2))
    batch = Batch(("a", "b"), torch.ones(2, 2, dtype=torch.int64), torch.tensor([2, 2]), mels, torch.tensor([6, 4]))
    torch.testing.assert_close(mel_loss_by_utterance(output, batch), torch.tensor([4.0, 9.0]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("row", [0, 2])
def test_only_the_broken_recording_has_a_non_finite_loss_by_utterance(value: float, row: int) -> None:
    hparams = tiny_hparams()
    batch = next(iter(tiny_data(hparams).train.epoch(0)))
    batch.mels[row, 0, 1] = value
    model = tiny_model(hparams).train()
    output = model(batch)
    losses = model.losses(output, batch, KNOBS)
    assert output.mels_postnet.isfinite().flatten(1).all(1).sum() == 0
    assert not losses.total.isfinite()
    assert losses.by_utterance.isfinite().tolist() == [k != row for k in range(len(batch.ids))]
    assert not losses.by_utterance.requires_grad


def test_the_loss_by_utterance_ignores_the_padding() -> None:
    hparams = tiny_hparams()
    batch = next(iter(tiny_data(hparams).train.epoch(0)))
    output = tiny_model(hparams).eval()(batch)
    before = mel_loss_by_utterance(output, batch)
    shortest = int(batch.mel_lengths.argmin())
    assert batch.mel_lengths[shortest] < batch.mels.size(2)
    batch.mels[shortest, :, batch.mel_lengths[shortest] :] = 1e6
    assert torch.equal(mel_loss_by_utterance(output, batch), before)
