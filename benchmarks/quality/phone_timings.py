"""Deviation of a voice's attention from the true phone times of the demo corpus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from corpus.audio.recording import loud_span, read_audio
from corpus.batches import BatchLoader, Example
from corpus.demo.demo_corpus import timings_path
from corpus.mel_cache import MelCache
from corpus.text.frontend import text_frontend
from corpus.timings import align_characters, read_timings
from corpus.utterances import read_corpus
from hparams import HParams
from speech.decoding import evaluation_mode
from speech.voice import load_voice
from training.evaluation import evaluate_utterances
from training.knobs import Knobs


def median_deviation_steps(voice_path: Path, corpus_folder: Path, mel_folder: Path) -> float:
    """Median deviation over the phones of all held-out utterances, teacher-forced, in decoder steps."""
    voice = load_voice(voice_path)
    hparams, frontend = voice.hparams, text_frontend(voice.hparams)
    cache = MelCache(mel_folder, hparams)
    held_out = [u for u in read_corpus(str(corpus_folder), "filelist").utterances if u.split == "validation"]
    examples = [Example(u, tuple(frontend.encode(u.text)), cache.n_frames(u)) for u in held_out]
    knobs = Knobs.from_hparams(hparams).for_losses(voice.step, hparams)
    with evaluation_mode(voice.model, hparams.seed):
        _, decodes = evaluate_utterances(voice.model, BatchLoader(examples, hparams, cache.mel), hparams, knobs)
    attentions = {decode.id: decode.forced_attention for decode in decodes}
    deviations = []
    for utterance in held_out:
        ipa = frontend.normalize(utterance.text)
        centres = phone_centres(attentions[utterance.id], ipa, utterance.audio_path, hparams)
        deviations += [abs(attended - true) for attended, true in centres]
    return float(np.median(deviations))


def phone_centres(attention: np.ndarray, ipa: str, audio_path: Path, hparams: HParams) -> Iterator[tuple[float, float]]:
    """Yield the centre of the attention to each phone's characters and its true centre, both in decoder steps.

    `attention`: [steps, characters of `ipa`].
    """
    wave = read_audio(audio_path, hparams.sampling_rate)
    trimmed, _ = loud_span(wave, sampling_rate=hparams.sampling_rate, hparams=hparams)
    samples_per_step = hparams.hop_length * hparams.n_frames_per_step
    steps = np.arange(attention.shape[0]) + 0.5
    spans = align_characters(ipa, read_timings(timings_path(audio_path)).phones)
    phones = sorted({span for span in spans if span is not None})
    for start, end in phones:
        weight = attention[:, [i for i, span in enumerate(spans) if span == (start, end)]].sum(1)
        true_centre = ((start + end) / 2 * hparams.sampling_rate - trimmed) / samples_per_step
        yield float((weight * steps).sum() / weight.sum()), true_centre
