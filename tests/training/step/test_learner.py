"""One update of the weights."""

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
from tests.tiny import GLOW, NO_DROPOUT, SYMBOLS, tacotron, tiny_data, tiny_hparams, tiny_model, tiny_trainer
from training.step.learner import Learner, UpdateResult
from training.step.micro_batches import is_out_of_memory, split_batch

KNOBS = {"guide_weight": 1.0, "guide_sigma": 0.4, "gate_positive_weight": 2.0, "duration_loss_weight": 1.0}
CPU = torch.device("cpu")


class NoNorm(MaskedBatchNorm):
    """Keeps the weights of a batch normalisation and normalises nothing."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x * self.weight + self.bias


def without_norms(learner: Learner) -> Learner:
    """Whose utterances do not see each other."""
    for layer in (*tacotron(learner).encoder.convolutions, *tacotron(learner).postnet.convolutions):
        assert isinstance(layer, ConvNorm)
        plain = NoNorm(layer.norm.num_features)
        plain.load_state_dict(layer.norm.state_dict())
        layer[1] = plain
    learner.optimizer = torch.optim.Adam(learner.model.parameters(), lr=1e-2)
    return learner


def learner_of(hparams: HParams) -> Learner:
    return Learner(tiny_model(hparams), hparams, CPU)


def batches_of(hparams: HParams, n: int = 1) -> list[Batch]:
    return list(islice(tiny_data(hparams).train.epoch(0), n))


def update(learner: Learner, chunks: list[Batch], **changes: Any) -> UpdateResult:
    return learner.update(chunks, KNOBS, **{"clip_norm": 1e9, "measure": False} | changes)


def gradient(learner: Learner) -> Tensor:
    return torch.cat([p.grad.flatten() for p in learner.model.parameters() if p.grad is not None])


PLAIN: dict[str, Any] = {**NO_DROPOUT, "batch_size": 8, "n_frames_per_step": 1, "precision": "float32"}


@pytest.mark.parametrize("n_parts", [2, 3, 8])
def test_the_gradient_of_the_parts_is_that_of_the_whole(n_parts: int) -> None:
    hparams = tiny_hparams(**PLAIN)
    (batch,) = batches_of(hparams)
    whole, parts = without_norms(learner_of(hparams)), without_norms(learner_of(hparams))
    one, several = update(whole, [batch]), update(parts, split_batch(batch, n_parts))
    torch.testing.assert_close(gradient(parts), gradient(whole), rtol=1e-3, atol=1e-5)
    assert several.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
    for name in ("mel_loss", "gate_loss", "guide_loss", "total_loss"):
        assert several.losses[name] == pytest.approx(one.losses[name], rel=1e-4)
    assert several.utterance_losses == pytest.approx(one.utterance_losses, rel=1e-4)


def test_a_part_weighs_as_much_as_it_has_frames() -> None:
    hparams = tiny_hparams(**PLAIN | {"batch_size": 3})
    batches = batches_of(hparams, 2)
    alone = [update(without_norms(learner_of(hparams)), [batch]) for batch in batches]
    both = update(without_norms(learner_of(hparams)), batches)
    frames = [int(batch.mel_lengths.sum()) for batch in batches]
    assert frames[0] != frames[1]
    expected = sum(n * one.losses["mel_loss"] for n, one in zip(frames, alone, strict=True)) / sum(frames)
    assert both.losses["mel_loss"] == pytest.approx(expected, rel=1e-5)
    assert both.utterance_losses == pytest.approx(alone[0].utterance_losses + alone[1].utterance_losses, rel=1e-5)


def test_one_whole_batch_is_not_scaled_at_all() -> None:
    """The same bits as a loss that knows of no parts."""
    hparams = tiny_hparams(**NO_DROPOUT)
    (batch,) = batches_of(hparams)
    learner, plain = learner_of(hparams), tiny_model(hparams)
    update(learner, [batch])
    plain.train().losses(plain(batch), batch, KNOBS).total.backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None])
    assert torch.equal(gradient(learner), expected)


@pytest.mark.parametrize("broken", [0, 1])
def test_one_part_that_is_not_finite_spoils_the_update_and_leaves_no_trace(broken: int) -> None:
    hparams = tiny_hparams(**NO_DROPOUT)
    chunks = batches_of(hparams, 2)
    chunks[broken] = replace(chunks[broken], mels=torch.full_like(chunks[broken].mels, math.nan))
    learner = learner_of(hparams)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    updated = update(learner, chunks)
    assert (updated.gradient_norm, updated.update_ratio) == (None, None)
    torch.testing.assert_close(learner.model.state_dict(), before, rtol=0, atol=0)
    assert learner.optimizer.state_dict()["state"] == {}
    n_ids = [len(chunk.ids) for chunk in chunks]
    finite = [math.isfinite(loss) for loss in updated.utterance_losses]
    assert finite == [broken != 0] * n_ids[0] + [broken != 1] * n_ids[1]


def test_a_batch_is_split_into_nearly_equal_parts_without_their_common_padding() -> None:
    hparams = tiny_hparams(batch_size=8)
    (batch,) = batches_of(hparams)
    parts = split_batch(batch, 3)
    assert [len(part.ids) for part in parts] == [3, 3, 2]
    assert tuple(id_ for part in parts for id_ in part.ids) == batch.ids
    rows = [(part, row) for part in parts for row in range(len(part.ids))]
    for i, (part, row) in enumerate(rows):
        n_tokens, n_frames = int(batch.text_lengths[i]), int(batch.mel_lengths[i])
        assert (int(part.text_lengths[row]), int(part.mel_lengths[row])) == (n_tokens, n_frames)
        assert torch.equal(part.text[row, :n_tokens], batch.text[i, :n_tokens])
        assert torch.equal(part.mels[row, :, :n_frames], batch.mels[i, :, :n_frames])
    for part in parts:
        assert (part.text.size(1), part.mels.size(2)) == (int(part.text_lengths.max()), int(part.mel_lengths.max()))
        assert part.number == batch.number


@pytest.mark.parametrize(("n_parts", "sizes"), [(1, [3]), (2, [2, 1]), (3, [1, 1, 1]), (64, [1, 1, 1])])
def test_no_part_is_empty(n_parts: int, sizes: list[int]) -> None:
    (batch,) = batches_of(tiny_hparams())
    assert [len(part.ids) for part in split_batch(batch, n_parts)] == sizes


@pytest.mark.parametrize("n_chunks", [1, 2])
def test_bfloat16_takes_a_step(n_chunks: int) -> None:
    hparams = tiny_hparams(precision="bfloat16", batch_size=8)
    learner, (batch,) = learner_of(hparams), batches_of(hparams)
    before = tacotron(learner).embedding.weight.detach().clone()
    updated = update(learner, split_batch(batch, n_chunks), measure=True)
    assert updated.gradient_norm is not None and math.isfinite(updated.gradient_norm)
    assert updated.update_ratio is not None and updated.update_ratio > 0
    assert all(math.isfinite(loss) for loss in updated.utterance_losses) and len(updated.utterance_losses) == 8
    assert not torch.equal(tacotron(learner).embedding.weight, before)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error: RuntimeError, is_it: bool) -> None:
    assert is_out_of_memory(error) == is_it


def test_a_cpu_that_lacks_memory_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**52)
    assert is_out_of_memory(caught.value)


def test_the_broken_utterance_of_a_batch_is_named_by_a_step(tmp_path: Path) -> None:
    """Also when the batch is computed in parts, of two batches."""
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


def test_what_is_kept_of_the_weights_does_not_outlast_a_step() -> None:
    """Fused optimizers change weights without saying so; inverses and transforms are kept until they change."""
    hparams = tiny_hparams(**GLOW)
    learner = Learner(GlowTTS(hparams, len(SYMBOLS)), hparams, CPU)
    for _ in range(8):
        before = [parameter._version for parameter in learner.model.parameters()]
        learner.update([batch_of([9, 14])], KNOBS, clip_norm=1.0, measure=False)
    assert all(p._version > version for p, version in zip(learner.model.parameters(), before, strict=True))


def test_frozen_durations_are_not_even_decayed() -> None:
    hparams = tiny_hparams(**GLOW, weight_decay=0.1)
    learner = Learner(GlowTTS(hparams, len(SYMBOLS)), hparams, CPU)
    assert isinstance(learner.model, GlowTTS)
    predictor = learner.model.encoder.duration_predictor
    before = [parameter.detach().clone() for parameter in predictor.parameters()]
    frozen = KNOBS | {"duration_loss_weight": 0.0}
    updated = learner.update([batch_of([9, 14])], frozen, clip_norm=1.0, measure=True)
    assert "gradient_norm_durations" not in updated.measures and updated.losses["duration_loss"] > 0
    assert all(torch.equal(p, b) for p, b in zip(predictor.parameters(), before, strict=True))
