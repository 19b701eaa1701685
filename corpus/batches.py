"""Padded batches of similar lengths, in an order that depends on seed and epoch only, prefetched by threads."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from corpus.utterances import Utterance
from hparams import HParams

Axis = Literal["utterance", "token", "frame"]
"""Axis of a further input: it has one value per utterance, per symbol or per mel frame."""


@dataclass(frozen=True)
class Example:
    """An utterance with its symbol ids, its number of mel frames, further inputs of the model and its alignment."""

    utterance: Utterance
    symbol_ids: tuple[int, ...]
    n_frames: int
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further inputs that the model declares, by name: [...], [..., N] or [..., T], depending on the axis."""
    durations: np.ndarray | None = None
    """Frames of each symbol [N] by the alignment of the corpus, which guides a model at first; None: not aligned."""


def alignment_problem(n_symbols: int, n_frames: int, hparams: HParams) -> str | None:
    """Return the reason why the model cannot align an utterance; `None` if it can.

    GlowTTS assigns at least one frame to each symbol and uses only whole groups of `num_squeeze` frames.
    """
    n_usable_frames = n_frames // hparams.num_squeeze * hparams.num_squeeze
    if hparams.model != "glow_tts" or n_usable_frames >= n_symbols:
        return None
    return f"{n_symbols} symbols in {n_usable_frames} frames: {hparams.model} needs a frame for each"


