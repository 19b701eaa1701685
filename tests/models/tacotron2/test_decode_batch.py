from __future__ import annotations

import copy
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from corpus.batches import Batch
from models.kernels import weight_cache as kept_weights
from models.tacotron2 import decode_batch as free_running
from models.tacotron2.decode_state import StepsInTorch, StepsOnCpu
from models.tacotron2.model import Tacotron2
from tests.models.tacotron2.test_model import batch_of, lively_model
from tests.threads import computing_threads

each_way = pytest.mark.parametrize("steps", [StepsOnCpu, StepsInTorch], ids=["numba", "torch"])


def taught_by(model: Tacotron2, batch: Batch, n_steps: int) -> tuple[torch.Tensor, ...]:
    """What a teacher-forced pass says that hears what the model itself has said, beside what it did say."""
    spoken = model.synthesize(batch.text, batch.text_lengths, n_steps)
    said = spoken.mels_before_postnet
    forced = model(replace(batch, mels=said, mel_lengths=torch.full_like(batch.mel_lengths, said.size(2))))
    return said, spoken.alignments, spoken.gates, forced.mels, forced.alignments, forced.gates


@each_way
@pytest.mark.parametrize("n_steps", [1, 5, 8, 19])
def test_free_running_takes_the_steps_of_teacher_forcing(steps: type, n_steps: int) -> None:
    model = lively_model(max_decoder_steps=30, gate_threshold=1.0)
    with patch.object(free_running, "StepsOnCpu", steps), torch.no_grad():
        said, alignments, gates, forced_mels, forced_alignments, forced_gates = taught_by(
            model, batch_of([7, 11]), n_steps
        )
    assert said.size(2) == 2 * n_steps
    torch.testing.assert_close(said, forced_mels)
    torch.testing.assert_close(alignments, forced_alignments)
    torch.testing.assert_close(gates, forced_gates)


@each_way
def test_in_bfloat16_it_says_nearly_what_it_says_in_float32(steps: type) -> None:
    model = lively_model(max_decoder_steps=30, gate_threshold=1.0)
    batch = batch_of([7, 11])
    with patch.object(free_running, "StepsOnCpu", steps):
        full = model.synthesize(batch.text, batch.text_lengths, 12)
        with torch.autocast("cpu", torch.bfloat16):
            half = model.synthesize(batch.text, batch.text_lengths, 12)
    assert float((half.mels_before_postnet - full.mels_before_postnet).norm() / full.mels_before_postnet.norm()) < 0.05
    assert float((half.alignments - full.alignments).abs().max()) < 0.05


def test_who_goes_on_speaking_lays_weights_out_once_and_who_learns_again_forgets_them() -> None:
    model = lively_model(max_decoder_steps=30, gate_threshold=1.0)
    batch = batch_of([7, 11])

    def say() -> torch.Tensor:
        return model.synthesize(batch.text, batch.text_lengths, 9).mels

    before = say()
    with patch.object(free_running, "RepeatedProduct", side_effect=AssertionError):
        torch.testing.assert_close(say(), before)
    with torch.no_grad():
        model.decoder.decoder_rnn.weight_hh.neg_()
    assert not torch.allclose(say(), before)
    with torch.inference_mode():
        copied = copy.deepcopy(model)
    torch.testing.assert_close(copied.synthesize(batch.text, batch.text_lengths, 9).mels, say())
    torch.testing.assert_close(model.synthesize(batch.text[:1], batch.text_lengths[:1], 9).mels, say()[:1])
    model.train()
    assert model.decoder not in kept_weights._kept


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_padding", [0, 3])
def test_one_voice_alone_says_what_it_says_among_others(n_threads: int, n_padding: int) -> None:
    model = lively_model(max_decoder_steps=60, gate_threshold=1.0)
    batch = batch_of([11, 7])
    text, lengths = torch.nn.functional.pad(batch.text[:1], (0, n_padding)), batch.text_lengths[:1]
    with computing_threads(n_threads):
        alone = model.synthesize(text, lengths, 37)
    among = model.synthesize(batch.text, batch.text_lengths, 37)
    torch.testing.assert_close(alone.mels, among.mels[:1])
    torch.testing.assert_close(alone.gates, among.gates[:1])
    n_tokens = int(lengths)
    torch.testing.assert_close(alone.alignments[..., :n_tokens], among.alignments[:1, :, :n_tokens])
    assert not alone.alignments[..., n_tokens:].any()


