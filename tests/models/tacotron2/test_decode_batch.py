from __future__ import annotations

import copy
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from corpus.batches import Batch
from models.kernels import weight_cache
from models.tacotron2 import decode_batch
from models.tacotron2.decode_state import DecodeOptions, NumbaSteps, TorchSteps
from models.tacotron2.model import Tacotron2
from tests.models.tacotron2.test_model import batch_of, model_with_large_weights
from tests.support.threads import computing_threads

both_versions = pytest.mark.parametrize("version", [NumbaSteps, TorchSteps], ids=["numba", "torch"])


def relative_difference(x: torch.Tensor, expected: torch.Tensor) -> float:
    return float((x - expected).norm() / expected.norm())


def decode_and_repeat(model: Tacotron2, batch: Batch, n_steps: int) -> tuple[torch.Tensor, ...]:
    """Mels, alignments and gates of a free-running pass, and of a pass that is teacher-forced with its mels."""
    decoded = model.synthesize(batch.text, batch.text_lengths, n_steps)
    mels = decoded.mels_before_postnet
    forced = model(replace(batch, mels=mels, mel_lengths=torch.full_like(batch.mel_lengths, mels.size(2))))
    return mels, decoded.alignments, decoded.gates, forced.mels, forced.alignments, forced.gates


@both_versions
@pytest.mark.parametrize("n_steps", [1, 5, 8, 19])
def test_free_running_steps_equal_teacher_forced_ones(version: type, n_steps: int) -> None:
    model = model_with_large_weights(max_decoder_steps=30, gate_threshold=1.0)
    with patch.object(decode_batch, "NumbaSteps", version), torch.no_grad():
        mels, alignments, gates, forced_mels, forced_alignments, forced_gates = decode_and_repeat(
            model, batch_of([7, 11]), n_steps
        )
    assert mels.size(2) == 2 * n_steps
    torch.testing.assert_close(mels, forced_mels)
    torch.testing.assert_close(alignments, forced_alignments)
    torch.testing.assert_close(gates, forced_gates)


@both_versions
def test_bfloat16_output_is_close_to_float32(version: type) -> None:
    model = model_with_large_weights(max_decoder_steps=30, gate_threshold=1.0)
    batch = batch_of([7, 11])
    with patch.object(decode_batch, "NumbaSteps", version):
        full = model.synthesize(batch.text, batch.text_lengths, 12)
        with torch.autocast("cpu", torch.bfloat16):
            half = model.synthesize(batch.text, batch.text_lengths, 12)
    assert relative_difference(half.mels_before_postnet, full.mels_before_postnet) < 0.05
    assert float((half.alignments - full.alignments).abs().max()) < 0.05


def test_packed_weights_are_cached_until_a_weight_changes_or_training_goes_on() -> None:
    model = model_with_large_weights(max_decoder_steps=30, gate_threshold=1.0)
    batch = batch_of([7, 11])

    def synthesize() -> torch.Tensor:
        return model.synthesize(batch.text, batch.text_lengths, 9).mels

    before = synthesize()
    with patch.object(decode_batch, "PackedLinear", side_effect=AssertionError):
        torch.testing.assert_close(synthesize(), before)
    with torch.no_grad():
        model.decoder.decoder_rnn.weight_hh.neg_()
    assert not torch.allclose(synthesize(), before)
    with torch.inference_mode():
        copied = copy.deepcopy(model)
    torch.testing.assert_close(copied.synthesize(batch.text, batch.text_lengths, 9).mels, synthesize())
    single = model.synthesize(batch.text[:1], batch.text_lengths[:1], 9)
    torch.testing.assert_close(single.mels, synthesize()[:1])
    model.train()
    assert model.decoder not in weight_cache._cache


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_padding", [0, 3])
def test_one_item_is_decoded_as_it_is_in_a_batch(n_threads: int, n_padding: int) -> None:
    model = model_with_large_weights(max_decoder_steps=60, gate_threshold=1.0)
    batch = batch_of([11, 7])
    text, lengths = torch.nn.functional.pad(batch.text[:1], (0, n_padding)), batch.text_lengths[:1]
    with computing_threads(n_threads):
        single = model.synthesize(text, lengths, 37)
    several = model.synthesize(batch.text, batch.text_lengths, 37)
    torch.testing.assert_close(single.mels, several.mels[:1])
    torch.testing.assert_close(single.gates, several.gates[:1])
    n_tokens = int(lengths)
    torch.testing.assert_close(single.alignments[..., :n_tokens], several.alignments[:1, :, :n_tokens])
    assert not single.alignments[..., n_tokens:].any()


