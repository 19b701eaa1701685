"""Recordings: reading, resampling, trimming and writing of audio files."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from corpus.audio.phone_formats import UndecodableAudio, decode, needs_pyav
from corpus.audio.torchaudio_compat import torchaudio_module
from files import atomic_replacement
from hparams import HParams

SILENCE_PEAK = 4 / 32768  # a few steps of a 16-bit converter: dither, not speech
FULL_SCALE = 127 / 128  # the loudest positive sample of an 8-bit file
UNKNOWN_SIZE_BYTES = 2**31 - 2**16  # a header with this size or more was written to a pipe, before the size was known
MAX_SHORTFALL_SECONDS = 0.1  # headers of MP3 files are wrong by a frame or two
MAX_RESAMPLING_DENOMINATOR = 1000  # keeps the filter bank small for rates such as 22,051 Hz (pitch within 0.05 %)


class UnusableAudio(Exception):
    """A recording that cannot be trained on; the message is the reason, shown to the user."""


@dataclass(frozen=True)
class Recording:
    """Mono float32 samples of an audio file, at the file's own sampling rate in Hz."""

    wave: np.ndarray
    sampling_rate: int
    full_scale_share: float

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.sampling_rate


def read_audio(path: Path, sampling_rate: int) -> np.ndarray:
    """Return a recording as mono float32 samples in [-1, 1] at `sampling_rate` Hz."""
    recording = read_recording(path)
    return resample(recording.wave, source_rate=recording.sampling_rate, target_rate=sampling_rate)


def read_recording(path: Path) -> Recording:
    """Read any file that libsndfile or PyAV can decode, or raise `UnusableAudio` with the reason."""
    if not path.is_file():
        raise UnusableAudio("there is no such file")
    samples, sampling_rate, stated_seconds = _decode_with_pyav(path) if needs_pyav(path) else _read_sound_file(path)
    present_seconds = len(samples) / sampling_rate
    if stated_seconds - present_seconds > MAX_SHORTFALL_SECONDS:
        raise UnusableAudio(
            f"truncated: the header states {stated_seconds:.2f} s, the file has {present_seconds:.2f} s"
        )
    return _mix_to_mono(samples, sampling_rate)


def _decode_with_pyav(path: Path) -> tuple[np.ndarray, int, float]:
    try:
        samples, sampling_rate, stated_seconds = decode(path)
    except UndecodableAudio as error:
        raise UnusableAudio(f"not readable as audio ({error})") from error
    return samples, sampling_rate, stated_seconds or 0.0


def _read_sound_file(path: Path) -> tuple[np.ndarray, int, float]:
    """Samples [frames, channels], their rate in Hz, and the seconds that the header states."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            stated_frames = _frames_in_header(file.extra_info, file.frames)
            samples = file.read(dtype="float32", always_2d=True)
            sampling_rate = file.samplerate
    except (OSError, soundfile.LibsndfileError, TypeError) as error:  # TypeError: a .raw file does not name its format
        reason = str(error).removeprefix(f"Error opening {str(path)!r}: ").rstrip(".")
        raise UnusableAudio(f"not readable as audio ({reason})") from error
    return samples, sampling_rate, stated_frames / sampling_rate


def _frames_in_header(extra_info: str, frames: int) -> int:
    """Return the number of frames that the header states; libsndfile's log has it where it differs from `frames`."""
    match = re.search(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", extra_info, re.MULTILINE)
    if match is None:
        return frames
    stated_bytes, present_bytes = int(match[1]), int(match[2])
    if stated_bytes >= UNKNOWN_SIZE_BYTES:
        return frames
    return frames * stated_bytes // max(present_bytes, 1)


def _mix_to_mono(samples: np.ndarray, sampling_rate: int) -> Recording:
    """Average the channels of float32 `samples` [frames, channels]; refuse empty, non-finite and silent samples."""
    if len(samples) == 0:
        raise UnusableAudio("empty: it has no samples")
    if not np.isfinite(samples).all():
        raise UnusableAudio("some samples are NaN or infinite")
    wave = samples.mean(axis=1, dtype=np.float32)
    if np.abs(wave - wave.mean()).max() <= SILENCE_PEAK:
        raise UnusableAudio("nothing but silence")
    full_scale_share = float(np.mean(np.abs(samples) >= FULL_SCALE))
    return Recording(_limit_peak(wave), sampling_rate, full_scale_share)


def _limit_peak(wave: np.ndarray) -> np.ndarray:
    """Scale a wave whose peak is above 1 down to 1."""
    return wave / max(1.0, float(np.abs(wave).max()))


def resample(wave: np.ndarray, *, source_rate: int, target_rate: int) -> np.ndarray:
    """Change the sampling rate (Hz) of float32 [samples] with a long Kaiser-windowed sinc."""
    ratio = Fraction(source_rate, target_rate).limit_denominator(MAX_RESAMPLING_DENOMINATOR)
    if ratio == 1:
        return wave
    resampled = torchaudio_module().functional.resample(
        torch.from_numpy(wave),
        ratio.numerator,
        ratio.denominator,
        lowpass_filter_width=32,
        rolloff=0.95,
        resampling_method="sinc_interp_kaiser",
        beta=14.77,
    )
    return resampled.numpy()


def trim(wave: np.ndarray, hparams: HParams) -> np.ndarray:
    """Cut quiet edges off float32 [samples]; see `loud_span`."""
    start, end = loud_span(wave, sampling_rate=hparams.sampling_rate, hparams=hparams)
    return wave[start:end]


def loud_span(wave: np.ndarray, *, sampling_rate: int, hparams: HParams) -> tuple[int, int]:
    """Return start and end (samples) of the frames within `trim_db` of the loudest one, with a margin around them."""
    frame = max(1, round(hparams.hop_length * sampling_rate / hparams.sampling_rate))
    edges = np.arange(0, len(wave), frame)
    offset = wave.mean(dtype=np.float64).astype(np.float32)
    energy = np.add.reduceat(np.square(wave - offset, dtype=np.float32), edges)
    power = energy / np.minimum(frame, len(wave) - edges)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-hparams.trim_db / 10))
    margin = round(hparams.trim_margin_seconds * sampling_rate)
    return max(0, int(loud[0]) * frame - margin), min(len(wave), int(loud[-1] + 1) * frame + margin)


def write_wave(path: Path, wave: Tensor | np.ndarray, sampling_rate: int) -> None:
    """Write [samples] as a 16-bit WAV file atomically; a peak above 1 is scaled down to 1, not clipped."""
    import soundfile

    samples = torch.as_tensor(wave).detach().cpu().float().numpy()
    if not np.isfinite(samples).all():
        raise ValueError(f"{path.name}: expected finite samples, got NaN or infinite ones")
    content = io.BytesIO()  # libsndfile would report a full disk as "System error"
    soundfile.write(content, _limit_peak(samples), sampling_rate, format="WAV", subtype="PCM_16")
    with atomic_replacement(path) as temporary:
        temporary.write_bytes(content.getbuffer())
