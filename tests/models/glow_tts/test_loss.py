"""Loss of GlowTTS; the total is a logarithm, the error of each utterance a positive number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from corpus.batches import Batch
from models.glow_tts.loss import FlowOutput, glow_tts_losses

N_MEL, FRAMES, SYMBOLS = 4, 10, 3


def batch_of(n_items: int) -> Batch:
    lengths = torch.full((n_items,), SYMBOLS), torch.full((n_items,), FRAMES)
    text, mels = torch.ones(n_items, SYMBOLS, dtype=torch.long), torch.zeros(n_items, N_MEL, FRAMES)
    return Batch(tuple(map(str, range(n_items))), text, lengths[0], mels, lengths[1])


def output_of(nlls: list[float]) -> FlowOutput:
    """Perfect latents and durations; log-determinants set the negative log-likelihood of each item."""
    n_items = len(nlls)
    zeros = torch.zeros(n_items, N_MEL, FRAMES)
    logdet = N_MEL * FRAMES * (0.5 * math.log(2 * math.pi) - torch.tensor(nlls))
    durations = torch.full((n_items, SYMBOLS), 4.0)
    return FlowOutput(
        latents=zeros,
        means=zeros,
        log_scales=zeros,
        logdet=logdet,
        log_likelihood=torch.zeros(n_items, FRAMES, SYMBOLS),
        symbol_of_frame=torch.zeros(n_items, FRAMES, dtype=torch.long),
        durations=durations,
        log_durations=torch.log1p(durations),
    )


def perplexities(nlls: list[float]) -> list[float]:
    losses = glow_tts_losses(output_of(nlls), batch_of(len(nlls)), 1.0)
    assert float(losses.total) == pytest.approx(sum(nlls) / len(nlls), rel=1e-5, nan_ok=True)
    result: list[float] = losses.by_utterance.tolist()
    return result


def test_the_error_of_an_utterance_is_its_perplexity() -> None:
    assert perplexities([-1.0, 0.0, 2.0]) == [pytest.approx(math.exp(value), rel=1e-4) for value in (-1.0, 0.0, 2.0)]


def test_one_bad_utterance_stands_out_unless_all_are_bad() -> None:
    first, second, third = perplexities([1e3, 1e6, 1e9])
    assert first == second == third
    good, other, broken = perplexities([0.0, 0.1, 1e6])
    assert broken / good > 1e6 and other / good == pytest.approx(math.exp(0.1), rel=1e-4)


def test_non_finite_errors_stay_non_finite() -> None:
    good, nan, inf = perplexities([0.0, math.nan, math.inf])
    assert math.isfinite(good) and math.isnan(nan) and math.isinf(inf)


def test_the_duration_loss_is_multiplied_by_its_weight() -> None:
    output = output_of([0.0])
    wrong = replace(output, log_durations=output.log_durations + 0.5)
    for weight in (0.0, 1.0, 3.0):
        losses = glow_tts_losses(wrong, batch_of(1), weight)
        assert float(losses.parts["duration_loss"]) == pytest.approx(0.25)
        assert float(losses.total) == pytest.approx(0.25 * weight, abs=1e-5)
