"""Recordings to waves, waves to log-mels: the only STFT in the repository."""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from corpus.audio.torchaudio_compat import torchaudio_module
from files import atomic_replacement
from hparams import HParams

SILENCE_PEAK = 4 / 32768  # a few steps of a 16-bit converter: dither, not speech
FULL_SCALE = 127 / 128  # the loudest positive sample of an 8-bit file
SIZE_UNKNOWN_BYTES = 2**31 - 2**16  # what programs promise that write a WAV to a pipe
TOLERATED_SHORTFALL_SECONDS = 0.1  # headers of MP3 files are wrong by a frame or two
LARGEST_RESAMPLING_RATIO_PART = 1000  # keeps the filter bank small for rates such as 22,051 Hz (pitch within 0.05 %)


class UnusableAudio(Exception):
    """A recording that cannot be trained on; the message is the reason, for a person."""


@dataclass(frozen=True)
class Recording:
    """What one audio file holds: mono float32 samples at the file's own rate."""

    wave: np.ndarray
    sampling_rate: int
    full_scale_share: float

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.wave) / self.sampling_rate


def read_audio(path: Path, sampling_rate: int) -> np.ndarray:
    """Return the recording as mono float32 samples in [-1, 1] at `sampling_rate` Hz."""
    recording = read_recording(path)
    return resample(recording.wave, source_rate=recording.sampling_rate, target_rate=sampling_rate)


def read_recording(path: Path) -> Recording:
    """Read any file that libsndfile knows, or raise `UnusableAudio` with the reason."""
    import soundfile

    if not path.is_file():
        raise UnusableAudio("there is no such file")
    try:
        with soundfile.SoundFile(path) as file:
            promised_frames = _promised_frames(file.extra_info, file.frames)
            samples = file.read(dtype="float32", always_2d=True)
            sampling_rate = file.samplerate
    except (OSError, soundfile.LibsndfileError, TypeError) as error:  # TypeError: a .raw file does not name its format
        reason = str(error).removeprefix(f"Error opening {str(path)!r}: ").rstrip(".")
        raise UnusableAudio(f"not readable as audio ({reason})") from error
    if promised_frames - len(samples) > TOLERATED_SHORTFALL_SECONDS * sampling_rate:
        present, promised = len(samples) / sampling_rate, promised_frames / sampling_rate
        raise UnusableAudio(f"truncated: the header promises {promised:.2f} s, the file holds {present:.2f} s")
    return _checked(samples, sampling_rate)


def _promised_frames(extra_info: str, frames: int) -> int:
    """How many frames the header promises, by libsndfile's log of opening the file; `frames` are what it found."""
    match = re.search(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", extra_info, re.MULTILINE)
    if match is None:
        return frames
    promised_bytes, present_bytes = int(match[1]), int(match[2])
    if promised_bytes >= SIZE_UNKNOWN_BYTES:
        return frames
    return frames * promised_bytes // max(present_bytes, 1)


def _checked(samples: np.ndarray, sampling_rate: int) -> Recording:
    """Mix float32 `samples` [frames, channels] down to mono, unless nothing in them can be used."""
    if len(samples) == 0:
        raise UnusableAudio("empty: it holds no samples")
    if not np.isfinite(samples).all():
        raise UnusableAudio("some samples are NaN or infinite")
    wave = samples.mean(axis=1, dtype=np.float32)
    if np.abs(wave - wave.mean()).max() <= SILENCE_PEAK:
        raise UnusableAudio("nothing but silence")
    full_scale_share = float(np.mean(np.abs(samples) >= FULL_SCALE))
    return Recording(_within_full_scale(wave), sampling_rate, full_scale_share)


def _within_full_scale(wave: np.ndarray) -> np.ndarray:
    """Scale a wave whose peak is beyond 1 back to 1; leave any other alone."""
    return wave / max(1.0, float(np.abs(wave).max()))


def resample(wave: np.ndarray, *, source_rate: int, target_rate: int) -> np.ndarray:
    """Change the sampling rate (Hz) of float32 [samples] with a long Kaiser-windowed sinc."""
    ratio = Fraction(source_rate, target_rate).limit_denominator(LARGEST_RESAMPLING_RATIO_PART)
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
    """Cut quiet edges of float32 [samples]; frames within `trim_db` of the loudest and a margin around them stay."""
    start, end = loud_span(wave, sampling_rate=hparams.sampling_rate, hparams=hparams)
    return wave[start:end]


def loud_span(wave: np.ndarray, *, sampling_rate: int, hparams: HParams) -> tuple[int, int]:
    """Where speech starts and ends in [samples] at `sampling_rate` Hz, margins included."""
    frame = max(1, round(hparams.hop_length * sampling_rate / hparams.sampling_rate))
    edges = np.arange(0, len(wave), frame)
    offset = wave.mean(dtype=np.float64).astype(np.float32)
    energy = np.add.reduceat(np.square(wave - offset, dtype=np.float32), edges)
    power = energy / np.minimum(frame, len(wave) - edges)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-hparams.trim_db / 10))
    margin = round(hparams.trim_margin_seconds * sampling_rate)
    return max(0, int(loud[0]) * frame - margin), min(len(wave), int(loud[-1] + 1) * frame + margin)


