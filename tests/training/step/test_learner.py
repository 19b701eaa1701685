"""Updates of the weights, from one or several chunks of data."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from corpus.batches import Batch
from hparams import HParams
from models.glow_tts.model import GlowTTS
from models.layers import ConvNorm, MaskedBatchNorm
from tests.models.glow_tts.test_model import batch_of
from tests.support.tiny import GLOW, NO_DROPOUT, SYMBOLS, tacotron, tiny_data, tiny_hparams, tiny_model, tiny_trainer
from training.step.learner import Learner, UpdateResult
from training.step.micro_batches import split_batch

KNOBS = {"guide_weight": 1.0, "guide_sigma": 0.4, "gate_positive_weight": 2.0, "duration_loss_weight": 1.0}
CPU = torch.device("cpu")


class NoNorm(MaskedBatchNorm):
    """Batch norm layer that applies its weights but does not normalize."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x * self.weight + self.bias


def without_norms(learner: Learner) -> Learner:
    """The learner without batch norm, so that the utterances of a batch do not influence each other."""
    for layer in (*tacotron(learner).encoder.convolutions, *tacotron(learner).postnet.convolutions):
        assert isinstance(layer, ConvNorm)
        plain = NoNorm(layer.norm.num_features)
        plain.load_state_dict(layer.norm.state_dict())
        layer[1] = plain
    learner.optimizer = torch.optim.Adam(learner.model.parameters(), lr=1e-2)
    return learner


def build_learner(hparams: HParams) -> Learner:
    return Learner(tiny_model(hparams), hparams, CPU)


def first_batches(hparams: HParams, n: int = 1) -> list[Batch]:
    return list(islice(tiny_data(hparams).train.epoch(0), n))


def update(learner: Learner, chunks: list[Batch], **changes: Any) -> UpdateResult:
    return learner.update(chunks, KNOBS, **{"clip_norm": 1e9, "measure": False} | changes)


def gradient(learner: Learner) -> Tensor:
    return torch.cat([p.grad.flatten() for p in learner.model.parameters() if p.grad is not None])


PLAIN: dict[str, Any] = {**NO_DROPOUT, "batch_size": 8, "n_frames_per_step": 1, "precision": "float32"}


@pytest.mark.parametrize("n_parts", [2, 3, 8])
def test_gradient_of_the_parts_equals_that_of_the_whole_batch(n_parts: int) -> None:
    hparams = tiny_hparams(**PLAIN)
    (batch,) = first_batches(hparams)
    whole, parts = without_norms(build_learner(hparams)), without_norms(build_learner(hparams))
    expected, result = update(whole, [batch]), update(parts, split_batch(batch, n_parts))
    torch.testing.assert_close(gradient(parts), gradient(whole), rtol=1e-3, atol=1e-5)
    assert result.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-4)
    for name in ("mel_loss", "gate_loss", "guide_loss", "total_loss"):
        assert result.losses[name] == pytest.approx(expected.losses[name], rel=1e-4)
    assert result.utterance_losses == pytest.approx(expected.utterance_losses, rel=1e-4)


def test_parts_are_weighted_by_their_frames() -> None:
    hparams = tiny_hparams(**PLAIN | {"batch_size": 3})
    batches = first_batches(hparams, 2)
    separate = [update(without_norms(build_learner(hparams)), [batch]) for batch in batches]
    both = update(without_norms(build_learner(hparams)), batches)
    frames = [int(batch.mel_lengths.sum()) for batch in batches]
    assert frames[0] != frames[1]
    expected = sum(n * result.losses["mel_loss"] for n, result in zip(frames, separate, strict=True)) / sum(frames)
    assert both.losses["mel_loss"] == pytest.approx(expected, rel=1e-5)
    assert both.utterance_losses == pytest.approx(separate[0].utterance_losses + separate[1].utterance_losses, rel=1e-5)


def test_each_chunk_is_moved_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hparams, moved, move = tiny_hparams(), [], Batch.to

    def record(batch: Batch, device: torch.device) -> Batch:
        moved.append(batch.ids)
        return move(batch, device)

    monkeypatch.setattr(Batch, "to", record)
    chunks = split_batch(first_batches(hparams)[0], 2)

    update(build_learner(hparams), chunks)

    assert moved == [chunk.ids for chunk in chunks]


