"""Several processes that take one training step together: the first one leads, the others compute their share.

Every batch is that of a single process, dealt out by rows; so neither the order of data nor what is learnt depends on
how many there are. The leader alone decides, evaluates and writes; before each update it says what is to be done.
Gradients are summed after all have said that their share went well: a rank without memory leaves nobody waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import _set_pg_timeout

from models.interface import LossKnobs
from training.progress_timeout import Patience

BUCKET_NUMBERS = 8_000_000
SOON = 0.1
"""Seconds: even when another one has used up all patience, who has come is heard."""
Share = TypeVar("Share")


class CrewBroken(Exception):
    """A rank has gone, or says nothing any more."""


@dataclass(frozen=True)
class Task:
    """An update: what each rank is to do in it."""

    rows: tuple[tuple[tuple[int, ...], ...], ...]  # of each rank, for each batch: examples by index
    place: tuple[int, int]  # epoch, and number of the last batch in it
    total_frames: int
    micro_batches: int
    knobs: LossKnobs
    clip: float
    learning_rate: float


@dataclass(frozen=True)
class NewState:
    """The others are to go on from here: after a start, a rollback, a restart."""

    hparams: dict[str, Any]
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    precision: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class Beat:
    """The leader is alive: work of its own begins that takes another time than a step; None: it is done."""

    begun: str | None


class Crew:
    """All ranks, seen by one of them."""

    def __init__(self, rank: int, size: int, *, patience_seconds: float, start_patience_seconds: float = 0.0) -> None:
        self.rank, self.size = rank, size
        self._patience, self._start_patience = patience_seconds, max(patience_seconds, start_patience_seconds)
        self._with_leader = Patience(least_seconds=patience_seconds, start_seconds=start_patience_seconds)
        self._tensors: dist.ProcessGroup | None = None  # who sums tensors up: those who talk

    @classmethod
    def alone(cls) -> Crew:
        return cls(0, 1, patience_seconds=0)

    def sum_up_on(self, device: torch.device) -> None:
        """All ranks have such a one; GPUs have a quicker way."""
        if self.size > 1 and device.type == "cuda":
            self._tensors = dist.new_group(backend="nccl", timeout=timedelta(seconds=self._patience))

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def call(self, message: Task | NewState | None) -> None:
        """Said by the leader; None: it is over."""
        self._say(message)

    def beat(self, begun: str | None) -> None:
        """Said by the leader while the others wait for a call."""
        self._say(Beat(begun))

    def hear(self) -> Task | NewState | None:
        """What the leader says next; how long it may be silent is learnt from how long its work has taken so far."""
        patience = self._with_leader
        patience.begin(patience.work, time.monotonic())
        while isinstance(heard := self._hear(patience.limit_seconds), Beat):
            if heard.begun is None:
                patience.done(time.monotonic())
            else:
                patience.begin(heard.begun, time.monotonic())
        patience.done(time.monotonic())
        return heard

    def _say(self, message: Task | NewState | Beat | None) -> None:
        if self.size > 1:
            self._talk("call the others", lambda: dist.broadcast_object_list([message], src=0), self._patience)

    def _hear(self, patience_seconds: float) -> Task | NewState | Beat | None:
        box: list[Any] = [None]
        self._talk("hear rank 0", lambda: dist.broadcast_object_list(box, src=0), patience_seconds)
        heard: Task | NewState | Beat | None = box[0]
        return heard

    def gather(self, share: Share, *, at_start: bool = False) -> list[Share]:
        """Everyone's, by rank; who does not come in time is named. A start may take long: one of them prepares data."""
        if self.size == 1:
            return [share]
        found: list[Any] = [None] * self.size
        patience = self._start_patience if at_start else self._patience

        def meet() -> None:
            self._call_roll(patience)
            dist.all_gather_object(found, share)

        self._talk("meet", meet, patience)
        return found

    def _call_roll(self, patience_seconds: float) -> None:
        """The leader hears of all the others that they have come. In torch's own barrier those would wait for it as
        long as a start may take.
        """
        here, end = torch.zeros(1), time.monotonic() + patience_seconds
        if not self.leads:
            _wait(dist.isend(here, 0), patience_seconds)
            return
        missing = []
        for rank, coming in [(rank, dist.irecv(torch.empty(1), rank)) for rank in range(1, self.size)]:
            try:
                _wait(coming, max(end - time.monotonic(), SOON))
            except RuntimeError:
                missing.append(str(rank))
        if missing:
            raise CrewBroken(f"rank {', '.join(missing)} {_silent(patience_seconds)}")

    def sum_up(self, tensors: Iterable[Tensor]) -> None:
        """Each becomes the sum of everyone's; a few at a time go as one."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            self._talk("sum gradients", partial(dist.all_reduce, flat, group=self._tensors), self._patience)
            for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def _talk(self, what: str, talking: Callable[[], object], patience_seconds: float) -> None:
        try:
            _set_pg_timeout(timedelta(seconds=patience_seconds), dist.group.WORLD)
            talking()
        except (RuntimeError, dist.DistError) as error:
            raise CrewBroken(self._in_words(what, str(error), patience_seconds)) from error

    def _in_words(self, what: str, error: str, patience_seconds: float) -> str:
        reason = error.strip().splitlines()[0]
        if "by peer" in error:
            reason = "another rank has gone"
        elif "Timed out" in error:
            reason = f"{'it' if 'rank 0' in what else 'another rank'} {_silent(patience_seconds)}"
        return f"rank {self.rank} could not {what}: {reason}"


def _wait(talking: dist.Work | None, seconds: float) -> None:
    assert talking is not None, "this rank belongs to them"
    talking.wait(timedelta(seconds=seconds))


def _silent(seconds: float) -> str:
    return f"has gone, or has said nothing for {seconds:.0f} s"


def _buckets(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if size and size + tensor.numel() > BUCKET_NUMBERS:
            buckets.append([])
            size = 0
        buckets[-1].append(tensor)
        size += tensor.numel()
    return [bucket for bucket in buckets if bucket]


def gradients_of(model: nn.Module) -> list[Tensor]:
    """Of every weight; zeros where this rank had nothing to learn from."""
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
