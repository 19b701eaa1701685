"""Sound and picture files of the samples that evaluations decode."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitoring.journal.decoded_arrays import DecodedSample, read_decoded
from monitoring.journal.journal import Record
from monitoring.journal.journal_state import JournalState
from monitoring.journal.sample_writer import WORST
from monitoring.report.plots import attention_thumbnail, evaluation_picture, pixels, save_png


@dataclass(frozen=True)
class SampleVocoder:
    """Functions of the speech packages that turn mels into sound files."""

    vocode: Callable[[np.ndarray], np.ndarray]  # natural-log mel [n_mel, T] → samples in -1..1
    write_wave: Callable[[Path, np.ndarray], None]
    seconds_per_frame: Callable[[], float]


class SampleFiles:
    """Journal subscriber that writes, for a sample x: x.wav, x.png, x.attention.png and teacher-forced x.forced.wav."""

    def __init__(self, folder: Path, vocoder: SampleVocoder) -> None:
        self._folder, self._vocoder = folder, vocoder
        self._pending: list[Path] = []

    def on_record(self, record: Record, state: JournalState) -> None:
        if "spoken" in record:
            self._pending.append(self._folder / record["spoken"])

    def flush(self) -> None:
        while self._pending:
            self._write_evaluation(self._pending[0])
            self._pending.pop(0)

    def _write_evaluation(self, path: Path) -> None:
        if not path.exists():
            return  # an earlier process wrote the files and removed their source
        shutil.rmtree(self._folder / WORST, ignore_errors=True)
        for sample in read_decoded(path):
            self._write_sample(sample)
        path.unlink()

    def _write_sample(self, sample: DecodedSample) -> None:
        stem = self._folder / sample.file
        stem.parent.mkdir(exist_ok=True)
        self._write_sound(sample.free_mel, stem.with_name(f"{stem.name}.wav"))
        if sample.free_attention.size:
            save_png(attention_thumbnail(sample.free_attention), stem.with_name(f"{stem.name}.attention.png"))
        if sample.recorded is not None and sample.recorded_mel is not None:
            recorded = self._folder / f"{sample.recorded}.wav"
            recorded.parent.mkdir(exist_ok=True)
            if not recorded.exists():
                self._write_sound(sample.recorded_mel, recorded)
        if sample.file.startswith(WORST):
            return  # the report shows only sound and attention of these, and drawing the picture takes longest
        if sample.forced_mel is not None:
            self._write_sound(sample.forced_mel, stem.with_name(f"{stem.name}.forced.wav"))
        picture = pixels(evaluation_picture(sample, self._vocoder.seconds_per_frame()))
        save_png(picture, stem.with_name(f"{stem.name}.png"))

    def _write_sound(self, mel: np.ndarray, path: Path) -> None:
        """Write nothing if the mel or its sound is not finite."""
        if np.isfinite(mel).all() and np.isfinite(wave := self._vocoder.vocode(mel)).all():
            self._vocoder.write_wave(path, wave)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The files on disk are all the state there is."""

    def close(self) -> None:
        """Nothing is open."""