@dataclass(frozen=True)
class Batch:
    """Padded examples, sorted by length of the text, longest first."""

    ids: tuple[str, ...]
    text: Tensor  # [B, N] int64, 0 in the padding
    text_lengths: Tensor  # [B] int64
    mels: Tensor  # [B, n_mel, T], 0 in the padding
    mel_lengths: Tensor  # [B] int64
    number: int = 0  # index in the epoch
    inputs: Mapping[str, Tensor] = field(default_factory=dict)  # [B, ...], [B, ..., N] or [B, ..., T]
    axes: Mapping[str, Axis] = field(default_factory=dict)  # of each of the inputs
    durations: Tensor | None = None  # [B, N] frames of each symbol by the alignment of the corpus
    rank_indices: tuple[tuple[int, ...], ...] = ()  # examples of the whole batch per rank; the tensors hold rank 0's

    def to(self, device: torch.device) -> Batch:
        return self._convert(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Copy to page-locked memory, from which a GPU copies without making the processor wait."""
        return self._convert(Tensor.pin_memory)

    def _convert(self, convert: Callable[[Tensor], Tensor]) -> Batch:
        names = ("text", "text_lengths", "mels", "mel_lengths")
        tensors: dict[str, Any] = {name: convert(getattr(self, name)) for name in names}
        durations = None if self.durations is None else convert(self.durations)
        inputs = {name: convert(x) for name, x in self.inputs.items()}
        return replace(self, **tensors, inputs=inputs, durations=durations)

    def rows(self, rows: list[int]) -> Batch:
        """Select some of the examples, padded to the longest of them."""
        text_lengths, mel_lengths = self.text_lengths[rows], self.mel_lengths[rows]
        n_tokens, n_frames = int(text_lengths.max()), int(mel_lengths.max())
        sizes = {"utterance": None, "token": n_tokens, "frame": n_frames}
        return Batch(
            ids=tuple(self.ids[row] for row in rows),
            text=self.text[rows, :n_tokens],
            text_lengths=text_lengths,
            mels=self.mels[rows, :, :n_frames],
            mel_lengths=mel_lengths,
            number=self.number,
            inputs={name: x[rows][..., : sizes[self.axes[name]]] for name, x in self.inputs.items()},
            axes=self.axes,
            durations=None if self.durations is None else self.durations[rows, :n_tokens],
        )


def collate(
    examples: Sequence[Example],
    mels: Sequence[np.ndarray],
    number: int = 0,
    axes: Mapping[str, Axis] | None = None,
) -> Batch:
    """Pad examples, their mels [n_mel, T] and their further inputs into one batch.

    Uses numpy on purpose: torch operations would give the loading thread its own pool of OpenMP threads, and with more
    threads than cores the training thread's pool stops waiting actively, which makes each step 1.6 times as long.
    """
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i].symbol_ids))
    rows = [examples[i] for i in order]
    text_lengths = np.array([len(e.symbol_ids) for e in rows])
    mel_lengths = np.array([mels[i].shape[1] for i in order])
    text = _pad([np.array(e.symbol_ids, dtype=np.int64) for e in rows], text_lengths)
    padded_mels = _pad([mels[i].astype(np.float32, copy=False) for i in order], mel_lengths)
    return Batch(
        ids=tuple(e.utterance.id for e in rows),
        text=torch.from_numpy(text),
        text_lengths=torch.from_numpy(text_lengths),
        mels=torch.from_numpy(padded_mels),
        mel_lengths=torch.from_numpy(mel_lengths),
        number=number,
        inputs=pad_inputs([e.inputs for e in rows], axes or {}, text_lengths, mel_lengths),
        axes=axes or {},
        durations=_pad_durations(rows, text_lengths),
    )


def _pad_durations(rows: Sequence[Example], text_lengths: np.ndarray) -> Tensor | None:
    durations = [example.durations for example in rows if example.durations is not None]
    return torch.from_numpy(_pad(durations, text_lengths)) if len(durations) == len(rows) else None


def pad_inputs(
    rows: Sequence[Mapping[str, np.ndarray]],
    axes: Mapping[str, Axis],
    text_lengths: np.ndarray,
    mel_lengths: np.ndarray | None = None,
) -> dict[str, Tensor]:
    """Pad the further inputs of several examples to tensors; all examples have the same inputs."""
    lengths = {"utterance": None, "token": text_lengths, "frame": mel_lengths}
    return {name: torch.from_numpy(_pad([row[name] for row in rows], lengths[axes[name]])) for name in rows[0]}


def _pad(values: Sequence[np.ndarray], lengths: np.ndarray | None) -> np.ndarray:
    """Stack arrays; if they have lengths [B], pad their last dimension with zeros."""
    if lengths is None:
        return np.stack(values)
    padded = np.zeros((len(values), *values[0].shape[:-1], int(lengths.max())), dtype=values[0].dtype)
    for row, (value, length) in enumerate(zip(values, lengths, strict=True)):
        padded[row, ..., :length] = value
    return padded


def epoch_order(examples: Sequence[Example], hparams: HParams, epoch: int) -> list[list[int]]:
    """Return the shuffled batches of one epoch as lists of example indices; a batch holds similar lengths."""
    rng = np.random.default_rng([hparams.seed, epoch])
    frames = np.array([e.n_frames for e in examples], dtype=np.float64)
    # Noise on the lengths varies which examples share a batch from epoch to epoch, at a small cost in padding.
    by_length = np.argsort(frames * rng.uniform(0.9, 1.1, len(frames)), kind="stable")
    batches: list[list[int]] = []
    longest = 0
    for i in by_length.tolist():
        padded_length = max(longest, examples[i].n_frames)
        is_full = not batches or len(batches[-1]) == hparams.batch_size
        if is_full or padded_length * (len(batches[-1]) + 1) > hparams.max_frames_per_batch:
            batches.append([])
            padded_length = examples[i].n_frames
        batches[-1].append(i)
        longest = padded_length
    return [batches[i] for i in rng.permutation(len(batches))]


class BatchLoader:
    """Loader of the batches of an epoch; leaves out quarantined utterances and skipped batches."""

    def __init__(
        self,
        examples: Sequence[Example],
        hparams: HParams,
        load_mel: Callable[[Utterance], np.ndarray],
        axes: Mapping[str, Axis] | None = None,
        final_marks: Collection[int] = (),
    ) -> None:
        """`axes` are those of the further inputs that the model declares.

        `final_marks`: ids of the punctuation that a share of the training texts loses at its end.
        """
        self.examples, self._hparams, self._load_mel, self._axes = tuple(examples), hparams, load_mel, axes
        self._final_marks = frozenset(final_marks)
        self.quarantined: set[str] = set()  # utterance ids
        self.skipped_batches: set[tuple[int, int]] = set()  # (epoch, number of the batch)
        self.n_threads = 1
        self.n_ranks = 1  # processes that share a batch
        self.pins_memory = False  # whether batches are loaded into page-locked memory

    def n_frames(self, indices: Iterable[int]) -> int:
        return sum(self.examples[i].n_frames for i in indices)

    def load(self, indices: Sequence[int], number: int = 0, *, epoch: int | None = None) -> Batch:
        """Load examples as one batch; with the epoch of the training some lose the punctuation at their end."""
        examples = [self.examples[i] for i in indices]
        if epoch is not None:
            examples = [self._as_people_type(e) if self._is_plain(e, epoch) else e for e in examples]
        batch = collate(examples, [self._load_mel(e.utterance) for e in examples], number, self._axes)
        return batch.pin_memory() if self.pins_memory else batch

    @property
    def has_utterances(self) -> bool:
        """Whether any utterance is not quarantined."""
        return any(example.utterance.id not in self.quarantined for example in self.examples)

    def n_batches(self, epoch: int) -> int:
        return len(epoch_order(self.examples, self._hparams, epoch))

    def epoch(self, epoch: int, *, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch from number `start` on; closing the iterator ends the threads."""
        batches = list(enumerate(epoch_order(self.examples, self._hparams, epoch)))[start:]
        wanted = [
            (number, self._without_quarantined(indices))
            for number, indices in batches
            if (epoch, number) not in self.skipped_batches
        ]
        loads = (partial(self.load_for_ranks, indices, number, epoch) for number, indices in wanted if indices)
        return prefetch(loads, n_threads=self.n_threads)

    def find_nonfinite(self) -> list[str]:
        """Return the ids of the utterances outside quarantine whose mels have NaN or infinite values."""
        ids = [example.utterance.id for example in self.examples]
        to_check = [i for i, id_ in enumerate(ids) if id_ not in self.quarantined]
        return [ids[i] for i in to_check if not bool(torch.isfinite(self.load([i]).mels).all())]

    def load_for_ranks(self, indices: Sequence[int], number: int, epoch: int | None = None) -> Batch:
        """Split a batch among the ranks and load the rows of rank 0.

        The ranks take rows in turns: the indices are ordered by length, so each rank gets short and long examples.
        """
        rank_indices = tuple(tuple(indices[rank :: self.n_ranks]) for rank in range(self.n_ranks))
        return replace(self.load(rank_indices[0], number, epoch=epoch), rank_indices=rank_indices)

    def _is_plain(self, example: Example, epoch: int) -> bool:
        """Whether the text loses its final punctuation: by seed, epoch and utterance alone."""
        key = f"{self._hparams.seed} {epoch} {example.utterance.id}".encode()
        return zlib.crc32(key) < self._hparams.plain_text_share * 2**32

    def _as_people_type(self, example: Example) -> Example:
        """The example without the punctuation at the end of its text; its time goes to the symbol before."""
        ids, durations = example.symbol_ids, example.durations
        n_kept = len(ids)
        while n_kept > 1 and ids[n_kept - 1] in self._final_marks:
            n_kept -= 1
        if durations is not None:
            durations = np.append(durations[: n_kept - 1], durations[n_kept - 1 :].sum())
        return replace(example, symbol_ids=ids[:n_kept], durations=durations)

    def _without_quarantined(self, indices: list[int]) -> list[int]:
        if not self.quarantined:
            return indices
        return [i for i in indices if self.examples[i].utterance.id not in self.quarantined]


def prefetch(
    loads: Iterator[Callable[[], Batch]], *, depth: int = 4, n_threads: int = 1
) -> Generator[Batch, None, None]:
    """Yield the batches that `loads` return, in their order; up to `depth` per thread are loaded in advance."""
    depth *= n_threads
    with ThreadPoolExecutor(n_threads, thread_name_prefix="batches") as pool:
        pending = deque(pool.submit(load) for load in islice(loads, depth))
        try:
            while pending:
                batch = pending.popleft().result()
                pending.extend(pool.submit(load) for load in islice(loads, 1))
                yield batch
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
