"""Cache of log-mels on disk, keyed by the content of the recording and the audio settings."""

from __future__ import annotations

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

from corpus.audio.mel import MelFrontend
from corpus.audio.recording import Recording, UnusableAudio, read_recording, resample, trim
from corpus.audio.speech_level import EVEN_LEVEL_DB, at_even_level
from corpus.utterances import SkippedEntry, Utterance
from files import ChecksummedIndex, atomic_replacement, hex_digest
from hparams import AUDIO_FIELDS, HParams, UserError

MEL_SETTINGS = (*AUDIO_FIELDS, "trim_db", "trim_margin_seconds")
ANALYSIS_VERSION = 1  # increase it when the same settings give other mels
CHECKSUM_BYTES = 4

ProgressCallback = Callable[[int, int], None]  # called with the numbers of utterances done and in all


class MelCache:
    """Cache of the mels of a corpus; several processes may share its folder, and a kill leaves no partial file.

    `<content>-<settings>.npy` is a mel followed by a checksum. `index-<settings>.txt` maps the path, size and
    modification time of a recording to its content digest and its number of frames, so that a later start reads
    neither recordings nor mels.
    """

    def __init__(self, folder: Path, hparams: HParams) -> None:
        self._folder = folder
        self._hparams = hparams
        self._frontend = MelFrontend(hparams)
        settings = hparams.model_dump(include=set(MEL_SETTINGS)) | {"version": ANALYSIS_VERSION}
        if hparams.speech_level == "even":  # the others have the digest of earlier versions
            settings["speech_level"] = EVEN_LEVEL_DB
        self.settings_digest = hex_digest(json.dumps(settings, sort_keys=True))
        self._n_frames: dict[Path, int] = {}
        self._content_digests: dict[Path, str] = {}  # kept, so that a recording may be moved away during training
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder}: the folder for mels cannot be created ({error.strerror}); choose another --output"
            ) from error
        self._index = ChecksummedIndex(folder / f"index-{self.settings_digest}.txt")

    def mel(self, utterance: Utterance) -> np.ndarray:
        """Return float32 log-mels [n_mel_channels, frames] of the trimmed recording, or raise `UnusableAudio`."""
        content_digest = self._content_digests.get(utterance.audio_path)
        if content_digest is None:
            content_digest, _ = self._read_index(utterance)
        mel = self._load(content_digest)
        if mel is None:
            return self.add_recording(utterance, read_recording(utterance.audio_path))
        self.remember(utterance, content_digest, mel.shape[1])
        return mel

    def add_recording(self, utterance: Utterance, recording: Recording) -> np.ndarray:
        """Return the mel of an utterance whose recording is already in memory; compute and store it if it is new."""
        key = file_key(utterance.audio_path)
        content_digest = hex_digest(recording.wave.tobytes() + str(recording.sampling_rate).encode())
        mel = self._load(content_digest)
        if mel is None:
            mel = self._compute(recording, key)
            self._store(content_digest, mel)
        self.remember(utterance, content_digest, mel.shape[1])
        if self._index.get(key) != [content_digest, mel.shape[1]]:
            self._index.add({key: [content_digest, mel.shape[1]]})
        return mel

    def remember(self, utterance: Utterance, content_digest: str, n_frames: int) -> None:
        """Keep digest and length of a stored mel in memory; raise `UnusableAudio` if the length is not allowed."""
        self._require_length(n_frames)
        self._n_frames[utterance.audio_path] = n_frames
        self._content_digests[utterance.audio_path] = content_digest

    def content_digest(self, utterance: Utterance) -> str:
        """Digest of a recording whose mel is stored, to be handed to `remember` in another process."""
        return self._content_digests[utterance.audio_path]

    def n_frames(self, utterance: Utterance) -> int:
        """Return the length of a mel without reading it a second time."""
        n_frames = self._n_frames.get(utterance.audio_path)
        return self.mel(utterance).shape[1] if n_frames is None else n_frames

    def fill(
        self, utterances: Sequence[Utterance], workers: int, progress: ProgressCallback | None = None
    ) -> list[SkippedEntry]:
        """Compute missing mels with `workers` threads; return the utterances that cannot be used, with reasons."""
        file_names = {entry.name for entry in os.scandir(self._folder)}
        problems = {u.id: _try(lambda u=u: self._look_up(u, file_names), u) for u in utterances}  # type: ignore[misc]
        missing = [u for u in utterances if problems[u.id] is None and u.audio_path not in self._n_frames]
        with worker_threads(workers) as pool:
            results = pool.map(lambda u: _try(lambda: self.mel(u), u), missing)
            for done, (utterance, problem) in enumerate(zip(missing, results, strict=True), start=1):
                problems[utterance.id] = problem
                if progress is not None:
                    progress(done, len(missing))
        return [problem for problem in problems.values() if problem is not None]

    def _read_index(self, utterance: Utterance) -> tuple[str, int]:
        """Return content digest and number of frames; the digest is empty if no mel was stored."""
        content_digest, n_frames = self._index.get(file_key(utterance.audio_path)) or ("", 0)
        return content_digest, n_frames

    def _look_up(self, utterance: Utterance, file_names: set[str]) -> None:
        """Keep in memory what the index knows of a mel whose file exists, without reading the file."""
        content_digest, n_frames = self._read_index(utterance)
        if n_frames:
            self._require_length(n_frames)
        if self._file_name(content_digest) in file_names:
            self.remember(utterance, content_digest, n_frames)

    def _compute(self, recording: Recording, key: str) -> np.ndarray:
        """Resample, trim and transform a recording; if its length is not allowed, put that in the index and raise."""
        rate = self._hparams.sampling_rate
        wave = resample(recording.wave, source_rate=recording.sampling_rate, target_rate=rate)
        wave = trim(wave, self._hparams)
        if self._hparams.speech_level == "even":
            wave = at_even_level(wave, rate)
        n_frames = 1 + len(wave) // self._hparams.hop_length
        try:
            self._require_length(n_frames)
        except UnusableAudio:
            self._index.add({key: ["", n_frames]})
            raise
        return self._frontend.mel(torch.from_numpy(wave)).numpy()

    def _require_length(self, n_frames: int) -> None:
        require_allowed_length((n_frames - 1) * self._hparams.hop_length / self._hparams.sampling_rate, self._hparams)

    def _file_name(self, content_digest: str) -> str:
        return f"{content_digest}-{self.settings_digest}.npy"

    def _store(self, content_digest: str, mel: np.ndarray) -> None:
        """Write a mel and its checksum atomically."""
        buffer = io.BytesIO()
        np.save(buffer, mel, allow_pickle=False)
        with atomic_replacement(self._folder / self._file_name(content_digest), sync=False) as temporary:
            temporary.write_bytes(buffer.getvalue() + _checksum(buffer.getvalue()))

    def _load(self, content_digest: str) -> np.ndarray | None:
        """Read a mel; `None` if it is missing or damaged, so that it is computed again."""
        if not re.fullmatch(r"[0-9a-f]{32}", content_digest):
            return None
        data = _read_if_present(self._folder / self._file_name(content_digest))
        content, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
        if not content or _checksum(content) != checksum:
            return None
        mel: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
        return mel


