"""Data-parallel training: one step computed together by several processes (ranks).

Rank 0 is the leader: it alone decides, evaluates and writes files. Before each update it broadcasts a task to the other
ranks, the workers. Every batch is the one that a single process would read, with its examples dealt out to the ranks,
so that neither the order of the data nor the result depends on their number. Gradients are summed only after each rank
has reported that its share succeeded: a rank that runs out of memory leaves no other rank waiting.
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
from torch import Tensor
from torch.distributed.distributed_c10d import _set_pg_timeout

from models.interface import LossKnobs
from training.progress_timeout import ProgressTimeout

MAX_BUCKET_ELEMENTS = 8_000_000
MIN_RECEIVE_SECONDS = 0.1
"""Left for each rank after the deadline, so that one that has already sent its message is not reported missing."""
Value = TypeVar("Value")


class RankFailure(Exception):
    """A rank has exited or does not respond."""


@dataclass(frozen=True)
class StepTask:
    """One update that the leader requests from every rank."""

    examples: tuple[tuple[tuple[int, ...], ...], ...]  # indices of examples: for each rank, for each batch
    epoch: int
    last_batch: int  # its number in the epoch
    total_frames: int  # of all ranks, without padding
    micro_batches: int
    loss_knobs: LossKnobs
    clip_norm: float
    learning_rate: float


@dataclass(frozen=True)
class SharedState:
    """Training state that the workers continue from after a start, a rollback or a restart."""

    hparams: dict[str, Any]
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    precision: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class LeaderActivity:
    """Notice that the leader begins other work than a step, such as an evaluation; None: that work is finished."""

    work: str | None


GroupMessage = StepTask | SharedState | LeaderActivity | None


class RankGroup:
    """All ranks of a training, as one of them sees them; a single process is a group of one."""

    def __init__(self, rank: int, size: int, *, timeout_seconds: float, start_timeout_seconds: float = 0.0) -> None:
        self.rank, self.size = rank, size
        self._timeout, self._start_timeout = timeout_seconds, max(timeout_seconds, start_timeout_seconds)
        self._leader_timeout = ProgressTimeout(least_seconds=timeout_seconds, start_seconds=start_timeout_seconds)
        self._all_reduce_group: dist.ProcessGroup | None = None  # None: the default one, through main memory

    @classmethod
    def single(cls) -> RankGroup:
        return cls(0, 1, timeout_seconds=0)

    def set_device(self, device: torch.device) -> None:
        """Sum tensors through NCCL if the ranks compute on GPUs; all ranks call this with the same kind of device."""
        if self.size > 1 and device.type == "cuda":
            self._all_reduce_group = dist.new_group(backend="nccl", timeout=timedelta(seconds=self._timeout))

    @property
    def is_leader(self) -> bool:
        return self.rank == 0

    def broadcast(self, message: GroupMessage) -> None:
        """Send the workers their next task or state; None ends the training. Only the leader calls this."""
        if self.size > 1:
            self._run("send to the other ranks", lambda: dist.broadcast_object_list([message], src=0), self._timeout)

    def report_activity(self, work: str | None) -> None:
        """Tell the waiting workers which work the leader begins, or (None) that it is finished."""
        self.broadcast(LeaderActivity(work))

    def receive(self) -> StepTask | SharedState | None:
        """The leader's next message; how long that may take is learnt from the duration of its earlier work."""
        timeout = self._leader_timeout
        timeout.begin(timeout.work, time.monotonic())
        while isinstance(message := self._receive(timeout.limit_seconds), LeaderActivity):
            if message.work is None:
                timeout.done(time.monotonic())
            else:
                timeout.begin(message.work, time.monotonic())
        timeout.done(time.monotonic())
        return message

    def _receive(self, timeout_seconds: float) -> GroupMessage:
        received: list[GroupMessage] = [None]
        self._run("receive from rank 0", lambda: dist.broadcast_object_list(received, src=0), timeout_seconds)
        return received[0]

    def gather(self, value: Value, *, at_start: bool = False) -> list[Value]:
        """The value of each rank, by rank; a missing rank is named in the error.

        `at_start` allows the longer time of a start, in which one of the ranks may have to prepare the data.
        """
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        timeout = self._start_timeout if at_start else self._timeout

        def gather() -> None:
            self._require_all_ranks(timeout)
            dist.all_gather_object(values, value)

        self._run("gather from all ranks", gather, timeout)
        return values

    def _require_all_ranks(self, timeout_seconds: float) -> None:
        """Send the leader a message from each worker, so that it can name those that are missing.

        In torch's own barrier the workers would wait for the leader for as long as a start may take.
        """
        message, deadline = torch.zeros(1), time.monotonic() + timeout_seconds
        if not self.is_leader:
            _wait(dist.isend(message, 0), timeout_seconds)
            return
        missing = []
        for rank, receiving in [(rank, dist.irecv(torch.empty(1), rank)) for rank in range(1, self.size)]:
            try:
                _wait(receiving, max(deadline - time.monotonic(), MIN_RECEIVE_SECONDS))
            except RuntimeError:
                missing.append(str(rank))
        if missing:
            raise RankFailure(f"rank {', '.join(missing)} {_no_response(timeout_seconds)}")

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks; several are sent as one."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            self._run("sum gradients", partial(dist.all_reduce, flat, group=self._all_reduce_group), self._timeout)
            for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def _run(self, description: str, operation: Callable[[], object], timeout_seconds: float) -> None:
        try:
            _set_pg_timeout(timedelta(seconds=timeout_seconds), dist.group.WORLD)
            operation()
        except (RuntimeError, dist.DistError) as error:
            reason = _reason(description, str(error), timeout_seconds)
            raise RankFailure(f"rank {self.rank} could not {description}: {reason}") from error


def _reason(description: str, error: str, timeout_seconds: float) -> str:
    if "by peer" in error:
        return "another rank has exited"
    if "Timed out" in error:
        return f"{'it' if 'rank 0' in description else 'another rank'} {_no_response(timeout_seconds)}"
    return error.strip().splitlines()[0]


def _no_response(seconds: float) -> str:
    return f"has exited or has not responded for {seconds:.0f} s"


def _wait(operation: dist.Work | None, seconds: float) -> None:
    assert operation is not None, "None is only returned to a rank outside the process group"
    operation.wait(timedelta(seconds=seconds))


def _buckets(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if size and size + tensor.numel() > MAX_BUCKET_ELEMENTS:
            buckets.append([])
            size = 0
        buckets[-1].append(tensor)
        size += tensor.numel()
    return [bucket for bucket in buckets if bucket]
