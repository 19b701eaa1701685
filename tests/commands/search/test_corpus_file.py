"""The corpus of a study is prepared once: its workers read the prepared examples from a file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from commands import tune
from commands.options import TrainOptions
from commands.run.corpus import PreparedCorpus, prepare_corpus
from commands.search.corpus_file import read_corpus_file, write_corpus_file
from commands.search.worker_pool import WorkerPool
from hparams import HParams
from smart_tuner.search.trials import finished_trials
from tests.commands.search.studies import study_in
from tests.commands.search.studies import tune as run_study
from tests.support.program import Program


@pytest.fixture
def recordings(data: Path, tmp_path: Path) -> Path:
    """Copy of the corpus that a test may delete."""
    return Path(shutil.copytree(data, tmp_path / "recordings"))


def prepare(recordings: Path, output: Path, hparams: HParams) -> PreparedCorpus:
    return prepare_corpus(TrainOptions(data=str(recordings), output=output), hparams, Console(quiet=True))


@pytest.mark.parametrize("speakers", [0, 2])
def test_the_file_holds_all_that_training_needs(recordings: Path, tmp_path: Path, speakers: int) -> None:
    hparams = HParams(text_frontend="graphemes")
    if speakers:
        rows = (recordings / "metadata.csv").read_text().splitlines()
        rows = [f"wavs/{row.split('|')[0]}.wav|{row.split('|')[1]}|{'ab'[i % 2]}" for i, row in enumerate(rows)]
        (recordings / "metadata.csv").write_text("\n".join(["path|text|speaker", *rows]) + "\n")
        hparams = HParams(text_frontend="graphemes", model="glow_tts", num_speakers=2)
    prepared = prepare(recordings, tmp_path, hparams)
    write_corpus_file(tmp_path / "corpus.json", prepared)
    shutil.rmtree(recordings)
    loaded = read_corpus_file(tmp_path / "corpus.json", hparams, tmp_path)
    assert (loaded.name, loaded.identity, loaded.skipped) == (prepared.name, prepared.identity, prepared.skipped)
    assert loaded.hparams == prepared.hparams and len(loaded.hparams.speakers) == speakers
    for expected, example in zip(prepared.train, loaded.train, strict=True):
        assert (example.utterance, example.symbol_ids) == (expected.utterance, expected.symbol_ids)
        assert example.inputs == expected.inputs
        assert np.array_equal(loaded.cache.mel(example.utterance), prepared.cache.mel(expected.utterance))


def test_two_workers_train_without_reading_the_corpus(
    program: Program, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent prepares the corpus, which is deleted before the workers start."""
    reads: list[str] = []

    def counted(*arguments: Any) -> PreparedCorpus:
        reads.append("corpus")
        return prepare_corpus(*arguments)

    class PoolWithoutCorpus(WorkerPool):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            shutil.rmtree(recordings)
            super().__init__(*arguments, **options)

    monkeypatch.setattr("commands.search.study_setup.prepare_corpus", counted)
    monkeypatch.setattr(tune, "WorkerPool", PoolWithoutCorpus)
    outcome = run_study(program, recordings, "--workers", 2, n_trials=2)
    assert outcome.code == 0, outcome.err
    assert reads == ["corpus"]
    assert len(finished_trials(study_in(program.output))) == 2