def _try(action: Callable[[], object], utterance: Utterance) -> SkippedEntry | None:
    """Run an action; if it raises `UnusableAudio`, return the utterance as skipped, with the reason."""
    try:
        action()
    except UnusableAudio as error:
        return SkippedEntry(utterance.id, str(error))
    return None


def require_allowed_length(seconds: float, hparams: HParams) -> None:
    """Raise `UnusableAudio` for a trimmed recording shorter or longer than the settings allow."""
    minimum, maximum = hparams.min_utterance_seconds, hparams.max_utterance_seconds
    if seconds < minimum:
        raise UnusableAudio(
            f"too short: {seconds:.2f} s after trimming, at least {minimum:g} s are needed (min_utterance_seconds)"
        )
    if seconds > maximum:
        raise UnusableAudio(
            f"too long: {seconds:.2f} s after trimming, at most {maximum:g} s are allowed (max_utterance_seconds)"
        )


@contextmanager
def worker_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Pool of threads that use one core each; reading, resampling and the STFT release Python's lock."""
    threads_before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads_before)


def file_key(path: Path) -> str:
    """Return a key of an audio file that stays the same while its path, size and modification time do."""
    path = path.absolute()
    try:
        status = path.stat()
    except OSError as error:
        raise UnusableAudio(f"{path} cannot be read ({error.strerror})") from error
    return hex_digest(f"{path}|{status.st_size}|{status.st_mtime_ns}")


def _read_if_present(path: Path) -> bytes:
    """Return the bytes of a file; empty if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(CHECKSUM_BYTES)
