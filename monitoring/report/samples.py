"""Sound and pictures of every evaluation, made of what it left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitoring.journal.decoded_arrays import DecodedSample, read_decoded
from monitoring.journal.journal import Record
from monitoring.journal.run_state import JournalState
from monitoring.journal.sample_writer import WORST
from monitoring.report.plots import attention_thumbnail, evaluation_picture, pixels, save_png


@dataclass(frozen=True)
class Voicing:
    """How mels become sound."""

    vocode: Callable[[np.ndarray], np.ndarray]  # natural-log mel [n_mel, T] → samples in -1..1
    write_wave: Callable[[Path, np.ndarray], None]
    seconds_per_frame: Callable[[], float]


class SampleFiles:
    """Turns what was spoken into files: x.wav, x.png, x.attention.png and, with a teacher, x.forced.wav."""

    def __init__(self, folder: Path, voicing: Voicing) -> None:
        self._folder, self._voicing = folder, voicing
        self._left: list[Path] = []

    def on_record(self, record: Record, state: JournalState) -> None:
        if "spoken" in record:
            self._left.append(self._folder / record["spoken"])

    def flush(self) -> None:
        while self._left:
            self._make_all(self._left[0])
            self._left.pop(0)

    def _make_all(self, path: Path) -> None:
        if not path.exists():
            return  # they were made before
        shutil.rmtree(self._folder / WORST, ignore_errors=True)
        for spoken in read_decoded(path):
            self._make(spoken)
        path.unlink()

    def _make(self, spoken: DecodedSample) -> None:
        stem = self._folder / spoken.file
        stem.parent.mkdir(exist_ok=True)
        self._voice(spoken.free_mel, stem.with_name(f"{stem.name}.wav"))
        if spoken.free_attention.size:
            save_png(attention_thumbnail(spoken.free_attention), stem.with_name(f"{stem.name}.attention.png"))
        if spoken.recorded is not None and spoken.recorded_mel is not None:
            recorded = self._folder / f"{spoken.recorded}.wav"
            recorded.parent.mkdir(exist_ok=True)
            if not recorded.exists():
                self._voice(spoken.recorded_mel, recorded)
        if spoken.file.startswith(WORST):
            return  # they are listened to, and drawing takes longest
        if spoken.forced_mel is not None:
            self._voice(spoken.forced_mel, stem.with_name(f"{stem.name}.forced.wav"))
        picture = pixels(evaluation_picture(spoken, self._voicing.seconds_per_frame()))
        save_png(picture, stem.with_name(f"{stem.name}.png"))

    def _voice(self, mel: np.ndarray, path: Path) -> None:
        """A mel that no sound can be made of leaves none."""
        if np.isfinite(mel).all() and np.isfinite(wave := self._voicing.vocode(mel)).all():
            self._voicing.write_wave(path, wave)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """It needs to know nothing."""

    def close(self) -> None:
        """Nothing is open."""
