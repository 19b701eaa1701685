"""Measurements of a single pass."""

from __future__ import annotations

import torch

from tests.support.tiny import NO_DROPOUT, tiny_data, tiny_hparams, tiny_model
from training.step.probe import run_probe


def test_probe_measures_the_loss_and_the_gradient_of_a_pass() -> None:
    hparams = tiny_hparams(**NO_DROPOUT)
    model, batch = tiny_model(hparams).train(), tiny_data(hparams).train.load([0, 1])
    torch.manual_seed(1)
    first = run_probe(model, batch, hparams)
    torch.manual_seed(1)
    second = run_probe(model, batch, hparams)
    assert first.loss == second.loss > 0 and first.gradient_norm == second.gradient_norm > 0
    assert first.padded_frames == 2 * 12 and first.activation_bytes > 2 * 12 * 6 * 4 and first.seconds > 0
