"""Measurements of one utterance for the corpus check; its recording is read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from corpus.audio.recording import Recording, UnusableAudio, loud_span, read_recording
from corpus.audio.speech_level import speech_level_db
from corpus.batches import alignment_problem
from corpus.mel_cache import MelCache, require_allowed_length
from corpus.text.frontend import TextFrontend
from corpus.utterances import Utterance
from files import hex_digest
from hparams import HParams

Fault = Literal["audio", "length", "transcript"]


@dataclass(frozen=True)
class TextMeasurements:
    """Measurements of a transcript: characters without spaces, symbols outside the set, and number of symbols."""

    n_characters: int
    unknown: tuple[str, ...]
    n_symbols: int


@dataclass(frozen=True)
class AudioMeasurements:
    """Measurements of a recording; `seconds` is its length after trimming, `content` a digest of its samples."""

    seconds: float
    edge_silence_seconds: float
    sampling_rate: int
    full_scale_share: float
    content: str
    speech_level_db: float | None  # of full scale


@dataclass(frozen=True)
class UtteranceMeasurements:
    """Measurements of one utterance; if it has a `fault` it cannot be trained on, for the `reason` given."""

    utterance: Utterance
    text: TextMeasurements
    audio: AudioMeasurements | None
    fault: Fault | None = None
    reason: str = ""


@dataclass(frozen=True)
class UsableUtterance:
    """Measurements of an utterance without a fault."""

    utterance: Utterance
    text: TextMeasurements
    audio: AudioMeasurements

    @property
    def characters_per_second(self) -> float:
        return self.text.n_characters / self.audio.seconds


def measure_utterance(
    utterance: Utterance, *, hparams: HParams, frontend: TextFrontend, cache: MelCache | None
) -> UtteranceMeasurements:
    """Read and measure one utterance; if there is a cache, add its mel to it."""
    text = _measure_text(utterance.text, frontend)
    try:
        recording = read_recording(utterance.audio_path)
    except UnusableAudio as error:
        return UtteranceMeasurements(utterance, text, None, "audio", str(error))
    audio = _measure_audio(recording, hparams)
    try:
        require_allowed_length(audio.seconds, hparams)
        if cache is not None:
            cache.add_recording(utterance, recording)
    except UnusableAudio as error:
        return UtteranceMeasurements(utterance, text, audio, "length", str(error))
    if text.n_symbols == 0:
        return UtteranceMeasurements(
            utterance, text, audio, "transcript", "its transcript holds nothing that can be spoken"
        )
    n_frames = 1 + int(audio.seconds * hparams.sampling_rate / hparams.hop_length)
    if reason := alignment_problem(text.n_symbols, n_frames, hparams):
        return UtteranceMeasurements(utterance, text, audio, "transcript", reason)
    return UtteranceMeasurements(utterance, text, audio)


def _measure_text(text: str, frontend: TextFrontend) -> TextMeasurements:
    characters = "".join(frontend.normalize(text).split())
    return TextMeasurements(len(characters), tuple(frontend.unknown(text)), n_symbols=len(frontend.encode(text)))


def _measure_audio(recording: Recording, hparams: HParams) -> AudioMeasurements:
    """Measure a recording at its own sampling rate."""
    rate = recording.sampling_rate
    start, end = loud_span(recording.wave, sampling_rate=rate, hparams=hparams)
    return AudioMeasurements(
        seconds=(end - start) / rate,
        edge_silence_seconds=max(start, len(recording.wave) - end) / rate,
        sampling_rate=rate,
        full_scale_share=recording.full_scale_share,
        content=hex_digest(recording.wave.tobytes()),
        speech_level_db=speech_level_db(recording.wave, rate),
    )
