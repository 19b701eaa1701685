"""Batches: length buckets, an order that is a function of (seed, epoch), loading ahead in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from corpus.utterances import Utterance
from hparams import HParams

Axis = Literal["utterance", "token", "frame"]
"""Axis of a further input: one value an utterance, or one for each of its symbols or of its mel frames."""


@dataclass(frozen=True)
class Example:
    """An utterance ready for training: its symbol ids and how many mel frames it has."""

    utterance: Utterance
    symbol_ids: tuple[int, ...]
    n_frames: int
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further inputs that the model declares, by name: [...], [..., N] or [..., T], by their axis."""


def alignment_problem(n_symbols: int, n_frames: int, hparams: HParams) -> str | None:
    """What keeps a model from learning an utterance: a flow gives each symbol a frame at least, of whole squeezes."""
    usable = n_frames // hparams.num_squeeze * hparams.num_squeeze
    if hparams.model != "glow_tts" or usable >= n_symbols:
        return None
    return f"{n_symbols} symbols in {usable} frames: {hparams.model} needs a frame for each"


@dataclass(frozen=True)
class Batch:
    """Padded examples, longest text first."""

    ids: tuple[str, ...]
    text: Tensor  # [B, N] int64, 0 in the padding
    text_lengths: Tensor  # [B] int64
    mels: Tensor  # [B, n_mel, T], 0 in the padding
    mel_lengths: Tensor  # [B] int64
    number: int = 0  # its place in the epoch
    inputs: Mapping[str, Tensor] = field(default_factory=dict)  # [B, ...], [B, ..., N] or [B, ..., T], by their axis
    axes: Mapping[str, Axis] = field(default_factory=dict)  # of each of them
    rank_indices: tuple[tuple[int, ...], ...] = ()  # examples of the whole batch per rank; the tensors hold rank 0's

    def to(self, device: torch.device) -> Batch:
        text, text_lengths, mels, mel_lengths = (
            x.to(device, non_blocking=True) for x in (self.text, self.text_lengths, self.mels, self.mel_lengths)
        )
        inputs = {name: x.to(device, non_blocking=True) for name, x in self.inputs.items()}
        return replace(self, text=text, text_lengths=text_lengths, mels=mels, mel_lengths=mel_lengths, inputs=inputs)

    def rows(self, rows: list[int]) -> Batch:
        """A part of the examples, padded to its own longest one."""
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
        )


