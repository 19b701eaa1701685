"""Log-mels computed once, on disk, named by what the recording holds and how it is analysed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from corpus.audio.mel import MelFrontend, Recording, UnusableAudio, read_recording, resample, trim
from corpus.utterances import SkippedEntry, Utterance
from files import ChecksummedIndex, atomic_replacement
from hparams import HParams, UserError

MEL_SETTINGS = (
    "sampling_rate",
    "filter_length",
    "hop_length",
    "win_length",
    "n_mel_channels",
    "mel_fmin",
    "mel_fmax",
    "mel_floor",
    "trim_db",
    "trim_margin_seconds",
)
ANALYSIS_VERSION = 1  # goes up when the same settings give other mels
CHECKSUM_BYTES = 4

Progress = Callable[[int, int], None]


class MelCache:
    """The mels of a corpus; several processes may share one folder, and a kill leaves no half entry behind.

    `<content>-<settings>.npy` is a mel with a checksum behind it. `index-<settings>.txt` says for the file of a path,
    size and time what it holds and how many frames that makes, so that later starts read neither.
    """

    def __init__(self, folder: Path, hparams: HParams) -> None:
        self._folder = folder
        self._hparams = hparams
        self._frontend = MelFrontend(hparams)
        settings = hparams.model_dump(include=set(MEL_SETTINGS)) | {"version": ANALYSIS_VERSION}
        self._settings_digest = _digest(json.dumps(settings, sort_keys=True).encode())
        self._n_frames: dict[Path, int] = {}
        self._contents: dict[Path, str] = {}  # so that training goes on when a recording is moved away
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: the folder for mels cannot be made ({error.strerror})") from error
        self._index = ChecksummedIndex(folder / f"index-{self._settings_digest}.txt")

    def mel(self, utterance: Utterance) -> np.ndarray:
        """Return float32 log-mels [n_mel_channels, frames] of the trimmed recording, or raise `UnusableAudio`."""
        content = self._contents.get(utterance.audio_path)
        if content is None:
            content, _ = self._index.get(file_key(utterance.audio_path)) or ("", 0)
        mel = self._load(content)
        if mel is None:
            return self.add_recording(utterance, read_recording(utterance.audio_path))
        self._remember(utterance, content, mel.shape[1])
        return mel

    def add_recording(self, utterance: Utterance, recording: Recording) -> np.ndarray:
        """Do the same for an utterance whose recording was read already."""
        key = file_key(utterance.audio_path)
        content = _digest(recording.wave.tobytes() + str(recording.sampling_rate).encode())
        mel = self._load(content)
        if mel is None:
            mel = self._analyse(recording, key)
            self._store(content, mel)
        self._remember(utterance, content, mel.shape[1])
        if self._index.get(key) != [content, mel.shape[1]]:
            self._index.add({key: [content, mel.shape[1]]})
        return mel

    def _remember(self, utterance: Utterance, content: str, n_frames: int) -> None:
        self._require_length(n_frames)
        self._n_frames[utterance.audio_path], self._contents[utterance.audio_path] = n_frames, content

    def n_frames(self, utterance: Utterance) -> int:
        """Length of the mel, without reading it again."""
        known = self._n_frames.get(utterance.audio_path)
        return self.mel(utterance).shape[1] if known is None else known

    def fill(
        self, utterances: Sequence[Utterance], workers: int, progress: Progress | None = None
    ) -> list[SkippedEntry]:
        """Compute what is missing with `workers` threads; return the utterances that cannot be used, with reasons."""
        there = {entry.name for entry in os.scandir(self._folder)}
        problems = {u.id: self._attempt(lambda u=u: self._recall(u, there), u) for u in utterances}  # type: ignore[misc]
        missing = [u for u in utterances if problems[u.id] is None and u.audio_path not in self._n_frames]
        with worker_threads(workers) as pool:
            found = pool.map(lambda u: self._attempt(lambda: self.mel(u), u), missing)
            for done, (utterance, problem) in enumerate(zip(missing, found, strict=True), start=1):
                problems[utterance.id] = problem
                if progress is not None:
                    progress(done, len(missing))
        return [problem for problem in problems.values() if problem is not None]

    def _recall(self, utterance: Utterance, there: set[str]) -> None:
        """What the index says of a mel that is there."""
        content, n_frames = self._index.get(file_key(utterance.audio_path)) or ("", 0)
        if n_frames:
            self._require_length(n_frames)
        if f"{content}-{self._settings_digest}.npy" in there:
            self._remember(utterance, content, n_frames)

    def _attempt(self, work: Callable[[], object], utterance: Utterance) -> SkippedEntry | None:
        """Says why, if that cannot be done."""
        try:
            work()
        except UnusableAudio as error:
            return SkippedEntry(utterance.id, str(error))
        return None

    def _analyse(self, recording: Recording, key: str) -> np.ndarray:
        """Resample, trim and transform a recording; of one that is refused for its length the index keeps that."""
        rate = self._hparams.sampling_rate
        wave = resample(recording.wave, source_rate=recording.sampling_rate, target_rate=rate)
        wave = trim(wave, self._hparams)
        n_frames = 1 + len(wave) // self._hparams.hop_length
        try:
            self._require_length(n_frames)
        except UnusableAudio:
            self._index.add({key: ["", n_frames]})
            raise
        return self._frontend.mel(torch.from_numpy(wave)).numpy()

    def _require_length(self, n_frames: int) -> None:
        """Refuse what is shorter or longer than the settings allow."""
        require_allowed_length((n_frames - 1) * self._hparams.hop_length / self._hparams.sampling_rate, self._hparams)

    def _entry(self, content: str) -> Path:
        """Where the mel of a recording is stored."""
        return self._folder / f"{content}-{self._settings_digest}.npy"

    def _store(self, content: str, mel: np.ndarray) -> None:
        """Write a mel and its checksum in one step."""
        buffer = io.BytesIO()
        np.save(buffer, mel, allow_pickle=False)
        with atomic_replacement(self._entry(content), sync=False) as temporary:
            temporary.write_bytes(buffer.getvalue() + _checksum(buffer.getvalue()))

    def _load(self, content: str) -> np.ndarray | None:
        """Read a mel back; `None` if it is absent or damaged, so that it is computed again."""
        if not re.fullmatch(r"[0-9a-f]{32}", content):
            return None
        data = _read_if_present(self._entry(content))
        stored, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
        if not stored or _checksum(stored) != checksum:
            return None
        mel: np.ndarray = np.load(io.BytesIO(stored), allow_pickle=False)
        return mel


def require_allowed_length(seconds: float, hparams: HParams) -> None:
    """Raise `UnusableAudio` for a trimmed recording shorter or longer than the settings allow."""
    shortest, longest = hparams.min_utterance_seconds, hparams.max_utterance_seconds
    if seconds < shortest:
        raise UnusableAudio(f"too short: {seconds:.2f} s after trimming, at least {shortest:g} s are needed")
    if seconds > longest:
        raise UnusableAudio(f"too long: {seconds:.2f} s after trimming, at most {longest:g} s are allowed")


@contextmanager
def worker_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each use one core: reading, resampling and transforming release Python's lock."""
    threads_before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads_before)


def file_key(path: Path) -> str:
    """Of an audio file for as long as it does not change."""
    path = path.absolute()
    try:
        status = path.stat()
    except OSError as error:
        raise UnusableAudio(f"{path} cannot be read ({error.strerror})") from error
    return _digest(f"{path}|{status.st_size}|{status.st_mtime_ns}".encode())


def _read_if_present(path: Path) -> bytes:
    """The bytes of a file; none if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _digest(data: bytes) -> str:
    """32 hexadecimal digits that name `data`."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _checksum(data: bytes) -> bytes:
    """The checksum behind a stored mel."""
    return zlib.crc32(data).to_bytes(CHECKSUM_BYTES)
