from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus.alignment import AlignedUtterance, FlatStartAligner, equal_durations, mean_move
from corpus.alignment_cache import align_examples
from corpus.batches import Example
from corpus.demo.demo_corpus import make_demo_corpus, timings_path
from corpus.mel_cache import MelCache
from corpus.text.frontend import text_frontend
from corpus.timings import read_timings
from corpus.utterances import read_corpus
from hparams import HParams, build_hparams

N_SYMBOLS, N_MEL = 6, 20


def spoken(
    rng: np.random.Generator, speaker: str | None = None, gain: float = 0.0
) -> tuple[AlignedUtterance, np.ndarray]:
    """A sequence of symbols with random durations; each symbol has its own spectrum."""
    ids = rng.integers(1, N_SYMBOLS, 12)
    durations = rng.integers(1, 20, 12)
    spectra = np.random.default_rng(0).normal(0, 2, (N_SYMBOLS, N_MEL))
    mel = spectra[np.repeat(ids, durations)].T + rng.normal(0, 0.5, (N_MEL, durations.sum())) + gain
    return AlignedUtterance(mel, ids, speaker), durations


@pytest.mark.parametrize("speakers", [(None,), ("quiet", "loud")])
def test_durations_of_clear_symbols_are_found_from_equal_ones(speakers: tuple[str | None, ...]) -> None:
    rng = np.random.default_rng(1)
    pairs = [spoken(rng, s, gain=0.0 if s != "loud" else 4.0) for _ in range(60) for s in speakers]
    aligner = FlatStartAligner(N_SYMBOLS)
    aligner.fit([utterance for utterance, _ in pairs])
    found = [aligner.align(utterance) for utterance, _ in pairs]
    true = [durations for _, durations in pairs]
    equal = [equal_durations(len(d), int(d.sum())) for d in true]
    assert mean_move(found, true) < 2 < 5 < mean_move(equal, true)
    assert all(f.min() >= 1 and f.sum() == t.sum() for f, t in zip(found, true, strict=True))


def test_progress_is_reported() -> None:
    reported: list[tuple[int, int]] = []
    utterances = [spoken(np.random.default_rng(i))[0] for i in range(5)]
    FlatStartAligner(N_SYMBOLS).fit(utterances, lambda done, total: reported.append((done, total)))
    assert reported[0] == (1, 12) and [done for done, _ in reported] == list(range(1, len(reported) + 1))


def test_an_utterance_with_fewer_frames_than_symbols_gets_equal_durations() -> None:
    aligner = FlatStartAligner(N_SYMBOLS)
    aligner.fit([spoken(np.random.default_rng(0))[0]])
    short = AlignedUtterance(np.zeros((N_MEL, 3)), np.array([1, 2, 3, 4]))
    assert aligner.align(short).sum() == 3 and len(aligner.align(short)) == 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Example], MelCache, HParams]:
    folder = tmp_path_factory.mktemp("demo")
    hparams = build_hparams({"text_frontend": "phonemes"})
    frontend, cache = text_frontend(hparams), MelCache(folder / "mels", hparams)
    utterances = read_corpus(str(make_demo_corpus(folder, "en-us", 60)), "filelist").utterances[:60]
    return [Example(u, tuple(frontend.encode(u.text)), cache.n_frames(u)) for u in utterances], cache, hparams


def test_words_of_real_phonemes_start_where_espeak_ng_says_they_start(
    corpus: tuple[list[Example], MelCache, HParams], tmp_path: Path
) -> None:
    examples, cache, hparams = corpus
    symbols = text_frontend(hparams).symbols
    aligned = align_examples(examples, cache, tmp_path, n_symbols=len(symbols))
    frame_seconds, errors = hparams.hop_length / hparams.sampling_rate, []
    for example in aligned:
        assert example.durations is not None and example.durations.sum() == example.n_frames
        starts = [0, *(i + 1 for i, id_ in enumerate(example.symbol_ids) if symbols[id_] == " ")]
        words = read_timings(timings_path(example.utterance.audio_path)).words
        if len(words) == len(starts):  # espeak-ng joins some words
            found = (np.cumsum(example.durations) - example.durations)[starts] * frame_seconds
            true = np.array([word.start_seconds for word in words])
            errors += list(np.abs((found - found[0]) - (true - true[0]))[1:])
    assert len(errors) > 100 and np.median(errors) < 0.05


def test_alignments_are_stored_and_a_damaged_file_is_made_again(
    corpus: tuple[list[Example], MelCache, HParams], tmp_path: Path
) -> None:
    examples, cache, _ = corpus

    def durations() -> list[list[int]]:
        aligned = align_examples(examples, cache, tmp_path, n_symbols=300, progress=lambda *_: calls.append(1))
        return [list(e.durations) for e in aligned if e.durations is not None]

    calls: list[int] = []
    first, computed = durations(), len(calls)
    assert durations() == first and len(calls) == computed > 0
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:50])
    assert durations() == first and len(calls) == 2 * computed


def test_other_transcripts_get_other_alignments(
    corpus: tuple[list[Example], MelCache, HParams], tmp_path: Path
) -> None:
    examples, cache, _ = corpus
    align_examples(examples, cache, tmp_path, n_symbols=300)
    align_examples(examples[:-1], cache, tmp_path, n_symbols=300)
    assert len(list(tmp_path.glob("*.npz"))) == 2
