"""Training loop of a worker: a rank that is not the leader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from corpus.batches import Batch, BatchLoader, epoch_order
from hparams import HParams, build_hparams
from models import build_model
from models.memory import is_out_of_memory
from training.distributed.rank_group import RankGroup, SharedState, StepTask
from training.step.learner import Learner
from training.step.micro_batches import split_batch

BatchExamples = tuple[tuple[int, ...], ...]
"""Indices of one rank's examples, for each batch of a step."""


def run_worker(
    rank_group: RankGroup,
    build_loader: Callable[[HParams], BatchLoader],
    n_symbols: int,
    device: torch.device,
    read_stop_signal: Callable[[], str | None],
) -> Learner | None:
    """Carry out the leader's tasks until it ends the training; returns the learner, if there was a task at all."""
    message, learner = rank_group.receive(), None
    while message is not None:
        assert isinstance(message, SharedState), "the leader shares its state before the first task"
        hparams = build_hparams(message.hparams)
        learner = Learner(build_model(hparams, n_symbols), hparams, device, rank_group)
        learner.load_shared_state(message)
        loader = build_loader(hparams)
        loader.pins_memory = device.type == "cuda"
        with BatchPrefetcher(loader, hparams, rank_group) as batches:
            while isinstance(message := rank_group.receive(), StepTask):
                learner.stop_signal = read_stop_signal()
                run_task(message, learner, batches.load(message))
    return learner


def run_task(task: StepTask, learner: Learner, batches: Sequence[Batch]) -> None:
    for group in learner.optimizer.param_groups:
        group["lr"] = task.learning_rate
    chunks = [chunk for batch in batches for chunk in split_batch(batch, task.micro_batches)]
    try:
        learner.update(chunks, task.loss_knobs, clip_norm=task.clip_norm, measure=False, total_frames=task.total_frames)
    except RuntimeError as error:
        if not is_out_of_memory(error):  # otherwise all ranks have skipped the step, and the leader decides what to do
            raise


class BatchPrefetcher:
    """Loads this rank's batches of a task and, while they are learnt from, those that most likely come next."""

    def __init__(self, loader: BatchLoader, hparams: HParams, rank_group: RankGroup) -> None:
        self._loader, self._hparams, self._rank_group = loader, hparams, rank_group
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._epoch_order: tuple[int, list[list[int]]] = (-1, [])  # epoch, its batches
        self._prefetched: tuple[BatchExamples, Future[list[Batch]]] | None = None

    def __enter__(self) -> BatchPrefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def load(self, task: StepTask) -> list[Batch]:
        examples, prefetched = task.examples[self._rank_group.rank], self._prefetched
        if prefetched is not None and prefetched[0] == examples:
            batches = prefetched[1].result()
        else:
            batches = self._read(examples, task.epoch)
        upcoming = self._next_examples(task)
        self._prefetched = (upcoming, self._executor.submit(self._read, upcoming, task.epoch))
        return batches

    def _read(self, examples: BatchExamples, epoch: int) -> list[Batch]:
        return [self._loader.load(indices, epoch=epoch) for indices in examples if indices]

    def _next_examples(self, task: StepTask) -> BatchExamples:
        """This rank's examples of the next task if it has as many batches and follows directly."""
        if self._epoch_order[0] != task.epoch:
            self._epoch_order = task.epoch, epoch_order(self._loader.examples, self._hparams, task.epoch)
        batches = self._epoch_order[1][task.last_batch + 1 :][: len(task.examples[0])]
        return tuple(tuple(batch[self._rank_group.rank :: self._rank_group.size]) for batch in batches)
