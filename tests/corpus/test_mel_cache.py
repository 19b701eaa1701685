from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from corpus import mel_cache
from corpus.audio.mel import MelFrontend
from corpus.audio.recording import UnusableAudio, read_audio, read_recording, trim
from corpus.mel_cache import MelCache
from corpus.utterances import SkippedEntry, Utterance
from files import ChecksummedIndex
from hparams import HParams, UserError
from tests.support.threads import computing_threads

RATE = 22050


def recording(path: Path, *, hertz: float = 300.0, seconds: float = 0.5, rate: int = RATE) -> Utterance:
    wave = 0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    soundfile.write(path, wave, rate)
    return Utterance(path.stem, path, "text")


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail if a recording is read from now on."""

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(mel_cache, "read_recording", refuse)


def mel_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npy"))


def test_a_mel_is_that_of_the_trimmed_resampled_recording(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(size=16000) * 0.1
    soundfile.write(tmp_path / "a.wav", np.concatenate([np.zeros(8000), wave, np.zeros(16000)]), 16000)
    utterance = Utterance("a", tmp_path / "a.wav", "text")
    hparams = HParams()
    mel = MelCache(tmp_path / "cache", hparams).mel(utterance)
    trimmed = trim(read_audio(utterance.audio_path, RATE), hparams)
    np.testing.assert_array_equal(mel, MelFrontend(hparams).mel(torch.from_numpy(trimmed)).numpy())
    assert mel.dtype == np.float32 and mel.shape == (80, pytest.approx(1.1 * RATE / 256, abs=3))


def test_a_second_start_reads_no_recording(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    utterance = recording(tmp_path / "a.wav")
    first = MelCache(tmp_path / "cache", HParams()).mel(utterance)
    request.getfixturevalue("no_reading")
    again = MelCache(tmp_path / "cache", HParams())
    np.testing.assert_array_equal(again.mel(utterance), first)
    assert again.n_frames(utterance) == first.shape[1]


def test_a_moved_recording_is_found_by_its_content(tmp_path: Path) -> None:
    utterance = recording(tmp_path / "a.wav")
    cache = MelCache(tmp_path / "cache", HParams())
    cache.mel(utterance)
    cache.mel(Utterance("b", utterance.audio_path.rename(tmp_path / "b.wav"), "text"))
    assert len(mel_files(tmp_path / "cache")) == 1


def test_a_changed_recording_gives_a_new_mel(tmp_path: Path) -> None:
    cache = MelCache(tmp_path / "cache", HParams())
    before = cache.mel(recording(tmp_path / "a.wav", hertz=300))
    changed = recording(tmp_path / "a.wav", hertz=900)
    os.utime(changed.audio_path, ns=(0, 0))
    assert not np.array_equal(MelCache(tmp_path / "cache", HParams()).mel(changed), before)


def test_a_mel_stays_available_when_its_recording_is_removed(tmp_path: Path) -> None:
    cache, utterance = MelCache(tmp_path / "cache", HParams()), recording(tmp_path / "a.wav", hertz=300)
    before = cache.mel(utterance)
    utterance.audio_path.unlink()
    assert np.array_equal(cache.mel(utterance), before)


@pytest.mark.parametrize("name", mel_cache.MEL_SETTINGS)
def test_each_audio_setting_changes_the_key_of_the_mel(tmp_path: Path, name: str) -> None:
    other = {"hop_length": 200, "filter_length": 2048, "sampling_rate": 24000}.get(name)
    value = other or type(getattr(HParams(), name))(getattr(HParams(), name) * 0.5 or 50.0)
    utterance = recording(tmp_path / "a.wav")
    for hparams in (HParams(), HParams(**{name: value})):
        MelCache(tmp_path / "cache", hparams).mel(utterance)
    assert len(mel_files(tmp_path / "cache")) == 2


def test_other_settings_do_not_change_the_key(tmp_path: Path) -> None:
    utterance = recording(tmp_path / "a.wav")
    for hparams in (HParams(), HParams(batch_size=4, max_utterance_seconds=5.0)):
        MelCache(tmp_path / "cache", hparams).mel(utterance)
    assert len(mel_files(tmp_path / "cache")) == 1


@pytest.mark.parametrize("file", ["mel", "index"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "removed", "foreign"])
def test_a_damaged_file_is_repaired(tmp_path: Path, file: str, damage: str) -> None:
    utterance = recording(tmp_path / "a.wav")
    cache = MelCache(tmp_path / "cache", HParams())
    mel = cache.mel(utterance)
    path = mel_files(tmp_path / "cache")[0] if file == "mel" else next((tmp_path / "cache").glob("index-*"))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damages = {"truncated": whole[:-5], "flipped": bytes(flipped), "emptied": b"", "foreign": b"../../\xff"}
    path.unlink() if damage == "removed" else path.write_bytes(damages[damage])
    np.testing.assert_array_equal(MelCache(tmp_path / "cache", HParams()).mel(utterance), mel)
    assert path.read_bytes() == whole if file == "mel" else path.read_bytes().endswith(whole)


def test_an_index_entry_cannot_name_a_file_outside_the_folder(tmp_path: Path) -> None:
    utterance = recording(tmp_path / "a.wav")
    mel = MelCache(tmp_path / "cache", HParams()).mel(utterance)
    MelCache(tmp_path / "other", HParams()).mel(recording(tmp_path / "b.wav", hertz=900))
    foreign = mel_files(tmp_path / "other")[0].name.split("-")[0]
    index = ChecksummedIndex(next((tmp_path / "cache").glob("index-*")))
    index.add({key: [f"../other/{foreign}", n] for key, (_, n) in index._entries.items()})
    np.testing.assert_array_equal(MelCache(tmp_path / "cache", HParams()).mel(utterance), mel)


def test_a_stored_mel_is_an_ordinary_npy_file(tmp_path: Path) -> None:
    mel = MelCache(tmp_path / "cache", HParams()).mel(recording(tmp_path / "a.wav"))
    np.testing.assert_array_equal(np.load(mel_files(tmp_path / "cache")[0]), mel)


@pytest.mark.parametrize(("seconds", "reason"), [(0.1, "too short: 0.09 s"), (2.0, "too long: 2.00 s")])
def test_the_length_is_checked_when_a_mel_is_computed_and_when_it_is_loaded(
    tmp_path: Path, seconds: float, reason: str
) -> None:
    utterance = recording(tmp_path / "a.wav", seconds=seconds)
    strict = HParams(min_utterance_seconds=0.3, max_utterance_seconds=1.0)
    for hparams in (strict, HParams(min_utterance_seconds=0.05), strict):
        cache = MelCache(tmp_path / "cache", hparams)
        if hparams is strict:
            with pytest.raises(UnusableAudio, match=reason):
                cache.mel(utterance)
        else:
            assert cache.mel(utterance).shape[1] > 1


def test_filling_reports_every_recording_that_cannot_be_used(tmp_path: Path) -> None:
    good = [recording(tmp_path / f"good{n}.wav", hertz=200.0 + n) for n in range(6)]
    (tmp_path / "empty.wav").touch()
    empty = Utterance("empty", tmp_path / "empty.wav", "text")
    absent = Utterance("absent", tmp_path / "absent.wav", "text")
    long = recording(tmp_path / "long.wav", seconds=3.0)
    cache = MelCache(tmp_path / "cache", HParams(max_utterance_seconds=1.0))
    reports = []
    skipped = cache.fill(
        [*good[:3], empty, absent, *good[3:], long], 2, lambda done, total: reports.append((done, total))
    )
    assert [entry.where for entry in skipped] == ["empty", "absent", "long"]
    assert skipped[2] == SkippedEntry(
        "long", "too long: 3.00 s after trimming, at most 1 s are allowed (max_utterance_seconds)"
    )
    assert reports == [(n, 8) for n in range(1, 9)]  # the absent one is not computed
    assert len(mel_files(tmp_path / "cache")) == 6


def test_filling_again_reads_no_recording(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    several = [recording(tmp_path / f"{n}.wav", hertz=200.0 + n) for n in range(3)]
    long = recording(tmp_path / "long.wav", seconds=3.0)
    hparams = HParams(max_utterance_seconds=1.0)
    first = MelCache(tmp_path / "cache", hparams)
    skipped = first.fill([*several, long], 2)
    mel_files(tmp_path / "cache")[0].write_bytes(b"damaged")
    loaded, now_allowed = MelCache(tmp_path / "cache", hparams), MelCache(tmp_path / "cache", HParams())
    assert now_allowed.fill([long], 1) == [] and now_allowed.n_frames(long) > 200
    request.getfixturevalue("no_reading")
    assert loaded.fill([*several, long], 2) == skipped != []
    assert [loaded.n_frames(u) for u in several] == [first.n_frames(u) for u in several]


def test_filling_restores_the_threads_of_torch(tmp_path: Path) -> None:
    utterance = recording(tmp_path / "a.wav")
    with computing_threads(3):
        MelCache(tmp_path / "cache", HParams()).fill([utterance], 2)
        with ThreadPoolExecutor(1) as new_thread:
            assert torch.get_num_threads() == new_thread.submit(torch.get_num_threads).result() == 3


def test_the_mel_of_a_recording_in_memory_is_stored(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    utterance = recording(tmp_path / "a.wav")
    cache = MelCache(tmp_path / "cache", HParams())
    stored = cache.add_recording(utterance, read_recording(utterance.audio_path))
    request.getfixturevalue("no_reading")
    np.testing.assert_array_equal(cache.mel(utterance), stored)


def _fill_forever(folder: Path, utterances: list[Utterance]) -> None:
    torch.set_num_threads(1)
    while True:
        MelCache(folder, HParams()).fill(utterances, 1)
        for path in folder.glob("*.npy"):
            path.unlink(missing_ok=True)


def test_two_processes_and_a_kill_leave_only_complete_files(tmp_path: Path) -> None:
    utterances = [recording(tmp_path / f"{n}.wav", hertz=200.0 + n) for n in range(20)]
    cache = MelCache(tmp_path / "cache", HParams())
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=_fill_forever, args=(tmp_path / "cache", utterances), daemon=True)
    other.start()
    deadline = time.monotonic() + 60
    while not mel_files(tmp_path / "cache") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert cache.fill(utterances, 2) == []
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    for path in mel_files(tmp_path / "cache"):
        assert np.load(path).shape[0] == 80
    # A new cache: the first one has in memory mels that the other process may have deleted.
    reopened = MelCache(tmp_path / "cache", HParams())
    assert reopened.fill(utterances, 2) == [] and len(mel_files(tmp_path / "cache")) == 20


def test_a_folder_that_cannot_be_created_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be created"):
        MelCache(tmp_path / "file" / "cache", HParams())