class MelFrontend:
    """Waves to natural-log mels, as the reference Tacotron 2 computes them."""

    def __init__(self, hparams: HParams) -> None:
        self._hparams = hparams
        self.basis = mel_basis(hparams)

    def mel(self, wave: Tensor) -> Tensor:
        """Return [n_mel_channels, 1 + n // hop_length] natural-log mels of float32 `wave` [n]."""
        if len(wave) <= self._hparams.filter_length // 2:
            raise UnusableAudio(f"{len(wave)} samples are too few for a mel")
        magnitudes = stft(wave, self._hparams).abs()
        return (self.basis.to(wave.device) @ magnitudes).clamp(min=self._hparams.mel_floor).log()


def stft(wave: Tensor, hparams: HParams) -> Tensor:
    """Return the complex spectrum [filter_length // 2 + 1, 1 + n // hop_length] of a wave [n]."""
    return torch.stft(
        wave,
        n_fft=hparams.filter_length,
        hop_length=hparams.hop_length,
        win_length=hparams.win_length,
        window=torch.hann_window(hparams.win_length, device=wave.device),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )


@dataclass(frozen=True)
class _BasisSettings:
    """What a mel filter bank depends on."""

    sampling_rate: int
    filter_length: int
    n_mel_channels: int
    mel_fmin: float
    mel_fmax: float

    @classmethod
    def of(cls, hparams: HParams) -> _BasisSettings:
        """Take the filter bank's part of the settings."""
        return cls(
            sampling_rate=hparams.sampling_rate,
            filter_length=hparams.filter_length,
            n_mel_channels=hparams.n_mel_channels,
            mel_fmin=hparams.mel_fmin,
            mel_fmax=hparams.mel_fmax,
        )


def mel_basis(hparams: HParams) -> Tensor:
    """Return the Slaney filter bank [n_mel_channels, filter_length // 2 + 1]."""
    return _mel_basis(_BasisSettings.of(hparams))


@functools.lru_cache(maxsize=4)
def _mel_basis(settings: _BasisSettings) -> Tensor:
    bank = torchaudio_module().functional.melscale_fbanks(
        n_freqs=settings.filter_length // 2 + 1,
        f_min=settings.mel_fmin,
        f_max=settings.mel_fmax,
        n_mels=settings.n_mel_channels,
        sample_rate=settings.sampling_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return bank.T.contiguous()


def write_wave(path: Path, wave: Tensor | np.ndarray, sampling_rate: int) -> None:
    """Write [samples] as a 16-bit WAV file in one step; a peak beyond 1 is scaled down to it, not clipped."""
    import soundfile

    samples = torch.as_tensor(wave).detach().cpu().float().numpy()
    if not np.isfinite(samples).all():
        raise ValueError(f"{path.name}: a wave of finite samples was expected, this one has NaN or infinite ones")
    content = io.BytesIO()  # libsndfile would call a full disk just "System error"
    soundfile.write(content, _within_full_scale(samples), sampling_rate, format="WAV", subtype="PCM_16")
    with atomic_replacement(path) as temporary:
        temporary.write_bytes(content.getbuffer())
