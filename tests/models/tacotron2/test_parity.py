"""Tacotron 2 computes the numbers of NVIDIA's implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from corpus.batches import Batch
from hparams import HParams
from models.interface import AttentionOutput
from models.tacotron2.model import Tacotron2
from tests.models.reference import Reference, assert_equal, assert_gradients_equal, read_reference

KNOBS = {"guide_weight": 0.0, "guide_sigma": 0.4, "gate_positive_weight": 1.0}
both_paddings = pytest.mark.parametrize("leaky", [False, True], ids=["masked", "leaky"])


class TacotronReference(Reference):
    def hparams(self, **changes: Any) -> HParams:
        """All stored settings, unknown ones refused; the stored numbers were computed without prenet dropout."""
        config = dict(self.config)
        del config["n_symbols"]  # an argument of the model
        precision = "float16" if config.pop("fp16_run", False) else "float32"
        unknown = config.keys() - HParams.model_fields.keys()
        assert not unknown, f"the fixture has settings that hparams.py lacks: {sorted(unknown)}"
        return HParams(**{**config, "precision": precision, "p_prenet_dropout": 0.0, **changes})

    def model(self, **changes: Any) -> Tacotron2:
        model = Tacotron2(self.hparams(**changes), self.config["n_symbols"])
        model.load_state_dict(self.part("weight/"), strict=True)
        return model.eval()

    def batch(self) -> Batch:
        inputs = self.part("input/")
        ids = tuple(str(i) for i in range(len(inputs["text"])))
        return Batch(ids, inputs["text"], inputs["text_lengths"], inputs["mels"], inputs["mel_lengths"])

    def last_item(self) -> Batch:
        batch = self.batch()
        n, t = int(batch.text_lengths[-1]), int(batch.mel_lengths[-1])
        return Batch(
            batch.ids[-1:], batch.text[-1:, :n], batch.text_lengths[-1:], batch.mels[-1:, :, :t], batch.mel_lengths[-1:]
        )


@pytest.fixture(scope="module")
def reference() -> TacotronReference:
    numbers = read_reference("tacotron2")
    return TacotronReference(numbers.config, numbers.tensors)


def assert_outputs_equal(actual: AttentionOutput, expected: dict[str, Tensor]) -> None:
    assert_equal(actual.mels, expected["mel_outputs"])
    assert_equal(actual.mels_postnet, expected["mel_outputs_postnet"])
    is_valid = expected["gate_outputs"] < 1000.0  # the padding is 1000, which would widen the tolerance
    assert_equal(actual.gates[is_valid], expected["gate_outputs"][is_valid])
    assert torch.equal(actual.gates[~is_valid].detach(), expected["gate_outputs"][~is_valid])
    assert_equal(actual.alignments, expected["alignments"])


def test_state_dict_parity_of_names_shapes_and_order(reference: TacotronReference) -> None:
    own = Tacotron2(reference.hparams(), reference.config["n_symbols"]).state_dict()
    assert {name: t.shape for name, t in own.items()} == {
        name: t.shape for name, t in reference.part("weight/").items()
    }


def test_hparams_parity_of_every_stored_setting(reference: TacotronReference) -> None:
    hparams = reference.hparams()
    renamed = {"n_symbols", "fp16_run"}
    stored = {name: value for name, value in reference.config.items() if name not in renamed}
    assert {name: getattr(hparams, name) for name in stored} == stored
    assert reference.model().embedding.num_embeddings == reference.config["n_symbols"]


def test_teacher_forced_parity_with_leaky_padding(reference: TacotronReference) -> None:
    output = reference.model(leaky_padding=True)(reference.batch())
    assert_outputs_equal(output, reference.part("output/"))


def test_parity_of_valid_frames_with_and_without_masked_padding(reference: TacotronReference) -> None:
    batch = reference.batch()
    masked, unmasked = (reference.model(leaky_padding=True, mask_padding=mask)(batch).mels for mask in (True, False))
    for i, n_frames in enumerate(batch.mel_lengths.tolist()):
        assert_equal(unmasked[i, :, :n_frames], reference.tensors["output/mel_outputs"][i, :, :n_frames])
    assert not torch.equal(masked, unmasked)


@both_paddings
def test_unpadded_item_parity(reference: TacotronReference, leaky: bool) -> None:
    output = reference.model(leaky_padding=leaky)(reference.last_item())
    assert_outputs_equal(output, reference.part("output/unpadded_last/"))


def test_loss_parity(reference: TacotronReference) -> None:
    model, batch = reference.model(leaky_padding=True), reference.batch()
    losses = model.losses(model(batch), batch, KNOBS)
    torch.testing.assert_close(losses.total.detach(), reference.tensors["output/loss"], rtol=1e-5, atol=0)


def test_gradient_norm_parity(reference: TacotronReference) -> None:
    model, batch = reference.model(leaky_padding=True), reference.batch()
    model.losses(model(batch), batch, KNOBS).total.backward()
    assert_gradients_equal(model, reference.part("output/grad_norm/"))


@both_paddings
@pytest.mark.parametrize(("name", "changes"), [("inference", {}), ("inference_max", {"gate_threshold": 1.0})])
def test_free_running_parity(reference: TacotronReference, leaky: bool, name: str, changes: dict[str, float]) -> None:
    batch, item = reference.batch(), int(reference.tensors["input/inference_item"])
    lengths = batch.text_lengths[item : item + 1]
    model = reference.model(leaky_padding=leaky, **changes)
    decoded = model.synthesize(batch.text[item : item + 1, : int(lengths)], lengths)
    expected = reference.part(f"output/{name}/")
    assert_equal(decoded.mels, expected["mel_outputs_postnet"])
    assert_equal(decoded.mels_before_postnet, expected["mel_outputs"])
    assert_equal(decoded.gates, expected["gate_outputs"].squeeze(2))
    assert_equal(decoded.alignments, expected["alignments"])
    assert decoded.mel_lengths.tolist() == [expected["mel_outputs"].size(2)]
    assert bool(decoded.stopped) == (decoded.steps.item() < reference.config["max_decoder_steps"])
