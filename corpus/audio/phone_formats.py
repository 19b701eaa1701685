"""Door to PyAV, which decodes what phones and browsers record: m4a, aac, mp4, webm and others."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hparams import UserError

PHONE_ENDINGS = "m4a aac mp4 webm 3gp amr wma mka"
PHONE_SUFFIXES = frozenset(f".{ending}" for ending in PHONE_ENDINGS.split())
INSTALL_COMMAND = "pip install -r requirements-phone.txt"
CONTAINERS_WITH_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Names in FFmpeg; for other files it estimates the length from the bit rate."""
MAX_DELAY_SECONDS = 0.2
"""Samples at the beginning that an encoder adds and a decoder may cut; a stated length may include them."""


class UndecodableAudio(Exception):
    """A file that PyAV cannot decode; the message is the reason."""


def needs_pyav(path: Path) -> bool:
    return path.suffix.lower() in PHONE_SUFFIXES


def require_pyav(paths: Iterable[Path]) -> None:
    """Raise `UserError` if any of these recordings needs PyAV and it is not installed."""
    needing = [path for path in paths if needs_pyav(path)]
    if needing and importlib.util.find_spec("av") is None:
        endings = ", ".join(sorted({path.suffix.lower() for path in needing}))
        raise UserError(f"reading {len(needing)} recordings ({endings}) needs PyAV: {INSTALL_COMMAND}")


def decode(path: Path) -> tuple[np.ndarray, int, float | None]:
    """Return float32 samples [frames, channels], the sampling rate in Hz, and the least stated length in seconds."""
    import av

    blocks = []
    try:
        with av.open(str(path)) as file:
            if not file.streams.audio:
                raise UndecodableAudio("it has no sound")
            stream = file.streams.audio[0]
            duration, unit, seconds = stream.duration, stream.time_base, None
            if file.format.name in CONTAINERS_WITH_LENGTH and duration is not None and unit is not None:
                seconds = float(duration * unit) - MAX_DELAY_SECONDS
            rate = stream.rate
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in file.decode(stream):
                blocks += [block.to_ndarray() for block in resampler.resample(frame)]
            blocks += [block.to_ndarray() for block in resampler.resample(None)]
    except av.FFmpegError as error:
        raise UndecodableAudio(error.strerror) from error
    samples = np.concatenate(blocks, axis=1).T if blocks else np.zeros((0, 1), np.float32)
    return np.ascontiguousarray(samples), rate, seconds