def test_several_voices_say_the_same_with_more_threads() -> None:
    model = lively_model(max_decoder_steps=60, gate_threshold=1.0)
    batch = batch_of([11, 7, 4])
    said = []
    for n_threads in (1, 2):
        with computing_threads(n_threads):
            said.append(model.synthesize(batch.text, batch.text_lengths, 37))
    torch.testing.assert_close(said[0].mels, said[1].mels)
    torch.testing.assert_close(said[0].alignments, said[1].alignments)


def test_one_voice_alone_in_bfloat16_says_nearly_what_it_says_in_float32() -> None:
    model = lively_model(max_decoder_steps=60, gate_threshold=1.0)
    batch = batch_of([11])
    full = model.synthesize(batch.text, batch.text_lengths, 20)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.synthesize(batch.text, batch.text_lengths, 20)
    assert float((half.mels_before_postnet - full.mels_before_postnet).norm() / full.mels_before_postnet.norm()) < 0.05
    assert 0 < float((half.alignments - full.alignments).abs().max()) < 0.05


def test_one_voice_alone_ends_with_the_step_whose_gate_first_opens() -> None:
    model = lively_model(max_decoder_steps=60, gate_threshold=1.0)
    batch = batch_of([11, 7])
    gates = torch.sigmoid(model.synthesize(batch.text, batch.text_lengths, 37).gates[0])
    for step in (4, 20):
        model.decoder.gate_threshold = float(gates[:step].max()) - 1e-9
        first = int((gates > model.decoder.gate_threshold).int().argmax()) + 1
        alone = model.synthesize(batch.text[:1], batch.text_lengths[:1], 37)
        assert (int(alone.steps), bool(alone.stopped)) == (first, True)
        assert alone.gates.size(1) == first


class Scripted:
    """Says nothing but when gates open: the first item's twice, the second one's late, by steps from one."""

    OPEN = ((3, 20), (17,))

    def __init__(self, *_: object) -> None:
        self.said, self.alignments = torch.full((free_running.STEPS, 2, 3), -9.0), torch.ones(free_running.STEPS, 2, 4)
        self._begin = 0

    def go_on(self) -> None:
        self.said[..., -1] = -9.0
        for item, steps in enumerate(self.OPEN):
            for step in (step - 1 - self._begin for step in steps):
                if 0 <= step < free_running.STEPS:
                    self.said[step, item, -1] = 9.0
        self._begin += free_running.STEPS


@pytest.mark.parametrize(("most", "steps", "stopped"), [(40, [3, 17], [True, True]), (12, [3, 12], [True, False])])
def test_each_item_ends_with_the_step_whose_gate_first_opens(most: int, steps: list[int], stopped: list[bool]) -> None:
    decoder = lively_model().decoder
    with patch.object(free_running, "FreeRunning", Scripted):
        spoken = free_running.speak(
            decoder, torch.zeros(2, 4, 8), torch.tensor([4, 4]), max_steps=most, dtype=torch.float32
        )
    assert spoken.steps.tolist() == steps and spoken.stopped.tolist() == stopped
    assert spoken.said.shape[:2] == spoken.alignments.shape[:2] == (2, max(steps))


def test_who_never_ends_is_cut() -> None:
    model = lively_model(max_decoder_steps=19, gate_threshold=1.0)
    batch = batch_of([7, 4, 11])
    decoded = model.synthesize(batch.text, batch.text_lengths)
    assert not decoded.stopped.any() and decoded.steps.tolist() == [19] * 3 and decoded.gates.size(1) == 19