def test_two_threads_decode_the_same_as_one() -> None:
    model = model_with_large_weights(max_decoder_steps=60, gate_threshold=1.0)
    batch = batch_of([11, 7, 4])
    outputs = []
    for n_threads in (1, 2):
        with computing_threads(n_threads):
            outputs.append(model.synthesize(batch.text, batch.text_lengths, 37))
    torch.testing.assert_close(outputs[0].mels, outputs[1].mels)
    torch.testing.assert_close(outputs[0].alignments, outputs[1].alignments)


def test_one_item_in_bfloat16_is_close_to_float32() -> None:
    model = model_with_large_weights(max_decoder_steps=60, gate_threshold=1.0)
    batch = batch_of([11])
    full = model.synthesize(batch.text, batch.text_lengths, 20)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.synthesize(batch.text, batch.text_lengths, 20)
    assert relative_difference(half.mels_before_postnet, full.mels_before_postnet) < 0.05
    assert 0 < float((half.alignments - full.alignments).abs().max()) < 0.05


def test_one_item_stops_at_the_step_whose_gate_opens_first() -> None:
    model = model_with_large_weights(max_decoder_steps=60, gate_threshold=1.0)
    batch = batch_of([11, 7])
    gates = torch.sigmoid(model.synthesize(batch.text, batch.text_lengths, 37).gates[0])
    for step in (4, 20):
        model.set_gate_threshold(float(gates[:step].max()) - 1e-9)
        first = int((gates > model.decoder.gate_threshold).int().argmax()) + 1
        single = model.synthesize(batch.text[:1], batch.text_lengths[:1], 37)
        assert (int(single.steps), bool(single.stopped)) == (first, True)
        assert single.gates.size(1) == first


class ScriptedDecoder:
    """Two items with gates that open at given steps, counted from one: twice in the first item, late in the second."""

    OPEN_STEPS = ((3, 20), (17,))

    def __init__(self, *_: object) -> None:
        n_steps = decode_batch.STEPS
        self.outputs, self.alignments = torch.full((n_steps, 2, 3), -9.0), torch.ones(n_steps, 2, 4)
        self._n_done = 0

    def run_steps(self) -> None:
        self.outputs[..., -1] = -9.0
        for item, steps in enumerate(self.OPEN_STEPS):
            for step in (step - 1 - self._n_done for step in steps):
                if 0 <= step < decode_batch.STEPS:
                    self.outputs[step, item, -1] = 9.0
        self._n_done += decode_batch.STEPS


@pytest.mark.parametrize(("max_steps", "steps", "stopped"), [(40, [3, 17], [True, True]), (12, [3, 12], [True, False])])
def test_each_item_stops_at_the_step_whose_gate_opens_first(
    max_steps: int, steps: list[int], stopped: list[bool]
) -> None:
    weights = model_with_large_weights().decoder.decode_weights()
    options = DecodeOptions(max_steps, torch.float32, gate_threshold=0.5, p_prenet_dropout=0.0)
    with patch.object(decode_batch, "BatchDecoder", ScriptedDecoder):
        decoded = decode_batch.decode(weights, torch.zeros(2, 4, 8), torch.tensor([4, 4]), options)
    assert decoded.steps.tolist() == steps and decoded.stopped.tolist() == stopped
    assert decoded.outputs.shape[:2] == decoded.alignments.shape[:2] == (2, max(steps))


def test_an_item_whose_gate_never_opens_is_cut() -> None:
    model = model_with_large_weights(max_decoder_steps=19, gate_threshold=1.0)
    batch = batch_of([7, 4, 11])
    decoded = model.synthesize(batch.text, batch.text_lengths)
    assert not decoded.stopped.any() and decoded.steps.tolist() == [19] * 3 and decoded.gates.size(1) == 19
