from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from corpus.batches import Batch, collate
from models.interface import AttentionOutput
from models.layers import length_mask
from models.tacotron2.model import ENDED_GATE_LOGIT, Tacotron2, TacotronFreeRunningOutput
from tests.support.tiny import NO_DROPOUT, SYMBOLS, tiny_examples, tiny_hparams, tiny_mel, tiny_model

KNOBS = {"guide_weight": 2.0, "guide_sigma": 0.3, "gate_positive_weight": 4.0}
FRAMES = [7, 4, 11]  # only the 4 is a multiple of a reduction factor (2)
every_r = pytest.mark.parametrize("r", [1, 3])


def model_with_large_weights(**changes: Any) -> Tacotron2:
    """Large weights make outputs differ clearly, float64 makes rounding negligible; there is no dropout."""
    model = Tacotron2(tiny_hparams(**NO_DROPOUT, **changes), len(SYMBOLS)).double().eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model


def batch_of(frames: list[int]) -> Batch:
    examples = tiny_examples(FRAMES)
    chosen = [e for e in examples if e.n_frames in frames]
    batch = collate(chosen, [tiny_mel(e.utterance) for e in chosen])
    return replace(batch, mels=batch.mels.double())


def single_item(batch: Batch, i: int) -> Batch:
    n, t = int(batch.text_lengths[i]), int(batch.mel_lengths[i])
    rows = slice(i, i + 1)
    return Batch(
        batch.ids[rows],
        batch.text[rows, :n],
        batch.text_lengths[rows],
        batch.mels[rows, :, :t],
        batch.mel_lengths[rows],
    )


def with_filled_padding(batch: Batch) -> Batch:
    text = batch.text.masked_fill(~length_mask(batch.text_lengths, batch.text.size(1)), 5)
    is_padding = ~length_mask(batch.mel_lengths, batch.mels.size(2)).unsqueeze(1)
    return Batch(batch.ids, text, batch.text_lengths, batch.mels.masked_fill(is_padding, 9.0), batch.mel_lengths)


