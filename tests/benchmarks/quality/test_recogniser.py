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
    Example,
    Recipe,
    Recogniser,
    augment,
    character_error_rate,
    ctc_loss,
    espeak_wave,
    hear,
    load_or_train,
    random_sentences,
    read_letters,
    record,
    train,
)
from benchmarks.quality.sentences import ORDINARY_SENTENCES
from hparams import HParams

TINY = Recipe(sentences=2, epochs=1, batch_size=2, width=8)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return record(["a red door.", "warm bread.", "two cats.", "the rain.", "old shoes.", "my key.", "cold tea.", "go!"])


def test_character_error_rate_counts_replaced_missing_and_added_characters() -> None:
    assert character_error_rate(["kitten"], ["sitting"]) == pytest.approx(3 / 7)
    assert character_error_rate(["abcd"], ["abd"]) == pytest.approx(1 / 3)
    assert character_error_rate([""], ["abcd"]) == 1.0


def test_character_error_rate_weighs_sentences_by_their_length() -> None:
    assert character_error_rate(["", "abcdefghi"], ["x", "abcdefghi"]) == pytest.approx(1 / 10)


def test_character_error_rate_ignores_case_and_punctuation_but_not_spaces() -> None:
    assert character_error_rate(["dont go  now"], ["Don't go, now!"]) == 0.0
    assert character_error_rate(["dontgo now"], ["Don't go, now!"]) == pytest.approx(1 / 11)


def test_character_error_rate_wants_as_many_hypotheses_as_references() -> None:
    with pytest.raises(ValueError, match="longer"):
        character_error_rate(["a"], ["a", "b"])


def test_repeated_letters_are_one_unless_a_blank_parts_them() -> None:
    assert read_letters([LETTERS.index(letter) for letter in "_  hheel_l_oo  _ yyou_ "]) == "hello you"


def test_what_is_heard_does_not_depend_on_the_loudness() -> None:
    wave = torch.from_numpy(espeak_wave("a red door"))
    torch.testing.assert_close(hear(wave), hear(0.3 * wave), atol=1e-4, rtol=0)
    assert hear(wave).max() == 1
    assert hear(wave).min() == 0


def test_every_second_recording_passes_through_griffin_lim(monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(wave: np.ndarray, _: HParams) -> np.ndarray:
        return np.zeros_like(wave)

    monkeypatch.setattr(module, "copy_synthesis", silence)
    is_silent = [bool((one.mel == one.mel[0, 0]).all()) for one in record(["warm bread."] * 4)]
    assert is_silent == [False, True, False, True]


def test_training_sentences_hold_only_letters_the_recogniser_can_write() -> None:
    sentences = random_sentences(200, seed=3)
    assert all(set(sentence) <= {*LETTERS, "."} - {"_"} for sentence in sentences)
    assert all(3 <= len(sentence.split()) <= 9 for sentence in sentences)
    assert len({word for sentence in sentences for word in sentence.split()}) > 500
    assert sentences == random_sentences(200, seed=3) != random_sentences(200, seed=4)


def test_augmentation_changes_a_mel_within_bounds(examples: list[Example]) -> None:
    mel = examples[0].mel.float()
    before, by = mel.clone(), random.Random(1)
    lengths = set()
    for _ in range(20):
        changed = augment(mel, by)
        lengths.add(changed.shape[1])
        assert changed.shape[0] == HPARAMS.n_mel_channels
        assert 0 <= changed.min() <= changed.max() < 1.3
    assert torch.equal(mel, before)
    assert min(lengths) >= 0.9 * mel.shape[1] - 1
    assert max(lengths) <= 1.1 * mel.shape[1] + 1
    assert len(lengths) > 5


def test_it_learns_eight_utterances_by_heart(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "augment", lambda mel, by: mel)
    recogniser = train(examples, Recipe(epochs=200, batch_size=4, width=64, learning_rate=5e-3))
    texts = ["a red door", "warm bread", "two cats", "the rain", "old shoes", "my key", "cold tea", "go"]
    waves = [espeak_wave(text + ".") for text in texts]
    assert character_error_rate(recogniser.transcribe(waves, HPARAMS.sampling_rate), texts) < 0.2


def test_silence_appended_to_the_shorter_mels_gives_a_letter_no_time(examples: list[Example]) -> None:
    torch.manual_seed(1)
    recogniser = Recogniser(width=8).eval()
    long = max(examples, key=lambda one: one.mel.shape[1])
    hurried = Example(long.mel[:, :4].float(), torch.tensor([LETTERS.index(letter) for letter in "abc"]))
    whole = Example(long.mel.float(), long.letters)
    assert torch.isfinite(ctc_loss(recogniser, [whole, replace(hurried, letters=hurried.letters[:2])]))
    assert torch.isinf(ctc_loss(recogniser, [whole, hurried]))


def test_a_transcript_depends_on_nothing_else_in_the_call(examples: list[Example]) -> None:
    torch.manual_seed(1)
    recogniser = Recogniser(width=8)
    short, long = espeak_wave("go."), espeak_wave("the rain in the old town.")
    together = recogniser.transcribe([short, long], HPARAMS.sampling_rate)
    assert together == recogniser.transcribe([short], 22050) + recogniser.transcribe([long], 22050)


def test_a_wave_of_another_sampling_rate_is_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def hear_and_note(wave: torch.Tensor) -> torch.Tensor:
        lengths.append(len(wave))
        return hear(wave)

    monkeypatch.setattr(module, "hear", hear_and_note)
    Recogniser(width=8).transcribe([np.random.default_rng(1).normal(size=16000).astype(np.float32)], 16000)
    assert lengths == [22050]


def test_a_trained_recogniser_is_kept_and_one_of_another_recipe_is_not(tmp_path: Path) -> None:
    trained = load_or_train(tmp_path / "cache", TINY)
    kept = (tmp_path / "cache" / "recogniser.pt").read_bytes()
    loaded = load_or_train(tmp_path / "cache", TINY)
    assert not loaded.training
    for name, weight in trained.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name
    assert (tmp_path / "cache" / "recogniser.pt").read_bytes() == kept
    load_or_train(tmp_path / "cache", replace(TINY, version=TINY.version + 1))
    assert (tmp_path / "cache" / "recogniser.pt").read_bytes() != kept


def test_ordinary_sentences_are_different_short_and_plain() -> None:
    assert len(set(ORDINARY_SENTENCES)) == 48
    for sentence in ORDINARY_SENTENCES:
        assert re.fullmatch(r"[A-Z][a-z]*( [a-z]+| I)+\.", sentence), sentence
        assert 5 <= len(sentence.split()) <= 12, sentence
