"""Alignment of transcripts with recordings before any training: one Gaussian for each symbol, from a flat start.

All symbols of an utterance begin with equal durations. In turns, each symbol's Gaussian is fitted to its frames, and
each utterance's most likely path is searched, until the paths stay. Real speech has pauses, slow and fast words: a
straight diagonal is off by about 0.15 s there, and a model that starts from it may never align. On speech of
espeak-ng, whose symbols have almost equal lengths, this finds word starts to 0.03 s.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_TRAINING_UTTERANCES = 1_000  # in a larger corpus the Gaussians are fitted to these, spread evenly
MAX_ITERATIONS = 12
STABLE_FRAMES = 0.05  # mean move of the symbols' ends in an iteration
N_CEPSTRA = 13
PRIOR_FRAMES = 20.0  # of all speech, mixed into each Gaussian: a rare symbol has few frames of its own
MIN_VARIANCE = 0.05  # of features with variance 1
MIN_MEAN_FRAMES, MAX_MEAN_FRAMES = 1.05, 60.0
IMPOSSIBLE = -1e30


@dataclass(frozen=True)
class AlignedUtterance:
    """Mel [n_mel, T] and symbol ids [N ≤ T] of an utterance, and whose speech it is."""

    mel: np.ndarray
    symbol_ids: np.ndarray
    speaker: str | None = None


class FlatStartAligner:
    """Gaussians [S, F] over cepstra and their changes, one for each symbol, with its mean duration in frames."""

    def __init__(self, n_symbols: int) -> None:
        self._n_symbols = n_symbols
        self._scales: dict[str | None, tuple[np.ndarray, np.ndarray]] = {}  # speaker → mean and deviation of features
        self._means = self._variances = np.zeros((n_symbols, 2 * N_CEPSTRA))
        self._mean_frames = np.full(n_symbols, MIN_MEAN_FRAMES)

    def fit(
        self, utterances: Sequence[AlignedUtterance], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Fit to a corpus; `progress` receives the iterations done and the largest number of them."""
        self._fit_scales(utterances)
        features = [self._features(utterance) for utterance in utterances]
        durations = [equal_durations(len(u.symbol_ids), len(f)) for u, f in zip(utterances, features, strict=True)]
        for i in range(MAX_ITERATIONS):
            self._fit_gaussians(utterances, features, durations)
            before = durations
            durations = [self._search(u.symbol_ids, f) for u, f in zip(utterances, features, strict=True)]
            progress(i + 1, MAX_ITERATIONS)
            if mean_move(before, durations) < STABLE_FRAMES:
                break

    def align(self, utterance: AlignedUtterance) -> np.ndarray:
        """Return the frames of each symbol [N] with the sum T: at least 1, unless there are too few frames."""
        if utterance.mel.shape[1] < len(utterance.symbol_ids):
            return equal_durations(len(utterance.symbol_ids), utterance.mel.shape[1])
        return self._search(utterance.symbol_ids, self._features(utterance))

    def _fit_scales(self, utterances: Sequence[AlignedUtterance]) -> None:
        by_speaker = defaultdict(list)
        for utterance in utterances:
            by_speaker[utterance.speaker].append(cepstra(utterance.mel))
        for speaker, parts in by_speaker.items():
            frames = np.concatenate(parts)
            self._scales[speaker] = frames.mean(0), frames.std(0) + 1e-3

    def _features(self, utterance: AlignedUtterance) -> np.ndarray:
        mean, deviation = self._scales.get(utterance.speaker) or next(iter(self._scales.values()))
        return (cepstra(utterance.mel) - mean) / deviation

    def _fit_gaussians(
        self, utterances: Sequence[AlignedUtterance], features: Sequence[np.ndarray], durations: Sequence[np.ndarray]
    ) -> None:
        n_frames, n_uses = np.zeros(self._n_symbols), np.zeros(self._n_symbols)
        sums, squares = (np.zeros((self._n_symbols, 2 * N_CEPSTRA)) for _ in range(2))
        for utterance, x, frames in zip(utterances, features, durations, strict=True):
            ids, starts = utterance.symbol_ids, np.cumsum(frames) - frames
            np.add.at(n_frames, ids, frames)
            np.add.at(n_uses, ids, 1)
            np.add.at(sums, ids, np.add.reduceat(x, starts))
            np.add.at(squares, ids, np.add.reduceat(x * x, starts))
        weights = (n_frames + PRIOR_FRAMES)[:, None]
        self._means = (sums + PRIOR_FRAMES * sums.sum(0) / n_frames.sum()) / weights
        second_moments = (squares + PRIOR_FRAMES * squares.sum(0) / n_frames.sum()) / weights
        self._variances = np.maximum(second_moments - self._means**2, MIN_VARIANCE)
        self._mean_frames = np.clip(n_frames / np.maximum(n_uses, 1), MIN_MEAN_FRAMES, MAX_MEAN_FRAMES)

    def _search(self, symbol_ids: np.ndarray, features: np.ndarray) -> np.ndarray:
        means, precisions = self._means[symbol_ids], 1 / self._variances[symbol_ids]
        constants = 0.5 * (np.log(precisions).sum(1) - (means**2 * precisions).sum(1))
        likelihood = constants + features @ (means * precisions).T - 0.5 * features**2 @ precisions.T
        leaving = 1 / self._mean_frames[symbol_ids]
        return _compiled_search()(likelihood, np.log1p(-leaving), np.log(leaving))


def cepstra(mel: np.ndarray) -> np.ndarray:
    """[T, 2 · N_CEPSTRA]: the first cosine coefficients over the channels of a log-mel, and their change in time."""
    n_channels = len(mel)
    angles = np.pi * np.outer(np.arange(n_channels) + 0.5, np.arange(N_CEPSTRA)) / n_channels
    static = mel.T @ np.cos(angles)
    change = np.zeros_like(static)
    change[1:-1] = (static[2:] - static[:-2]) / 2
    return np.concatenate([static, change], axis=1)


def equal_durations(n_symbols: int, n_frames: int) -> np.ndarray:
    return np.diff(np.arange(n_symbols + 1) * n_frames // n_symbols)


def mean_move(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float:
    """Mean distance in frames between the symbols' ends in two alignments."""
    moves = [np.abs(np.cumsum(a) - np.cumsum(b)) for a, b in zip(before, after, strict=True)]
    return float(np.concatenate(moves).mean())


@functools.cache
def _compiled_search() -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    from numba import njit

    return njit(cache=True, nogil=True)(_most_likely_durations)


def _most_likely_durations(likelihood: np.ndarray, log_stay: np.ndarray, log_leave: np.ndarray) -> np.ndarray:
    """Viterbi: frames of each symbol [N], in order and at least 1, for likelihood [T, N]."""
    n_frames, n = likelihood.shape
    best = np.full(n, IMPOSSIBLE)
    best[0] = likelihood[0, 0]
    entered = np.zeros((n_frames, n), dtype=np.bool_)
    for t in range(1, n_frames):
        for k in range(min(n - 1, t), -1, -1):
            stay = best[k] + log_stay[k]
            enter = best[k - 1] + log_leave[k - 1] if k else IMPOSSIBLE
            entered[t, k] = enter > stay
            best[k] = max(enter, stay) + likelihood[t, k]
    durations = np.zeros(n, dtype=np.int64)
    k = n - 1
    for t in range(n_frames - 1, -1, -1):
        durations[k] += 1
        if entered[t, k]:
            k -= 1
    return durations
