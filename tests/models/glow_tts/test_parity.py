"""GlowTTS computes the numbers of Coqui's implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from corpus.batches import Batch
from hparams import HParams
from models.glow_tts.loss import glow_tts_losses
from models.glow_tts.model import GlowTTS
from tests.models.reference import Reference, assert_equal, assert_gradients_equal, read_reference

ENCODER = {
    "dropout_p": "encoder_dropout_p",
    "hidden_channels_ffn": "encoder_hidden_channels_ffn",
    "input_length": "encoder_input_length",
    "kernel_size": "encoder_kernel_size_ffn",
    "num_heads": "encoder_num_heads",
    "num_layers": "encoder_num_layers",
    "rel_attn_window_size": "encoder_rel_attn_window_size",
}
FIXED_CHOICES = {"c_in_channels": 0, "encoder_type": "rel_pos_transformer", "use_d_vector_file": False}
"""Settings of the reference that have only one value here."""


@dataclass(frozen=True)
class GlowReference:
    numbers: Reference

    def hparams(self, **changes: Any) -> HParams:
        """All stored settings; unknown ones are refused."""
        config = dict(self.numbers.config)
        encoder = {ENCODER[name]: value for name, value in config.pop("encoder_params").items()}
        assert {name: config.pop(name) for name in FIXED_CHOICES} == FIXED_CHOICES
        del config["num_chars"]  # an argument of the model
        assert config.pop("use_speaker_embedding") == (config["num_speakers"] > 0)
        config["n_mel_channels"] = config.pop("out_channels")
        return HParams(model="glow_tts", **{**config, **encoder, **changes})

    def model(self, **changes: Any) -> GlowTTS:
        model = GlowTTS(self.hparams(**changes), self.numbers.config["num_chars"])
        model.load_state_dict(self.numbers.part("weight/"), strict=True)
        return model.eval()

    def batch(self) -> Batch:
        inputs = self.numbers.part("input/")
        ids = tuple(str(i) for i in range(len(inputs["text"])))
        mels = inputs["mels"].transpose(1, 2)
        return Batch(ids, inputs["text"], inputs["text_lengths"], mels, inputs["mel_lengths"], inputs=self.inputs())

    def inputs(self, items: slice = slice(None)) -> dict[str, Tensor]:
        speakers = self.numbers.tensors.get("input/speaker_ids")
        return {} if speakers is None else {"speakers": speakers[items]}

    def expected(self, name: str) -> Tensor:
        return self.numbers.tensors[f"output/{name}"]


@pytest.fixture(scope="module", params=["glow_tts", "glow_tts_speakers"])
def reference(request: pytest.FixtureRequest) -> GlowReference:
    return GlowReference(read_reference(request.param))


def test_state_dict_parity_of_names_and_shapes(reference: GlowReference) -> None:
    own = GlowTTS(reference.hparams(), reference.numbers.config["num_chars"]).state_dict()
    stored = reference.numbers.part("weight/")
    assert {name: t.shape for name, t in own.items()} == {name: t.shape for name, t in stored.items()}


def test_parity_of_a_teacher_forced_pass(reference: GlowReference) -> None:
    output = reference.model()(reference.batch())
    assert_equal(output.latents.transpose(1, 2), reference.expected("z"))
    assert_equal(output.means.transpose(1, 2), reference.expected("y_mean"))
    assert_equal(output.log_scales.transpose(1, 2), reference.expected("y_log_scale"))
    torch.testing.assert_close(output.logdet.detach(), reference.expected("logdet"), atol=1e-4, rtol=0)
    assert_equal(output.log_durations, reference.expected("durations_log").squeeze(2))


def test_parity_of_the_alignment(reference: GlowReference) -> None:
    batch = reference.batch()
    output = reference.model()(batch)
    expected = reference.expected("alignments")  # [B, T, N], zero in the padding
    alignments = torch.nn.functional.one_hot(output.symbol_of_frame, expected.size(2))
    assert torch.equal(alignments * expected.sum(2, keepdim=True), expected)
    assert torch.equal(output.durations, expected.sum(1))


def test_loss_and_gradient_parity(reference: GlowReference) -> None:
    model, batch = reference.model(), reference.batch()
    losses = glow_tts_losses(model(batch), batch, 1.0)
    names = {"nll_loss": "log_mle", "duration_loss": "loss_dur", "total_loss": "loss"}
    for own, name in names.items():
        torch.testing.assert_close(losses.parts[own].detach(), reference.expected(name), rtol=1e-5, atol=0)
    losses.total.backward()
    assert_gradients_equal(model, reference.numbers.part("output/grad_norm/"))


def test_free_running_parity(reference: GlowReference) -> None:
    model, batch = reference.model(), reference.batch()
    for item in range(len(batch.ids)):
        items = slice(item, item + 1)
        lengths = batch.text_lengths[items]
        decoded = model.synthesize(batch.text[items, : int(lengths)], lengths, inputs=reference.inputs(items))
        expected = reference.numbers.part(f"output/inference_item{item}/")
        assert torch.equal(decoded.durations.float(), expected["alignments"].sum(1))
        assert_equal(decoded.log_durations, expected["durations_log"].squeeze(2))
        assert_equal(decoded.means.transpose(1, 2), expected["y_mean"])
        assert_equal(decoded.mels.transpose(1, 2), expected["model_outputs"])


def test_padding_does_not_change_the_output(reference: GlowReference) -> None:
    """Unlike the reference, which gives each padding symbol a frame."""
    batch = reference.batch()
    batched = reference.model().synthesize(batch.text, batch.text_lengths, inputs=reference.inputs())
    assert torch.equal(batched.durations.sum(1), reference.expected("inference_batch/frames"))
    for i, n_frames in enumerate(batched.mel_lengths.tolist()):
        single = reference.expected(f"inference_item{i}/model_outputs")
        assert n_frames == single.size(1)
        assert_equal(batched.mels[i : i + 1, :, :n_frames].transpose(1, 2), single)


def test_parity_of_mels_and_the_inverse_of_their_latents(reference: GlowReference) -> None:
    model, batch = reference.model(), reference.batch()
    speaker, group = model._speaker(reference.inputs()), reference.hparams().num_squeeze
    n_frames = int(batch.mel_lengths.min()) // group * group
    mels, mask = batch.mels[:, :, :n_frames], torch.ones(len(batch.ids), 1, n_frames)
    with torch.no_grad():
        latents, _ = model.decoder(mels, mask, speaker)
        assert float((model.decoder.inverse(latents, mask, speaker) - mels).abs().max()) < 1e-4
