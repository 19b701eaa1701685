"""Mels and attentions of the sentences decoded in one evaluation: one .npz file, the source of pictures and sound."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from files import write_atomically


@dataclass(frozen=True, kw_only=True)
class DecodedSample:
    """One decoded sentence: a held-out utterance, or one of the person's own, which has no recording.

    The field names are the keys in the file.
    """

    id: str
    sentence: str
    symbols: tuple[str, ...]  # one per token of the attention
    file: str  # path for its sound and picture, relative to the run's folder, without suffix
    recorded: str | None  # path for its recording, likewise
    free_attention: np.ndarray  # [decoder steps, tokens]
    free_mel: np.ndarray  # [n_mel, frames], natural log
    forced_mel: np.ndarray | None = None
    recorded_mel: np.ndarray | None = None

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.free_mel).all())


_TEXT_FIELDS = ("id", "sentence", "symbols", "file", "recorded")
_ARRAY_FIELDS = tuple(field.name for field in fields(DecodedSample) if field.name not in _TEXT_FIELDS)


def write_decoded(path: Path, samples: Sequence[DecodedSample]) -> None:
    """Write all samples of one evaluation: texts as JSON in `about`, arrays as `<field>-<index>` in float32."""
    about = json.dumps([{name: getattr(sample, name) for name in _TEXT_FIELDS} for sample in samples])
    arrays = {f"{name}-{i}": getattr(sample, name) for i, sample in enumerate(samples) for name in _ARRAY_FIELDS}
    content = io.BytesIO()
    np.savez(
        content,
        about=np.frombuffer(about.encode(), dtype=np.uint8),
        **{key: array.astype(np.float32) for key, array in arrays.items() if array is not None},
    )
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getvalue())


def read_decoded(path: Path) -> list[DecodedSample]:
    with np.load(path, allow_pickle=False) as content:
        arrays = dict(content)
    return [
        DecodedSample(
            **{**texts, "symbols": tuple(texts["symbols"])},
            **{name: arrays[key] for name in _ARRAY_FIELDS if (key := f"{name}-{i}") in arrays},
        )
        for i, texts in enumerate(json.loads(arrays["about"].tobytes()))
    ]
