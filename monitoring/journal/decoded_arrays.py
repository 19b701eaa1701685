"""What an evaluation leaves to be drawn and listened to: mels and attentions, before anyone makes pictures of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from files import write_atomically


@dataclass(frozen=True)
class DecodedSample:
    """One sentence; where it is not a held-out utterance, nobody ever recorded it, and there is no teacher."""

    id: str
    sentence: str
    symbols: tuple[str, ...]  # one per token of the attentions
    file: str  # of its sound and picture, without suffix, from the run's folder
    recorded: str | None  # of its recording, likewise
    free_attention: np.ndarray  # [decoder steps, tokens]
    free_mel: np.ndarray  # [n_mel, frames], natural log
    forced_mel: np.ndarray | None = None
    recorded_mel: np.ndarray | None = None

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.free_mel).all())


_TEXTS = ("id", "sentence", "symbols", "file", "recorded")
_ARRAYS = tuple(field.name for field in fields(DecodedSample) if field.name not in _TEXTS)


def write_decoded(path: Path, spoken: Sequence[DecodedSample]) -> None:
    """All sentences of one evaluation in one file."""
    about = json.dumps([{name: getattr(one, name) for name in _TEXTS} for one in spoken])
    arrays = {f"{name}-{i}": getattr(one, name) for i, one in enumerate(spoken) for name in _ARRAYS}
    content = io.BytesIO()
    np.savez(
        content,
        about=np.frombuffer(about.encode(), dtype=np.uint8),
        **{name: array.astype(np.float32) for name, array in arrays.items() if array is not None},
    )
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getvalue())


def read_decoded(path: Path) -> list[DecodedSample]:
    with np.load(path, allow_pickle=False) as content:
        arrays = dict(content)
    about = json.loads(arrays["about"].tobytes())
    return [
        DecodedSample(
            **{**one, "symbols": tuple(one["symbols"])},
            **{name: arrays[key] for name in _ARRAYS if (key := f"{name}-{i}") in arrays},
        )
        for i, one in enumerate(about)
    ]
