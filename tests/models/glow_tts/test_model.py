"""What the golden files cannot show: how GlowTTS learns, and speaks when it is broken."""

from __future__ import annotations

import math

import pytest
import torch

from corpus.batches import Batch, alignment_problem, collate
from models.glow_tts.model import GlowTTS
from tests.tiny import GLOW, SYMBOLS, tiny_examples, tiny_hparams, tiny_mel

KNOBS = {"duration_loss_weight": 1.0}


def glow(**changes: object) -> GlowTTS:
    torch.manual_seed(0)
    return GlowTTS(tiny_hparams(**{**GLOW, **changes}), len(SYMBOLS))


def set_durations(model: GlowTTS, log_duration: float) -> None:
    """About as long for every symbol."""
    bias = model.encoder.duration_predictor.proj.bias
    assert bias is not None
    torch.nn.init.constant_(bias, log_duration)


def batch_of(n_frames: list[int]) -> Batch:
    examples = tiny_examples(n_frames)
    return collate(examples, [tiny_mel(e.utterance) for e in examples])


def test_every_weight_learns() -> None:
    """Once it has begun: what starts as no change at all gives nothing before it any gradient at the first step."""
    model, batch = glow(mean_only=False), batch_of([9, 12, 7])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model.losses(model(batch), batch, KNOBS).total.backward()
        optimizer.step()
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name for name in silent if not name.endswith("conv_k.bias")} == set()  # the softmax does not feel it


def test_durations_teach_nothing_but_the_duration_predictor() -> None:
    model, batch = glow(), batch_of([9, 12, 7])
    model.losses(model(batch), batch, KNOBS).parts["duration_loss"].backward()
    taught = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught and all(name.startswith("encoder.duration_predictor.") for name in taught)


def test_losses_are_means_over_all_that_is_real() -> None:
    model, batch = glow().eval(), batch_of([8, 12, 6])
    together = model.losses(model(batch), batch, KNOBS)
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
        torch.testing.assert_close(together.parts[name], expected)


def test_a_recording_is_spoken_with_its_own_durations_by_force() -> None:
    model, batch = glow(), batch_of([9, 12, 7])
    output = model(batch)
    forced = model.teacher_forced_output(output, batch)
    assert forced.mel_lengths.tolist() == forced.steps.tolist() == [12, 8, 6]  # whole squeezes, longest text first
    assert forced.gates is None and forced.mels.shape == (3, 6, 12)
    sums = forced.alignments.sum(2)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    for i, n in enumerate(batch.text_lengths.tolist()):
        assert float(forced.alignments[i, :, n:].detach().abs().sum()) == 0


def test_speech_that_never_ends_is_cut_and_said_to_be() -> None:
    model = glow(max_decoder_steps=10).eval()
    set_durations(model, 3.0)  # e^3 - 1 frames a symbol
    text, lengths = torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1])
    decoded = model.synthesize(text, lengths)
    assert decoded.mel_lengths.tolist() == [10, 10] and decoded.stopped.tolist() == [False, False]
    assert decoded.alignments.shape == (2, 10, 3)
    assert model.synthesize(text, lengths, max_steps=4).mel_lengths.tolist() == [4, 4]


@pytest.mark.parametrize("bias", [math.nan, math.inf, -100.0])
def test_broken_durations_give_each_symbol_a_frame_or_all_there_is(bias: float) -> None:
    model = glow().eval()
    set_durations(model, bias)
    decoded = model.synthesize(torch.tensor([[1, 2, 3, 4]]), torch.tensor([4]))
    assert decoded.mel_lengths.tolist() == ([40] if bias == math.inf else [4])


def test_folded_it_says_the_same() -> None:
    model = GlowTTS(tiny_hparams(**GLOW), 12).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    text, lengths = torch.tensor([[1, 2, 3, 4]]), torch.tensor([4])
    said = []
    for _ in range(2):
        torch.manual_seed(0)
        said.append(model.synthesize(text, lengths).mels)
        model.fold()
    assert not any("parametrizations" in name for name in model.state_dict())
    torch.testing.assert_close(said[0], said[1])


def test_it_speaks_slower_with_a_greater_length_scale() -> None:
    text, lengths = torch.tensor([[1, 2, 3, 4]]), torch.tensor([4])
    durations = []
    for scale in (1.0, 2.0):
        model = glow(length_scale=scale).eval()
        set_durations(model, 1.5)
        durations.append(int(model.synthesize(text, lengths).durations.sum()))
    assert durations[0] < durations[1] <= 2 * durations[0]


def test_a_single_short_utterance_can_be_learnt_from() -> None:
    model, batch = glow(), batch_of([4])
    losses = model.losses(model(batch), batch, KNOBS)
    losses.total.backward()
    assert math.isfinite(float(losses.total.detach()))


@pytest.mark.parametrize(("n_symbols", "frames"), [(1, 2), (2, 2), (3, 4), (7, 8)])
def test_a_flow_needs_a_frame_for_each_symbol_in_whole_squeezes(n_symbols: int, frames: int) -> None:
    assert alignment_problem(n_symbols, frames, tiny_hparams(**GLOW)) is None
    assert alignment_problem(n_symbols, frames - 1, tiny_hparams(**GLOW)) is not None
    assert alignment_problem(n_symbols, frames - 1, tiny_hparams()) is None


def test_a_single_short_symbol_fills_a_squeeze() -> None:
    model = glow().eval()
    set_durations(model, 0.0)
    decoded = model.synthesize(torch.tensor([[1, 0], [1, 2]]), torch.tensor([1, 2]), max_steps=1)
    assert decoded.mel_lengths.tolist() == [2, 2] and decoded.stopped.tolist() == [True, False]
    assert model.synthesize(torch.tensor([[1]]), torch.tensor([1])).mels.shape == (1, 6, 2)


def test_half_precision_keeps_the_flow_invertible() -> None:
    model = glow(num_flow_blocks_dec=6)
    batch = batch_of([8, 12, 6])
    model(batch)
    with torch.no_grad():
        for block in model.decoder.blocks():
            block[2].end.weight.normal_(0, 0.1)
    mask = torch.ones(3, 1, 12)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = model.eval().decoder.blocks()[0][1]
        latents, _ = plain(torch.randn(3, 12, 6), mask[:, :, ::2])
        assert latents.dtype == torch.float32
        mels = batch.mels[:, :, :12]
        there, _ = model.decoder(mels, mask, None)
        assert float((model.decoder.inverse(there, mask, None) - mels).abs().max()) < 1e-2


def test_the_diagonal_is_preferred_while_it_learns_and_all_symbols_are_as_likely() -> None:
    model, batch = glow(alignment_prior=30.0), batch_of([24])
    torch.nn.init.zeros_(model.encoder.proj_m.weight)
    assert model.encoder.proj_m.bias is not None
    torch.nn.init.zeros_(model.encoder.proj_m.bias)
    spans = model.train()(batch).durations[0, : int(batch.text_lengths[0])]
    assert float(spans.max() - spans.min()) <= 1
    assert float(spans.sum()) == 24
    evaluated = model.eval()(batch).durations[0, : int(batch.text_lengths[0])]
    assert float(evaluated.max()) > 2 * float(evaluated.min())
    published = glow(alignment_prior=0.0)
    published.load_state_dict(model.state_dict())
    assert torch.equal(published.train()(batch).durations[0, : len(evaluated)], evaluated)
