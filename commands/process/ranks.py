"""Ranks under torchrun: joining, checks that all have the same settings, and messages between them outside of steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # imported later, its defaults would keep the process group alive for ever
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from commands.options import TrainOptions
from commands.process.exit_codes import EXIT_USER_ERROR, STOP_SIGNALS
from commands.process.heartbeat import Heartbeat
from hparams import UserError
from smart_tuner.settings import load_settings
from training.distributed.rank_group import RankGroup

Result = TypeVar("Result")


def n_ranks() -> int:
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal() or int(size) == 0:
        raise UserError(f"WORLD_SIZE is {size!r} in the environment; expected the number of processes under torchrun")
    return int(size)


@contextmanager
def joined_ranks(options: TrainOptions) -> Iterator[RankGroup]:
    """Process group of all ranks, or of this process alone."""
    if n_ranks() == 1:
        yield RankGroup.single()
        return
    timeouts = load_settings(options.config).watchdog
    try:
        _init_process_group(timedelta(seconds=timeouts.start_patience_seconds))
    except (RuntimeError, ValueError, dist.DistError) as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"rank {os.environ.get('RANK')}: the ranks could not connect at {address} ({str(error).splitlines()[0]}); "
            "start them with torchrun, and choose a free --master_port"
        ) from error
    try:
        yield RankGroup(
            dist.get_rank(),
            dist.get_world_size(),
            timeout_seconds=timeouts.rank_patience_seconds,
            start_timeout_seconds=timeouts.start_patience_seconds,
        )
    finally:
        dist.destroy_process_group()


def _init_process_group(timeout: timedelta) -> None:
    """Join under a prefix for each restart by torchrun, so that keys of the processes before are not read."""
    store, rank, size = next(rendezvous("env://", timeout=timeout))
    store = PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timeout)


def rank_device(device: torch.device) -> torch.device:
    """The GPU of this rank on its machine; a CPU is shared by all."""
    if device.type == "cpu" or n_ranks() == 1:
        return device
    local_rank, n_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local_rank >= n_gpus:
        raise UserError(f"{local_rank + 1} processes on a machine with {n_gpus} GPUs; start one for each GPU")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def run_on_all_ranks(rank_group: RankGroup, work: Callable[[], Result]) -> Result:
    """Run `work` on every rank; if it raises UserError on one, all ranks end and the leader reports why."""
    if rank_group.size == 1:
        return work()
    results: list[Result] = []
    problem: str | None = None
    try:
        results.append(work())
    except UserError as error:
        problem = str(error)
    problems = {rank: text for rank, text in enumerate(rank_group.gather(problem, at_start=True)) if text is not None}
    if problems:
        _end_all(rank_group, problems)
    return results[0]


def run_leader_first(rank_group: RankGroup, work: Callable[[], Result]) -> Result:
    """Run `work` on the leader, then on the other ranks, which find in the cache what the leader has computed."""
    if rank_group.size == 1:
        return work()
    of_leader = run_on_all_ranks(rank_group, lambda: work() if rank_group.is_leader else None)
    of_others = run_on_all_ranks(rank_group, lambda: None if rank_group.is_leader else work())
    result = of_leader if rank_group.is_leader else of_others
    assert result is not None
    return result


def require_same(rank_group: RankGroup, values: Mapping[str, object]) -> None:
    """Check that each named value is the same on all ranks."""
    if rank_group.size == 1:
        return
    leader_values, *other_values = rank_group.gather(values, at_start=True)
    for name, leader_value in leader_values.items():
        for rank, its_values in enumerate(other_values, start=1):
            if its_values[name] != leader_value:
                problem = f"its {name} is {its_values[name]}, rank 0 has {leader_value}; start all alike"
                _end_all(rank_group, {rank: problem})


def _end_all(rank_group: RankGroup, problems: dict[int, str]) -> None:
    """End this rank; the leader reports each different problem once, with the first rank that has it."""
    if not rank_group.is_leader:
        raise SystemExit(EXIT_USER_ERROR)
    first_ranks = {problem: rank for rank, problem in reversed(problems.items())}
    lines = sorted((rank, problem) for problem, rank in first_ranks.items())
    raise UserError("; ".join(problem if rank == 0 else f"rank {rank}: {problem}" for rank, problem in lines))


class RankHeartbeat(Heartbeat):
    """Heartbeat of the leader to the other ranks, which must not time out during its evaluations and saves."""

    def __init__(self, rank_group: RankGroup) -> None:
        super().__init__(None)
        self._rank_group = rank_group

    def begin(self, work: str) -> None:
        self._rank_group.report_activity(work)

    def done(self) -> None:
        self._rank_group.report_activity(None)


class StopRequest:
    """Stop signal received by a rank that is not the leader; calling it returns the signal's name or None.

    The rank only passes it on: the leader saves and stops for all.
    """

    def __init__(self) -> None:
        self._signal_name: str | None = None
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def __call__(self) -> str | None:
        return self._signal_name

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signal_name = signal.Signals(number).name
