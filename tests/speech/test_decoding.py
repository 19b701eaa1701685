from __future__ import annotations

import numpy as np
import pytest
import torch

from speech.decoding import Sentence, decode_sentences, evaluation_mode
from tests.support.tiny import GLOW, NO_DROPOUT, tiny_hparams, tiny_model


def test_mode_and_random_state_are_restored_after_an_error() -> None:
    model = tiny_model(tiny_hparams()).train()
    random = torch.get_rng_state()
    with pytest.raises(RuntimeError), evaluation_mode(model, 1):
        torch.rand(1)
        raise RuntimeError
    assert model.training and torch.equal(torch.get_rng_state(), random) and torch.is_grad_enabled()


def test_reports_are_in_the_order_of_the_sentences_whatever_their_lengths() -> None:
    model = tiny_model(tiny_hparams(**NO_DROPOUT)).eval()
    sentences = [Sentence(f"s{i}", "x" * n, tuple(range(1, n + 1))) for i, n in enumerate((3, 8, 1, 5))]
    reports = decode_sentences(model, sentences, 2)
    assert [(r.id, r.text, r.symbol_ids) for r in reports] == [(s.id, s.text, s.symbol_ids) for s in sentences]
    for report, sentence in zip(reports, sentences, strict=True):
        (single,) = decode_sentences(model, [sentence], 1)
        np.testing.assert_allclose(report.free_mel, single.free_mel, atol=1e-4)
        assert report.free_attention.shape == single.free_attention.shape
        assert report.free_attention.shape[1] == len(sentence.symbol_ids)


def test_no_sentences_give_no_reports() -> None:
    assert decode_sentences(tiny_model(tiny_hparams()), [], 4) == []


def test_each_sentence_is_decoded_with_its_own_inputs() -> None:
    hparams = tiny_hparams(**GLOW, num_speakers=2, inference_noise_scale=0.0)
    model = tiny_model(hparams).eval()
    for weight in model.parameters():  # fresh weights ignore the speaker
        torch.nn.init.normal_(weight, std=0.2)
    sentences = [Sentence(str(i), "abc", (1, 2, 3), {"speakers": np.array(i % 2)}) for i in range(3)]
    first, second, third = (report.free_mel for report in decode_sentences(model, sentences, batch_size=2))
    assert np.allclose(first, third, atol=1e-4)
    assert first.shape != second.shape or not np.allclose(first, second, atol=1e-2)
