"""Deviation of attention from true phone times, for a correct attention and a delayed one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.quality.phone_timings import phone_centres
from corpus.audio.recording import loud_span, read_audio
from corpus.demo.demo_corpus import make_demo_corpus, timings_path
from corpus.text.frontend import text_frontend
from corpus.timings import align_characters, read_timings
from corpus.utterances import Utterance, read_corpus
from hparams import HParams, build_hparams
from recipes import RECIPES

HPARAMS = build_hparams(RECIPES["tacotron2"].presets["demo"])


def true_attention(utterance: Utterance, ipa: str, hparams: HParams) -> np.ndarray:
    """Attention [steps, tokens] on the characters that are spoken at each step."""
    wave = read_audio(utterance.audio_path, hparams.sampling_rate)
    start, end = loud_span(wave, sampling_rate=hparams.sampling_rate, hparams=hparams)
    samples_per_step = hparams.hop_length * hparams.n_frames_per_step
    times = (start + samples_per_step * (np.arange((end - start) // samples_per_step) + 0.5)) / hparams.sampling_rate
    spans = align_characters(ipa, read_timings(timings_path(utterance.audio_path)).phones)
    attention = np.full((len(times), len(ipa)), 1e-9)
    for token, span in enumerate(spans):
        if span is not None:
            attention[(times >= span[0]) & (times < span[1]), token] = 1.0
    return attention


def test_a_correct_attention_deviates_little_and_a_delayed_one_by_its_delay(tmp_path: Path) -> None:
    corpus = read_corpus(str(make_demo_corpus(tmp_path, "en-us", 2)), "filelist")
    utterance = corpus.utterances[0]
    ipa = text_frontend(HPARAMS).normalize(utterance.text)
    attention = true_attention(utterance, ipa, HPARAMS)
    delayed = np.roll(attention, 3, axis=0)

    def deviation(attention: np.ndarray) -> float:
        centres = phone_centres(attention, ipa, utterance.audio_path, HPARAMS)
        return float(np.median([abs(attended - true) for attended, true in centres]))

    assert deviation(attention) < 0.5
    assert 2.0 < deviation(delayed) < 4.0
