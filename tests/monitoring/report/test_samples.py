"""Samples: each evaluation's decoded arrays become sound and picture files once, however broken the voice is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.journal.journal import read_journal
from monitoring.journal.journal_state import JournalState
from monitoring.report.samples import SampleFiles, SampleVocoder
from tests.monitoring.journals import RunFolder


def write_samples(path: Path, wave: np.ndarray) -> None:
    path.write_bytes(wave.astype("<f4").tobytes())


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def write_files(run: RunFolder, vocode: Any = lambda mel: mel.mean(0)) -> list[str]:
    """Write the sample files of all evaluations in the journal; return the paths of all sample files."""
    files = SampleFiles(run.path, SampleVocoder(vocode, write_samples, seconds_per_frame=lambda: 0.01))
    for record in read_journal(run.path / "journal.jsonl"):
        files.on_record(record, JournalState("run"))
    files.flush()
    return sorted(str(path.relative_to(run.path / "samples")) for path in run.path.glob("samples/**/*.*"))


WORST_SUFFIXES = (".attention.png", ".wav")
SUFFIXES = (".attention.png", ".forced.wav", ".png", ".wav")


def test_an_evaluation_becomes_sound_and_picture_files(run: RunFolder) -> None:
    run.evaluation(7, **run.write_samples(7))
    names = [f"step-00000007-a{suffix}" for suffix in SUFFIXES] + [f"worst/a{suffix}" for suffix in WORST_SUFFIXES]
    assert write_files(run) == sorted([*names, "recorded/a.wav"])
    assert (run.path / "samples/step-00000007-a.png").read_bytes().startswith(b"\x89PNG")
    assert write_files(run) == sorted([*names, "recorded/a.wav"])  # the second time nothing is left to do


def test_only_the_worst_samples_of_the_last_evaluation_are_kept(run: RunFolder) -> None:
    run.evaluation(7, **run.write_samples(7))
    write_files(run)
    (run.path / "samples/worst/other.wav").touch()
    run.evaluation(9, **run.write_samples(9))
    files = write_files(run)
    assert "worst/other.wav" not in files and "worst/a.wav" in files
    assert "step-00000007-a.wav" in files and "step-00000009-a.wav" in files


def test_a_non_finite_mel_has_a_picture_and_no_sound(run: RunFolder) -> None:
    run.evaluation(7, **run.write_samples(7, forced_mel=np.full((8, 30), np.nan)))
    assert "step-00000007-a.forced.wav" not in write_files(run)
    assert "step-00000007-a.wav" in write_files(run)


def test_a_non_finite_sound_is_not_written(run: RunFolder) -> None:
    run.evaluation(7, **run.write_samples(7))
    assert all(path.endswith(".png") for path in write_files(run, lambda mel: np.full(10, np.inf)))


def test_a_persons_own_sentence_has_neither_teacher_forcing_nor_recording(run: RunFolder) -> None:
    run.evaluation(7, **run.write_samples(7, forced_mel=None, recorded_mel=None, recorded=None))
    assert write_files(run) == [
        *(f"step-00000007-a.{kind}" for kind in ("attention.png", "png", "wav")),
        *(f"worst/a{suffix}" for suffix in WORST_SUFFIXES),
    ]


def test_an_evaluation_without_samples_writes_no_files(run: RunFolder) -> None:
    run.evaluation(7)
    assert write_files(run) == []
