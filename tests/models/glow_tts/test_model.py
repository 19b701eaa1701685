"""Training of GlowTTS, and its synthesis with broken or extreme durations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from corpus.batches import Batch, alignment_problem, collate
from models.glow_tts.model import GlowTTS
from tests.support.tiny import GLOW, SYMBOLS, tiny_data, tiny_examples, tiny_hparams, tiny_mel, tiny_model

KNOBS = {"duration_loss_weight": 1.0}


def glow_model(**changes: object) -> GlowTTS:
    torch.manual_seed(0)
    return GlowTTS(tiny_hparams(**{**GLOW, **changes}), len(SYMBOLS))


def set_durations(model: GlowTTS, log_duration: float) -> None:
    """Predict about this duration for every symbol."""
    bias = model.encoder.duration_predictor.proj.bias
    assert bias is not None
    torch.nn.init.constant_(bias, log_duration)


def batch_of(n_frames: list[int]) -> Batch:
    examples = tiny_examples(n_frames)
    return collate(examples, [tiny_mel(e.utterance) for e in examples])


def test_every_weight_has_a_gradient() -> None:
    """After some steps: at the first one, layers that start as the identity block the gradient of those before them."""
    model, batch = glow_model(mean_only=False), batch_of([9, 12, 7])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model.losses(model(batch), batch, KNOBS).total.backward()
        optimizer.step()
    without_gradient = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # The softmax does not depend on the bias of the keys.
    assert {name for name in without_gradient if not name.endswith("conv_k.bias")} == set()


def test_the_duration_loss_trains_the_duration_predictor_only() -> None:
    model, batch = glow_model(), batch_of([9, 12, 7])
    model.losses(model(batch), batch, KNOBS).parts["duration_loss"].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained and all(name.startswith("encoder.duration_predictor.") for name in trained)


def test_losses_are_means_over_valid_frames_and_symbols() -> None:
    model, batch = glow_model().eval(), batch_of([8, 12, 6])
    batched = model.losses(model(batch), batch, KNOBS)
    singles = [
        Batch(
            batch.ids[i : i + 1],
            batch.text[i : i + 1, : int(batch.text_lengths[i])],
            batch.text_lengths[i : i + 1],
            batch.mels[i : i + 1, :, : int(batch.mel_lengths[i])],
            batch.mel_lengths[i : i + 1],
        )
        for i in range(3)
    ]
    parts = [model.losses(model(single), single, KNOBS).parts for single in singles]
    for name, weights in (("nll_loss", batch.mel_lengths), ("duration_loss", batch.text_lengths)):
        expected = sum(w * p[name] for w, p in zip(weights, parts, strict=True)) / weights.sum()
        torch.testing.assert_close(batched.parts[name], expected)


def test_the_teacher_forced_output_has_the_durations_of_the_recordings() -> None:
    model, batch = glow_model(), batch_of([9, 12, 7])
    output = model(batch)
    forced = model.teacher_forced_output(output, batch)
    assert forced.mel_lengths.tolist() == forced.steps.tolist() == [12, 8, 6]  # whole squeezes, longest text first
    assert forced.gates is None and forced.mels.shape == (3, 6, 12)
    sums = forced.alignments.sum(2)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    for i, n in enumerate(batch.text_lengths.tolist()):
        assert float(forced.alignments[i, :, n:].detach().abs().sum()) == 0


def test_too_long_speech_is_cut_and_reported_as_not_stopped() -> None:
    model = glow_model(max_decoder_steps=10).eval()
    set_durations(model, 3.0)  # e^3 - 1 frames a symbol
    text, lengths = torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1])
    decoded = model.synthesize(text, lengths)
    assert decoded.mel_lengths.tolist() == [10, 10] and decoded.stopped.tolist() == [False, False]
    assert decoded.alignments.shape == (2, 10, 3)
    assert model.synthesize(text, lengths, max_steps=4).mel_lengths.tolist() == [4, 4]


@pytest.mark.parametrize("bias", [math.nan, math.inf, -100.0])
def test_broken_durations_give_each_symbol_one_frame_or_the_maximum(bias: float) -> None:
    model = glow_model().eval()
    set_durations(model, bias)
    decoded = model.synthesize(torch.tensor([[1, 2, 3, 4]]), torch.tensor([4]))
    assert decoded.mel_lengths.tolist() == ([40] if bias == math.inf else [4])


def test_folding_does_not_change_the_output() -> None:
    model = GlowTTS(tiny_hparams(**GLOW), 12).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    text, lengths = torch.tensor([[1, 2, 3, 4]]), torch.tensor([4])
    mels = []
    for _ in range(2):
        torch.manual_seed(0)
        mels.append(model.synthesize(text, lengths).mels)
        model.fold()
    assert not any("parametrizations" in name for name in model.state_dict())
    torch.testing.assert_close(mels[0], mels[1])


def test_a_greater_length_scale_gives_longer_durations() -> None:
    text, lengths = torch.tensor([[1, 2, 3, 4]]), torch.tensor([4])
    durations = []
    for scale in (1.0, 2.0):
        model = glow_model(length_scale=scale).eval()
        set_durations(model, 1.5)
        durations.append(int(model.synthesize(text, lengths).durations.sum()))
    assert durations[0] < durations[1] <= 2 * durations[0]


def test_the_loss_of_a_single_short_utterance_is_finite() -> None:
    model, batch = glow_model(), batch_of([4])
    losses = model.losses(model(batch), batch, KNOBS)
    losses.total.backward()
    assert math.isfinite(float(losses.total.detach()))


@pytest.mark.parametrize(("n_symbols", "frames"), [(1, 2), (2, 2), (3, 4), (7, 8)])
def test_a_flow_needs_a_frame_for_each_symbol_within_whole_squeezes(n_symbols: int, frames: int) -> None:
    assert alignment_problem(n_symbols, frames, tiny_hparams(**GLOW)) is None
    assert alignment_problem(n_symbols, frames - 1, tiny_hparams(**GLOW)) is not None
    assert alignment_problem(n_symbols, frames - 1, tiny_hparams()) is None


def test_a_single_short_symbol_fills_a_squeeze() -> None:
    model = glow_model().eval()
    set_durations(model, 0.0)
    decoded = model.synthesize(torch.tensor([[1, 0], [1, 2]]), torch.tensor([1, 2]), max_steps=1)
    assert decoded.mel_lengths.tolist() == [2, 2] and decoded.stopped.tolist() == [True, False]
    assert model.synthesize(torch.tensor([[1]]), torch.tensor([1])).mels.shape == (1, 6, 2)


def test_half_precision_keeps_the_flow_invertible() -> None:
    model = glow_model(num_flow_blocks_dec=6)
    batch = batch_of([8, 12, 6])
    model(batch)
    with torch.no_grad():
        for block in model.decoder.blocks():
            block[2].end.weight.normal_(0, 0.1)
    mask = torch.ones(3, 1, 12)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        convolution = model.eval().decoder.blocks()[0][1]
        latents, _ = convolution(torch.randn(3, 12, 6), mask[:, :, ::2])
        assert latents.dtype == torch.float32
        mels = batch.mels[:, :, :12]
        latents, _ = model.decoder(mels, mask, None)
        assert float((model.decoder.inverse(latents, mask, None) - mels).abs().max()) < 1e-2


def test_the_alignment_prior_prefers_the_diagonal_in_training_only() -> None:
    model, batch = glow_model(alignment_prior=30.0), batch_of([24])
    torch.nn.init.zeros_(model.encoder.proj_m.weight)
    assert model.encoder.proj_m.bias is not None
    torch.nn.init.zeros_(model.encoder.proj_m.bias)
    durations = model.train()(batch).durations[0, : int(batch.text_lengths[0])]
    assert float(durations.max() - durations.min()) <= 1
    assert float(durations.sum()) == 24
    evaluated = model.eval()(batch).durations[0, : int(batch.text_lengths[0])]
    assert float(evaluated.max()) > 2 * float(evaluated.min())
    without_prior = glow_model(alignment_prior=0.0)
    without_prior.load_state_dict(model.state_dict())
    assert torch.equal(without_prior.train()(batch).durations[0, : len(evaluated)], evaluated)


def largest_gradient(mel_noise: float) -> float:
    """Largest norm of a short training on mels whose lower half is silent, that is at the floor."""
    model, batch = glow_model(mel_noise=mel_noise).train(), batch_of([24, 20, 16])
    mels = batch.mels.clone()
    mels[:, : mels.size(1) // 2] = -8.0
    optimizer, largest = torch.optim.Adam(model.parameters(), lr=5e-3), 0.0
    for _ in range(20):
        optimizer.zero_grad()
        model.losses(model(replace(batch, mels=mels)), batch, KNOBS).total.backward()
        largest = max(largest, float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        optimizer.step()
    return largest


def test_noise_bounds_the_likelihood_of_values_at_the_floor() -> None:
    """Seen on real speech, with 12 % of the values at the floor: gradients grew from 5 to 250, then came NaN."""
    assert largest_gradient(mel_noise=0.0) > 1e6
    assert largest_gradient(mel_noise=0.1) < 1e3


def test_noise_is_for_training_and_for_valid_frames_only() -> None:
    model, batch = glow_model(mel_noise=0.5), batch_of([24, 12])
    clean = glow_model(mel_noise=0.0)
    clean.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(batch).latents, clean.eval()(batch).latents)
    latents = model.train()(batch).latents
    assert not torch.equal(latents, clean.train()(batch).latents)
    assert not latents[1, :, 12:].any()


def test_a_guide_of_the_corpus_decides_while_all_symbols_are_equally_likely() -> None:
    hparams = tiny_hparams(**GLOW, alignment_prior=1e4, alignment_guide="corpus")
    batch = replace(tiny_data(hparams).train.load([4]), durations=None)
    n, frames = int(batch.text_lengths), int(batch.mel_lengths)
    durations = torch.ones(1, n, dtype=torch.int64)
    durations[0, 0] = frames - n + 1  # the first symbol takes nearly everything
    model = tiny_model(hparams).train()
    guided = model(replace(batch, durations=durations)).symbol_of_frame
    assert guided[0].tolist() == [0] * (frames - n + 1) + list(range(1, n))
    assert model(batch).symbol_of_frame[0].tolist() != guided[0].tolist()
    diagonal = tiny_model(tiny_hparams(**GLOW, alignment_prior=1e4)).train()
    assert diagonal(replace(batch, durations=durations)).symbol_of_frame[0].tolist() != guided[0].tolist()
