"""What a rank does that does not lead: its share of every update, as it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from corpus.batches import Batch, BatchLoader, epoch_order
from hparams import HParams, build_hparams
from models import build_model
from training.distributed.leader import Crew, NewState, Task
from training.step.learner import Learner, is_out_of_memory, split_batch

Rows = tuple[tuple[int, ...], ...]


def follow(
    crew: Crew,
    loader_of: Callable[[HParams], BatchLoader],
    n_symbols: int,
    device: torch.device,
    asked_to_stop: Callable[[], str | None],
) -> Learner | None:
    """Until the leader says that it is over; returns what was learnt, if anything."""
    message, learner = crew.hear(), None
    while message is not None:
        assert isinstance(message, NewState), "before the first task there is a state"
        hparams = build_hparams(message.hparams)
        learner = Learner(build_model(hparams, n_symbols), hparams, device, crew)
        learner.take_over(message)
        with Ahead(loader_of(hparams), hparams, crew) as ahead:
            while isinstance(message := crew.hear(), Task):
                learner.asked_to_stop = asked_to_stop()
                carry_out(message, learner, ahead.load(message))
    return learner


def carry_out(task: Task, learner: Learner, batches: Sequence[Batch]) -> None:
    for group in learner.optimizer.param_groups:
        group["lr"] = task.learning_rate
    chunks = [chunk for batch in batches for chunk in split_batch(batch, task.micro_batches)]
    try:
        learner.update(chunks, task.knobs, clip=task.clip, measure=False, total_frames=task.total_frames)
    except RuntimeError as error:
        if not is_out_of_memory(error):  # if it is, all ranks have dropped the step, and the leader knows what to do
            raise


class Ahead:
    """Loads what this rank is to learn from, and what most likely comes next while it learns."""

    def __init__(self, loader: BatchLoader, hparams: HParams, crew: Crew) -> None:
        self._loader, self._hparams, self._crew = loader, hparams, crew
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._order: tuple[int, list[list[int]]] = (-1, [])
        self._guess: tuple[Rows, Future[list[Batch]]] | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def load(self, task: Task) -> list[Batch]:
        rows, guess = task.rows[self._crew.rank], self._guess
        batches = guess[1].result() if guess is not None and guess[0] == rows else self._read(rows)
        coming = self._next(task)
        self._guess = (coming, self._pool.submit(self._read, coming))
        return batches

    def _read(self, rows: Rows) -> list[Batch]:
        return [self._loader.load(indices) for indices in rows if indices]

    def _next(self, task: Task) -> Rows:
        """If nothing comes between, as many batches as now."""
        epoch, number = task.place
        if self._order[0] != epoch:
            self._order = epoch, epoch_order(self._loader.examples, self._hparams, epoch)
        batches = self._order[1][number + 1 :][: len(task.rows[0])]
        return tuple(tuple(batch[self._crew.rank :: self._crew.size]) for batch in batches)
