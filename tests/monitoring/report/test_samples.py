"""What was spoken becomes sound and pictures, once, in whatever shape the voice is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.journal.journal import read_journal
from monitoring.journal.run_state import JournalState
from monitoring.report.samples import SampleFiles, Voicing
from tests.monitoring.journals import RunFolder


def write_samples(path: Path, wave: np.ndarray) -> None:
    path.write_bytes(wave.astype("<f4").tobytes())


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def make(run: RunFolder, vocode: Any = lambda mel: mel.mean(0)) -> list[str]:
    """All samples of the journal; returns the files there are."""
    files = SampleFiles(run.path, Voicing(vocode, write_samples, seconds_per_frame=lambda: 0.01))
    for record in read_journal(run.path / "journal.jsonl"):
        files.on_record(record, JournalState("run"))
    files.flush()
    return sorted(str(path.relative_to(run.path / "samples")) for path in run.path.glob("samples/**/*.*"))


OF_THE_WORST = (".attention.png", ".wav")
SUFFIXES = (".attention.png", ".forced.wav", ".png", ".wav")


def test_an_evaluation_becomes_sound_and_pictures(run: RunFolder) -> None:
    run.evaluation(7, **run.spoken(7))
    names = [f"step-00000007-a{suffix}" for suffix in SUFFIXES] + [f"worst/a{suffix}" for suffix in OF_THE_WORST]
    assert make(run) == sorted([*names, "recorded/a.wav"])
    assert (run.path / "samples/step-00000007-a.png").read_bytes().startswith(b"\x89PNG")
    assert make(run) == sorted([*names, "recorded/a.wav"])  # a second time there is nothing to do


def test_only_the_worst_of_the_last_evaluation_are_kept(run: RunFolder) -> None:
    run.evaluation(7, **run.spoken(7))
    make(run)
    (run.path / "samples/worst/other.wav").touch()
    run.evaluation(9, **run.spoken(9))
    files = make(run)
    assert "worst/other.wav" not in files and "worst/a.wav" in files
    assert "step-00000007-a.wav" in files and "step-00000009-a.wav" in files


def test_a_mel_that_is_not_finite_leaves_a_picture_and_no_sound(run: RunFolder) -> None:
    run.evaluation(7, **run.spoken(7, forced_mel=np.full((8, 30), np.nan)))
    assert "step-00000007-a.forced.wav" not in make(run)
    assert "step-00000007-a.wav" in make(run)


def test_a_sound_that_is_not_finite_is_not_written(run: RunFolder) -> None:
    run.evaluation(7, **run.spoken(7))
    assert all(path.endswith(".png") for path in make(run, lambda mel: np.full(10, np.inf)))


def test_a_sentence_of_ones_own_has_neither_teacher_nor_recording(run: RunFolder) -> None:
    run.evaluation(7, **run.spoken(7, forced_mel=None, recorded_mel=None, recorded=None))
    assert make(run) == [
        *(f"step-00000007-a.{kind}" for kind in ("attention.png", "png", "wav")),
        *(f"worst/a{suffix}" for suffix in OF_THE_WORST),
    ]


def test_an_evaluation_that_left_nothing_makes_nothing(run: RunFolder) -> None:
    run.evaluation(7)
    assert make(run) == []