def collate(
    examples: Sequence[Example],
    mels: Sequence[np.ndarray],
    number: int = 0,
    axes: Mapping[str, Axis] | None = None,
) -> Batch:
    """Pad examples, their mels [n_mel, T] and their further inputs into one batch.

    In numpy on purpose: torch operations in the loading thread would give it a pool of OpenMP threads of its own, and
    with more threads than cores those of the training thread stop waiting actively: every step takes 1.6 times as long.
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
    )


def pad_inputs(
    rows: Sequence[Mapping[str, np.ndarray]],
    axes: Mapping[str, Axis],
    text_lengths: np.ndarray,
    mel_lengths: np.ndarray | None = None,
) -> dict[str, Tensor]:
    """Further inputs of several examples as padded tensors; all examples have the same ones."""
    lengths = {"utterance": None, "token": text_lengths, "frame": mel_lengths}
    return {name: torch.from_numpy(_pad([row[name] for row in rows], lengths[axes[name]])) for name in rows[0]}


def _pad(values: Sequence[np.ndarray], lengths: np.ndarray | None) -> np.ndarray:
    """Stack arrays [..., L]; with lengths [B], their last dimension is filled up with zeros."""
    if lengths is None:
        return np.stack(values)
    padded = np.zeros((len(values), *values[0].shape[:-1], int(lengths.max())), dtype=values[0].dtype)
    for row, (value, length) in enumerate(zip(values, lengths, strict=True)):
        padded[row, ..., :length] = value
    return padded


def epoch_order(examples: Sequence[Example], hparams: HParams, epoch: int) -> list[list[int]]:
    """The batches of one epoch as indices of examples: similar lengths together, shuffled, a function of the seed."""
    rng = np.random.default_rng([hparams.seed, epoch])
    frames = np.array([e.n_frames for e in examples], dtype=np.float64)
    # A little noise on the length lets neighbours differ from epoch to epoch at a small cost in padding.
    by_length = np.argsort(frames * rng.uniform(0.9, 1.1, len(frames)), kind="stable")
    batches: list[list[int]] = []
    longest = 0
    for i in by_length.tolist():
        longest_with = max(longest, examples[i].n_frames)
        is_full = not batches or len(batches[-1]) == hparams.batch_size
        if is_full or longest_with * (len(batches[-1]) + 1) > hparams.max_frames_per_batch:
            batches.append([])
            longest_with = examples[i].n_frames
        batches[-1].append(i)
        longest = longest_with
    return [batches[i] for i in rng.permutation(len(batches))]


class BatchLoader:
    """Loads batches one after another, a few ahead, in the background; what is quarantined or left out stays away."""

    def __init__(
        self,
        examples: Sequence[Example],
        hparams: HParams,
        load_mel: Callable[[Utterance], np.ndarray],
        axes: Mapping[str, Axis] | None = None,
    ) -> None:
        """`axes`: of the further inputs that the model declares."""
        self.examples, self._hparams, self._load_mel, self._axes = tuple(examples), hparams, load_mel, axes
        self.quarantined: set[str] = set()
        self.skipped_batches: set[tuple[int, int]] = set()  # (epoch, place in it)
        self.n_threads = 1
        self.n_ranks = 1  # processes that share a batch

    def load_share(self, indices: Sequence[int], number: int) -> Batch:
        """The first process's rows of a batch; dealt in turns, since it is ordered by length."""
        rank_indices = tuple(tuple(indices[rank :: self.n_ranks]) for rank in range(self.n_ranks))
        return replace(self.load(rank_indices[0], number), rank_indices=rank_indices)

    def n_frames(self, indices: Iterable[int]) -> int:
        return sum(self.examples[i].n_frames for i in indices)

    def load(self, indices: Sequence[int], number: int = 0) -> Batch:
        chosen = [self.examples[i] for i in indices]
        return collate(chosen, [self._load_mel(e.utterance) for e in chosen], number, self._axes)

    @property
    def has_utterances(self) -> bool:
        """Whether any is not quarantined."""
        return any(example.utterance.id not in self.quarantined for example in self.examples)

    def n_batches(self, epoch: int) -> int:
        return len(epoch_order(self.examples, self._hparams, epoch))

    def epoch(self, epoch: int, *, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch from place `start` on; closing the iterator ends the threads."""
        order = list(enumerate(epoch_order(self.examples, self._hparams, epoch)))[start:]
        kept = [
            (number, self._healthy(indices)) for number, indices in order if (epoch, number) not in self.skipped_batches
        ]
        loads = (partial(self.load_share, indices, number) for number, indices in kept if indices)
        return prefetch(loads, n_threads=self.n_threads)

    def find_nonfinite(self) -> list[str]:
        """Utterances, not yet in quarantine, whose mels hold something that is no number."""
        suspects = [(i, e.utterance.id) for i, e in enumerate(self.examples) if e.utterance.id not in self.quarantined]
        return [id_ for i, id_ in suspects if not bool(torch.isfinite(self.load([i]).mels).all())]

    def _healthy(self, indices: list[int]) -> list[int]:
        if not self.quarantined:
            return indices
        return [i for i in indices if self.examples[i].utterance.id not in self.quarantined]


def prefetch(
    loads: Iterator[Callable[[], Batch]], *, depth: int = 4, n_threads: int = 1
) -> Generator[Batch, None, None]:
    """The batches of the loads in their order, made up to `depth` a thread ahead."""
    depth *= n_threads
    with ThreadPoolExecutor(n_threads, thread_name_prefix="batches") as pool:
        ahead = deque(pool.submit(load) for load in islice(loads, depth))
        try:
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(pool.submit(load) for load in islice(loads, 1))
                yield batch
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