def valid_outputs(output: AttentionOutput, batch: Batch, i: int, r: int) -> list[Tensor]:
    """An item's outputs within its lengths."""
    n, t = int(batch.text_lengths[i]), int(batch.mel_lengths[i])
    s = -(-t // r)
    return [output.mels[i, :, :t], output.mels_postnet[i, :, :t], output.gates[i, :s], output.alignments[i, :s, :n]]


def valid_decoded(decoded: TacotronFreeRunningOutput, i: int, n: int) -> list[Tensor]:
    t, s = int(decoded.mel_lengths[i]), int(decoded.steps[i])
    return [decoded.mels[i, :, :t], decoded.gates[i, :s], decoded.alignments[i, :s, :n], decoded.stopped[i]]


def largest_difference(model: Tacotron2, r: int) -> float:
    """Largest difference between items of a padded batch and the same items alone, teacher-forced."""
    batch = batch_of(FRAMES)
    output = model(batch)
    pairs = [
        (a, b)
        for i in range(len(FRAMES))
        for a, b in zip(
            valid_outputs(output, batch, i, r),
            valid_outputs(model(single_item(batch, i)), single_item(batch, i), 0, r),
            strict=True,
        )
    ]
    return max(float((a - b).abs().max().detach()) for a, b in pairs)


@every_r
def test_padding_does_not_influence_teacher_forced_outputs(r: int) -> None:
    assert largest_difference(model_with_large_weights(n_frames_per_step=r), r) < 1e-9


@every_r
def test_padding_influences_outputs_with_leaky_padding(r: int) -> None:
    assert largest_difference(model_with_large_weights(n_frames_per_step=r, leaky_padding=True), r) > 1e-2


@every_r
@pytest.mark.parametrize("training", [False, True])
def test_values_in_the_padding_change_no_output_and_no_loss(r: int, training: bool) -> None:
    model = model_with_large_weights(n_frames_per_step=r).train(training)
    zeros = batch_of(FRAMES)
    noise = with_filled_padding(zeros)
    a, b = model(zeros), model(noise)
    for i in range(len(FRAMES)):
        for x, y in zip(valid_outputs(a, zeros, i, r), valid_outputs(b, noise, i, r), strict=True):
            torch.testing.assert_close(x, y)
    torch.testing.assert_close(model.losses(a, zeros, KNOBS).parts, model.losses(b, noise, KNOBS).parts)


@every_r
@pytest.mark.parametrize("mask_padding", [True, False])
def test_the_loss_of_a_batch_is_the_weighted_mean_of_its_items_losses(r: int, mask_padding: bool) -> None:
    model = model_with_large_weights(n_frames_per_step=r, mask_padding=mask_padding)
    batch = batch_of(FRAMES)
    batch_parts = model.losses(model(batch), batch, KNOBS).parts
    singles = [single_item(batch, i) for i in range(len(FRAMES))]
    parts = [model.losses(model(single), single, KNOBS).parts for single in singles]
    frames = batch.mel_lengths.double()
    steps = torch.ceil(frames / r)
    for name, weight in {"mel_loss": frames, "gate_loss": steps, "guide_loss": steps}.items():
        expected = sum(w * p[name] for w, p in zip(weight, parts, strict=True)) / weight.sum()
        torch.testing.assert_close(batch_parts[name], expected)


@every_r
def test_batched_synthesis_equals_synthesis_of_single_items(r: int) -> None:
    batch = batch_of(FRAMES)
    free = model_with_large_weights(n_frames_per_step=r, gate_threshold=1.0).synthesize(batch.text, batch.text_lengths)
    threshold, steps = threshold_with_different_ends(torch.sigmoid(free.gates))
    model = model_with_large_weights(n_frames_per_step=r, gate_threshold=threshold)
    decoded = model.synthesize(batch.text, batch.text_lengths)
    assert decoded.steps.tolist() == steps
    assert decoded.mel_lengths.tolist() == [s * r for s in steps]
    assert decoded.stopped.all()
    assert decoded.gates.size(1) == max(steps)
    for i, n in enumerate(batch.text_lengths.tolist()):
        single = model.synthesize(batch.text[i : i + 1, :n], batch.text_lengths[i : i + 1])
        assert single.mels.size(2) == steps[i] * r
        for x, y in zip(valid_decoded(decoded, i, n), valid_decoded(single, 0, n), strict=True):
            torch.testing.assert_close(x, y)


def threshold_with_different_ends(gates: Tensor) -> tuple[float, list[int]]:
    """A gate threshold that all items [B, S] reach, not all at the same step, and the number of steps of each."""
    for threshold in gates.flatten().sort().values.tolist():
        is_open = gates > threshold + 1e-4
        steps = [int(row.nonzero()[0]) + 1 if row.any() else 0 for row in is_open]
        if min(steps) > 0 and len(set(steps)) > 1:
            return threshold + 1e-4, steps
    raise AssertionError("no threshold gives items of different lengths")


@pytest.mark.parametrize(("max_steps", "steps"), [(None, 5), (3, 3), (50, 5)])
def test_synthesis_never_takes_more_steps_than_allowed(max_steps: int | None, steps: int) -> None:
    batch = batch_of(FRAMES)
    model = model_with_large_weights(n_frames_per_step=2, gate_threshold=1.0, max_decoder_steps=5)
    decoded = model.synthesize(batch.text, batch.text_lengths, max_steps)
    assert decoded.steps.tolist() == [steps] * 3 and decoded.mels.shape[2] == 2 * steps
    assert not decoded.stopped.any()


def test_a_gate_that_opens_at_the_last_allowed_step_counts_as_stopped() -> None:
    batch = batch_of(FRAMES)
    model = model_with_large_weights(max_decoder_steps=1, gate_threshold=1e-9)
    assert model.synthesize(batch.text, batch.text_lengths).stopped.all()


def test_prenet_dropout_stays_on_in_synthesis() -> None:
    batch = batch_of(FRAMES)
    model = tiny_model(tiny_hparams(gate_threshold=1.0)).double().eval()
    a, b = (model.synthesize(batch.text, batch.text_lengths).mels for _ in range(2))
    assert not torch.equal(a, b)


@every_r
def test_attention_rows_sum_to_one_and_are_zero_on_padding(r: int) -> None:
    batch = batch_of(FRAMES)
    model = model_with_large_weights(n_frames_per_step=r)
    decoded = model.synthesize(batch.text, batch.text_lengths)
    for alignments in (model(batch).alignments, decoded.alignments):
        torch.testing.assert_close(alignments.sum(2), torch.ones_like(alignments[:, :, 0]))
        padding = ~length_mask(batch.text_lengths, batch.text.size(1))
        assert (alignments.transpose(1, 2)[padding] == 0).all()


def test_the_padding_of_mels_is_zero_and_of_gates_closed() -> None:
    batch = batch_of(FRAMES)
    output = model_with_large_weights(n_frames_per_step=3)(batch)
    is_padding = ~length_mask(batch.mel_lengths, batch.mels.size(2))
    assert is_padding.any()
    for mels in (output.mels, output.mels_postnet):
        assert (mels.transpose(1, 2)[is_padding] == 0).all()
    steps = torch.ceil(batch.mel_lengths / 3)
    assert (output.gates == ENDED_GATE_LOGIT).equal(~length_mask(steps, output.gates.size(1)))


def test_every_weight_has_a_gradient() -> None:
    batch = batch_of(FRAMES)
    model = model_with_large_weights().train()
    model.losses(model(batch), batch, KNOBS).total.backward()
    without_gradient = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without_gradient == set()


def test_teacher_forcing_with_decoded_mels_repeats_the_free_running_pass() -> None:
    batch = single_item(batch_of(FRAMES), 0)
    model = model_with_large_weights(n_frames_per_step=2, gate_threshold=1.0)
    decoded = model.synthesize(batch.text, batch.text_lengths)
    decoded_batch = Batch(batch.ids, batch.text, batch.text_lengths, decoded.mels_before_postnet, decoded.mel_lengths)
    forced = model(decoded_batch)
    torch.testing.assert_close(forced.mels.detach(), decoded.mels_before_postnet)
    torch.testing.assert_close(forced.gates.detach(), decoded.gates)
