"""Under torchrun: the processes that train together meet, and see whether they mean the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # else imported later, when its defaults would keep the ranks' group for ever
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from commands.options import TrainOptions
from commands.process.heartbeat import Heartbeat
from commands.process.stop_signals import EXIT_CODES
from hparams import UserError
from smart_tuner.settings import load_settings
from training.distributed.rank_group import RankGroup

Found = TypeVar("Found")
EXIT_USER_ERROR = 2


def n_ranks() -> int:
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal() or int(size) == 0:
        raise UserError(f"WORLD_SIZE is {size!r} in the environment; expected how many processes torchrun has started")
    return int(size)


@contextmanager
def assembled(options: TrainOptions) -> Iterator[RankGroup]:
    """All ranks, or this process alone."""
    if n_ranks() == 1:
        yield RankGroup.single()
        return
    patience = load_settings(options.config).watchdog
    try:
        _meet(timedelta(seconds=patience.start_patience_seconds))
    except (RuntimeError, ValueError, dist.DistError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"rank {os.environ.get('RANK')}: the ranks could not meet at {where} ({str(error).splitlines()[0]}); "
            "start them with torchrun, and choose a free --master_port"
        ) from error
    try:
        yield RankGroup(
            dist.get_rank(),
            dist.get_world_size(),
            timeout_seconds=patience.rank_patience_seconds,
            start_timeout_seconds=patience.start_patience_seconds,
        )
    finally:
        dist.destroy_process_group()


def _meet(timeout: timedelta) -> None:
    """Workers that torchrun has started again find what those before them have left, which is not for them."""
    store, rank, size = next(rendezvous("env://", timeout=timeout))
    store = PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timeout)


def own_device(device: torch.device) -> torch.device:
    """Of the GPUs of a machine each rank has one."""
    if device.type == "cpu" or n_ranks() == 1:
        return device
    place, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if place >= there:
        raise UserError(f"{place + 1} processes on a machine with {there} GPUs; start one for each GPU")
    torch.cuda.set_device(place)
    return torch.device("cuda", place)


def together(rank_group: RankGroup, work: Callable[[], Found]) -> Found:
    """Work that all do; if one cannot, all end, and the leader says why."""
    found: Found | None = None
    problem: str | None = None
    try:
        found = work()
    except UserError as error:
        if rank_group.size == 1:
            raise
        problem = str(error)
    if rank_group.size > 1:
        problems = {
            rank: said for rank, said in enumerate(rank_group.gather(problem, at_start=True)) if said is not None
        }
        if problems:
            _end_all(rank_group, problems)
    assert found is not None or problem is None
    return found  # type: ignore[return-value]


def one_after_another(rank_group: RankGroup, work: Callable[[], Found]) -> Found:
    """First the leader, which may have to make what the others then find."""
    if rank_group.size == 1:
        return work()
    made = together(rank_group, lambda: work() if rank_group.is_leader else None)
    others = together(rank_group, lambda: None if rank_group.is_leader else work())
    found = made if rank_group.is_leader else others
    assert found is not None
    return found


def require_same(rank_group: RankGroup, facts: Mapping[str, object]) -> None:
    """By name, what has to be the same on all ranks."""
    if rank_group.size == 1:
        return
    told = rank_group.gather(facts, at_start=True)
    for name, leaders in told[0].items():
        for rank, theirs in enumerate(told):
            if theirs[name] != leaders:
                _end_all(rank_group, {rank: f"its {name} is {theirs[name]}, rank 0 has {leaders}; start all alike"})


def _end_all(rank_group: RankGroup, problems: dict[int, str]) -> None:
    if rank_group.is_leader:
        lines = dict.fromkeys(problems.values())
        first = {line: [rank for rank, said in problems.items() if said == line] for line in lines}
        said = [line if ranks[0] == 0 else f"rank {ranks[0]}: {line}" for line, ranks in first.items()]
        raise UserError("; ".join(said))
    raise SystemExit(EXIT_USER_ERROR)


class LeadersBeats(Heartbeat):
    """Where no watchdog listens the other ranks do: they are to know what the leader is at."""

    def __init__(self, rank_group: RankGroup) -> None:
        super().__init__(None)
        self._rank_group = rank_group

    def begin(self, work: str) -> None:
        self._rank_group.report_activity(work)

    def done(self) -> None:
        self._rank_group.report_activity(None)


class AskedToStop:
    """Signals that a rank receives which does not lead: the leader is told, and stops for all."""

    def __init__(self) -> None:
        self._asked: str | None = None
        for number in EXIT_CODES:
            signal.signal(number, self._received)

    def __call__(self) -> str | None:
        return self._asked

    def _received(self, number: int, _frame: object) -> None:
        self._asked = signal.Signals(number).name
