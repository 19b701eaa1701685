from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from corpus.batches import BatchLoader
from models.interface import FreeRunningOutput
from speech.decoding import evaluation_mode
from tests.support.tiny import NO_DROPOUT, tacotron, tiny_examples, tiny_hparams, tiny_mel, tiny_model, tiny_trainer
from training.evaluation import evaluate_utterances

KNOBS = {"guide_weight": 1.0, "guide_sigma": 0.4, "gate_positive_weight": 8.0}


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_does_not_change_random_state_weights_statistics_or_mode(tmp_path: Path, training: bool) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    trainer.train_step(next(iter(trainer.state.data.train.epoch(0))))
    trainer.state.model.train(training)
    before = {name: t.clone() for name, t in trainer.state.model.state_dict().items()}
    random, numpy_random = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    trainer.validate()
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(np.random.get_state()[1], numpy_random)  # type: ignore[index]
    torch.testing.assert_close(trainer.state.model.state_dict(), before, rtol=0, atol=0)
    assert {module.training for module in trainer.state.model.modules()} == {training}


def test_evaluation_depends_on_weights_and_seed_only(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    first = trainer.validate()
    torch.rand(7)
    second = trainer.validate()
    assert first.losses == second.losses
    assert np.array_equal(first.decodes[0].free_mel, second.decodes[0].free_mel)


def test_losses_are_means_weighted_by_utterance() -> None:
    hparams = tiny_hparams(**NO_DROPOUT, batch_size=2)
    model, loader = tiny_model(hparams), BatchLoader(tiny_examples([4, 9, 14]), hparams, tiny_mel)
    with evaluation_mode(model, 0):
        losses, _ = evaluate_utterances(model, loader, hparams, KNOBS)
        pair, single = (model.losses(model(b), b, KNOBS).parts for b in (loader.load([0, 1]), loader.load([2])))
    assert losses.keys() == {"val_mel_loss", "val_gate_loss", "val_guide_loss", "val_total_loss"}
    for name, value in pair.items():
        assert losses[f"val_{name}"] == pytest.approx((2 * float(value) + float(single[name])) / 3)


def test_decode_reports_hold_the_valid_region_of_their_utterances() -> None:
    hparams = tiny_hparams(batch_size=2)
    model, examples = tiny_model(hparams), tiny_examples([9, 4, 13, 6, 7])
    with evaluation_mode(model, 0):
        _, decodes = evaluate_utterances(model, BatchLoader(examples, hparams, tiny_mel), hparams, KNOBS)
    by_id = {e.utterance.id: e for e in examples}
    assert sorted(d.id for d in decodes) == sorted(by_id)
    for decode in decodes:
        example = by_id[decode.id]
        n_steps, n_tokens = -(-example.n_frames // 2), len(example.symbol_ids)
        assert (decode.text, decode.symbol_ids) == (example.utterance.text, example.symbol_ids)
        assert np.array_equal(decode.recorded_mel, tiny_mel(example.utterance))
        assert decode.forced_attention.shape == (n_steps, n_tokens)
        assert decode.forced_gate is not None and decode.forced_gate.shape == (n_steps,)
        assert 0 <= decode.forced_gate.min() <= decode.forced_gate.max() <= 1
        assert decode.free_mel.shape[1] == 2 * decode.free_attention.shape[0]
        assert decode.free_attention.shape[1] == n_tokens
        assert (decode.n_frames_per_step, decode.gate_threshold) == (2, hparams.gate_threshold)
        np.testing.assert_allclose(decode.forced_attention.sum(1), 1, atol=1e-5)


def test_decode_that_does_not_stop_is_cut_and_reported_as_not_stopped() -> None:
    hparams = tiny_hparams(gate_threshold=1.0, max_decoder_steps=1000)
    loader = BatchLoader(tiny_examples([6, 8]), hparams, tiny_mel)
    model = tiny_model(hparams)
    with evaluation_mode(model, 0):
        _, decodes = evaluate_utterances(model, loader, hparams, KNOBS)
    assert [d.stopped for d in decodes] == [False, False]
    assert all(d.free_mel.shape[1] < 100 for d in decodes)


def test_evaluation_that_runs_out_of_memory_goes_on_in_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one, _ = tiny_trainer(tmp_path, tiny_hparams(**NO_DROPOUT, batch_size=1))
    expected = one_by_one.validate()
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(**NO_DROPOUT))
    model, n_sizes = tacotron(trainer), []
    synthesize = model.synthesize

    def limited(text: Tensor, *arguments: Any, **options: Any) -> FreeRunningOutput:
        n_sizes.append(len(text))
        if len(text) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return synthesize(text, *arguments, **options)

    monkeypatch.setattr(model, "synthesize", limited)
    report = trainer.validate()
    assert max(n_sizes) > 1
    assert {d.id for d in report.decodes} == {d.id for d in expected.decodes}
    assert report.losses == pytest.approx(expected.losses)
    assert [s.id for s in report.sentences] == [s.id for s in expected.sentences]