def test_loss_of_a_single_chunk_is_not_scaled() -> None:
    """The gradient is bit for bit that of the unscaled loss."""
    hparams = tiny_hparams(**NO_DROPOUT)
    (batch,) = first_batches(hparams)
    learner, reference = build_learner(hparams), tiny_model(hparams)
    update(learner, [batch])
    reference.train().losses(reference(batch), batch, KNOBS).total.backward()
    expected = torch.cat([p.grad.flatten() for p in reference.parameters() if p.grad is not None])
    assert torch.equal(gradient(learner), expected)


@pytest.mark.parametrize("broken", [0, 1])
def test_non_finite_chunk_cancels_the_update_without_a_trace(broken: int) -> None:
    hparams = tiny_hparams(**NO_DROPOUT)
    chunks = first_batches(hparams, 2)
    chunks[broken] = replace(chunks[broken], mels=torch.full_like(chunks[broken].mels, math.nan))
    learner = build_learner(hparams)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    result = update(learner, chunks)
    assert (result.gradient_norm, result.update_ratio) == (None, None)
    torch.testing.assert_close(learner.model.state_dict(), before, rtol=0, atol=0)
    assert learner.optimizer.state_dict()["state"] == {}
    n_ids = [len(chunk.ids) for chunk in chunks]
    finite = [math.isfinite(loss) for loss in result.utterance_losses]
    assert finite == [broken != 0] * n_ids[0] + [broken != 1] * n_ids[1]


@pytest.mark.parametrize("n_chunks", [1, 2])
def test_bfloat16_updates_the_weights(n_chunks: int) -> None:
    hparams = tiny_hparams(precision="bfloat16", batch_size=8)
    learner, (batch,) = build_learner(hparams), first_batches(hparams)
    before = tacotron(learner).embedding.weight.detach().clone()
    result = update(learner, split_batch(batch, n_chunks), measure=True)
    assert result.gradient_norm is not None and math.isfinite(result.gradient_norm)
    assert result.update_ratio is not None and result.update_ratio > 0
    assert all(math.isfinite(loss) for loss in result.utterance_losses) and len(result.utterance_losses) == 8
    assert not torch.equal(tacotron(learner).embedding.weight, before)


def test_step_report_names_the_utterance_with_a_non_finite_loss(tmp_path: Path) -> None:
    """Also when a step consists of two batches, each computed in parts."""
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    trainer.state.turn_knobs({"micro_batches": 2.0})
    first, second = islice(trainer.state.data.train.epoch(0), 2)
    mels = second.mels.clone()
    mels[1, 2, 3] = math.nan
    report = trainer.train_step(first, replace(second, mels=mels))
    broken = [
        id_ for id_, loss in zip(report.utterance_ids, report.utterance_losses, strict=True) if not math.isfinite(loss)
    ]
    assert broken == [second.ids[1]] and report.total_loss is None


def test_an_update_invalidates_values_cached_from_the_weights() -> None:
    """A fused optimizer does not increase the version of the weights, by which caches notice a change."""
    hparams = tiny_hparams(**GLOW)
    learner = Learner(GlowTTS(hparams, len(SYMBOLS)), hparams, CPU)
    for _ in range(8):
        before = [parameter._version for parameter in learner.model.parameters()]
        learner.update([batch_of([9, 14])], KNOBS, clip_norm=1.0, measure=False)
    assert all(p._version > version for p, version in zip(learner.model.parameters(), before, strict=True))


def test_frozen_duration_predictor_is_not_decayed() -> None:
    hparams = tiny_hparams(**GLOW, weight_decay=0.1)
    learner = Learner(GlowTTS(hparams, len(SYMBOLS)), hparams, CPU)
    assert isinstance(learner.model, GlowTTS)
    predictor = learner.model.encoder.duration_predictor
    before = [parameter.detach().clone() for parameter in predictor.parameters()]
    frozen = KNOBS | {"duration_loss_weight": 0.0}
    result = learner.update([batch_of([9, 14])], frozen, clip_norm=1.0, measure=True)
    assert "gradient_norm_durations" not in result.measures and result.losses["duration_loss"] > 0
    assert all(torch.equal(p, b) for p, b in zip(predictor.parameters(), before, strict=True))
