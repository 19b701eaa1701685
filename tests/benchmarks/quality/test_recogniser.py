"""The small recogniser: its error rate, its training sentences, its training and its cache."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import recogniser as module
from benchmarks.quality.recogniser import (
    HPARAMS,
    LETTERS,
    LabelledMel,
    Recogniser,
    RecogniserRecipe,
    augment,
    character_error_rate,
    ctc_loss,
    decode_ctc_path,
    espeak_wave,
    load_or_train,
    normalized_log_mel,
    random_sentences,
    synthesize_examples,
    train,
)
from benchmarks.quality.sentences import ORDINARY_SENTENCES
from hparams import HParams

TINY = RecogniserRecipe(sentences=2, epochs=1, batch_size=2, width=8)


@pytest.fixture(scope="module")
def examples() -> list[LabelledMel]:
    return synthesize_examples(
        ["a red door.", "warm bread.", "two cats.", "the rain.", "old shoes.", "my key.", "cold tea.", "go!"]
    )


def test_character_error_rate_counts_replaced_missing_and_added_characters() -> None:
    assert character_error_rate(["kitten"], ["sitting"]) == pytest.approx(3 / 7)
    assert character_error_rate(["abcd"], ["abd"]) == pytest.approx(1 / 3)
    assert character_error_rate([""], ["abcd"]) == 1.0


def test_character_error_rate_weighs_sentences_by_their_length() -> None:
    assert character_error_rate(["", "abcdefghi"], ["x", "abcdefghi"]) == pytest.approx(1 / 10)


def test_character_error_rate_ignores_case_and_punctuation_but_not_spaces() -> None:
    assert character_error_rate(["dont go  now"], ["Don't go, now!"]) == 0.0
    assert character_error_rate(["dontgo now"], ["Don't go, now!"]) == pytest.approx(1 / 11)


def test_character_error_rate_rejects_fewer_hypotheses_than_references() -> None:
    with pytest.raises(ValueError, match="longer"):
        character_error_rate(["a"], ["a", "b"])


def test_repeated_letters_are_merged_unless_a_blank_separates_them() -> None:
    assert decode_ctc_path([LETTERS.index(letter) for letter in "_  hheel_l_oo  _ yyou_ "]) == "hello you"


def test_the_normalised_mel_does_not_depend_on_the_loudness() -> None:
    wave = torch.from_numpy(espeak_wave("a red door"))
    torch.testing.assert_close(normalized_log_mel(wave), normalized_log_mel(0.3 * wave), atol=1e-4, rtol=0)
    assert normalized_log_mel(wave).max() == 1
    assert normalized_log_mel(wave).min() == 0


def test_every_second_recording_passes_through_griffin_lim(monkeypatch: pytest.MonkeyPatch) -> None:
    def silenced(wave: np.ndarray, _: HParams) -> np.ndarray:
        return np.zeros_like(wave)

    monkeypatch.setattr(module, "copy_synthesis", silenced)
    is_silent = [bool((item.mel == item.mel[0, 0]).all()) for item in synthesize_examples(["warm bread."] * 4)]
    assert is_silent == [False, True, False, True]


def test_training_sentences_contain_only_letters_of_the_recogniser() -> None:
    sentences = random_sentences(200, seed=3)
    assert all(set(sentence) <= {*LETTERS, "."} - {"_"} for sentence in sentences)
    assert all(3 <= len(sentence.split()) <= 9 for sentence in sentences)
    assert len({word for sentence in sentences for word in sentence.split()}) > 500
    assert sentences == random_sentences(200, seed=3) != random_sentences(200, seed=4)


def test_augmentation_changes_a_mel_within_bounds(examples: list[LabelledMel]) -> None:
    mel = examples[0].mel.float()
    original, rng = mel.clone(), random.Random(1)
    lengths = set()
    for _ in range(20):
        changed = augment(mel, rng)
        lengths.add(changed.shape[1])
        assert changed.shape[0] == HPARAMS.n_mel_channels
        assert 0 <= changed.min() <= changed.max() < 1.3
    assert torch.equal(mel, original)
    assert min(lengths) >= 0.9 * mel.shape[1] - 1
    assert max(lengths) <= 1.1 * mel.shape[1] + 1
    assert len(lengths) > 5


def test_it_overfits_eight_utterances(examples: list[LabelledMel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "augment", lambda mel, rng: mel)
    recogniser = train(examples, RecogniserRecipe(epochs=200, batch_size=4, width=64, learning_rate=5e-3))
    texts = ["a red door", "warm bread", "two cats", "the rain", "old shoes", "my key", "cold tea", "go"]
    waves = [espeak_wave(text + ".") for text in texts]
    assert character_error_rate(recogniser.transcribe(waves, HPARAMS.sampling_rate), texts) < 0.2


def test_ctc_places_no_letter_in_the_padding_of_a_shorter_mel(examples: list[LabelledMel]) -> None:
    torch.manual_seed(1)
    recogniser = Recogniser(width=8).eval()
    longest = max(examples, key=lambda item: item.mel.shape[1])
    crowded = LabelledMel(longest.mel[:, :4].float(), torch.tensor([LETTERS.index(letter) for letter in "abc"]))
    complete = LabelledMel(longest.mel.float(), longest.letters)
    assert torch.isfinite(ctc_loss(recogniser, [complete, replace(crowded, letters=crowded.letters[:2])]))
    assert torch.isinf(ctc_loss(recogniser, [complete, crowded]))


def test_a_transcript_does_not_depend_on_the_other_waves_of_the_call(examples: list[LabelledMel]) -> None:
    torch.manual_seed(1)
    recogniser = Recogniser(width=8)
    short, long = espeak_wave("go."), espeak_wave("the rain in the old town.")
    together = recogniser.transcribe([short, long], HPARAMS.sampling_rate)
    assert together == recogniser.transcribe([short], 22050) + recogniser.transcribe([long], 22050)


def test_a_wave_of_another_sampling_rate_is_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def spy(wave: torch.Tensor) -> torch.Tensor:
        lengths.append(len(wave))
        return normalized_log_mel(wave)

    monkeypatch.setattr(module, "normalized_log_mel", spy)
    Recogniser(width=8).transcribe([np.random.default_rng(1).normal(size=16000).astype(np.float32)], 16000)
    assert lengths == [22050]


def test_a_trained_recogniser_is_cached_until_its_recipe_changes(tmp_path: Path) -> None:
    trained = load_or_train(tmp_path / "cache", TINY)
    content = (tmp_path / "cache" / "recogniser.pt").read_bytes()
    loaded = load_or_train(tmp_path / "cache", TINY)
    assert not loaded.training
    for name, weight in trained.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name
    assert (tmp_path / "cache" / "recogniser.pt").read_bytes() == content
    load_or_train(tmp_path / "cache", replace(TINY, version=TINY.version + 1))
    assert (tmp_path / "cache" / "recogniser.pt").read_bytes() != content


def test_ordinary_sentences_are_distinct_short_and_simple() -> None:
    assert len(set(ORDINARY_SENTENCES)) == 48
    for sentence in ORDINARY_SENTENCES:
        assert re.fullmatch(r"[A-Z][a-z]*( [a-z]+| I)+\.", sentence), sentence
        assert 5 <= len(sentence.split()) <= 12, sentence
