"""One of two processes of a rank_group, which leaves FOLDER/RANK.pt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from corpus.batches import Batch
from reports import TrainerOrder
from tests.tiny import GLOW, NO_DROPOUT, SYMBOLS, tiny_data, tiny_hparams, tiny_model, tiny_trainer
from tests.training.steered import SteeringObserver
from tests.training.step.test_learner import KNOBS, gradient, without_norms
from training.distributed.rank_group import RankFailure, RankGroup, StepTask
from training.distributed.worker import run_worker
from training.run_state import RunLimits
from training.step.learner import Learner

Found = dict[str, Any]
CPU = torch.device("cpu")
PLAIN = tiny_hparams(**NO_DROPOUT, batch_size=8, n_frames_per_step=1, precision="float32")


def rows_of(rank_group: RankGroup, indices: list[int]) -> list[Batch]:
    mine = indices[rank_group.rank :: rank_group.size]
    return [tiny_data(PLAIN).train.load(mine)] if mine else []


def learner_of(rank_group: RankGroup) -> Learner:
    return without_norms(Learner(tiny_model(PLAIN), PLAIN, CPU, rank_group))


def together(rank_group: RankGroup, _folder: Path) -> Found:
    """The gradients of a batch of eight and of one."""
    found: Found = {}
    for n in (8, 1):
        learner, indices = learner_of(rank_group), list(range(n))
        frames = tiny_data(PLAIN).train.n_frames(indices)
        updated = learner.update(rows_of(rank_group, indices), KNOBS, clip_norm=1e9, measure=False, total_frames=frames)
        found[f"gradient {n}"], found[f"updated {n}"] = gradient(learner), vars(updated)
    normalising = Learner(tiny_model(PLAIN), PLAIN, CPU, rank_group)
    frames = tiny_data(PLAIN).train.n_frames(range(8))
    normalising.update(rows_of(rank_group, list(range(8))), KNOBS, clip_norm=1e9, measure=False, total_frames=frames)
    return found | {"remembered": dict(normalising.model.named_buffers())}


def failing(rank_group: RankGroup, _folder: Path) -> Found:
    """Numbers that are none on rank 1, then no memory there, then all is well."""
    learner = learner_of(rank_group)
    found: Found = {}
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    batches = rows_of(rank_group, list(range(8)))
    spoilt = [replace(batch, mels=batch.mels * torch.nan) if rank_group.rank else batch for batch in batches]
    found["norm"] = learner.update(spoilt, KNOBS, clip_norm=1e9, measure=False, total_frames=70).gradient_norm
    forward = learner.model.forward
    if rank_group.rank:

        def too_much(_batch: Batch) -> Any:
            raise torch.OutOfMemoryError("no room for 5 GB")

        learner.model.forward = too_much  # type: ignore[method-assign,assignment]
    try:
        learner.update(batches, KNOBS, clip_norm=1e9, measure=False, total_frames=70)
    except torch.OutOfMemoryError as error:
        found["error"] = str(error)
    found["unchanged"] = all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
    learner.model.forward = forward  # type: ignore[method-assign]
    learner.stop_signal = "SIGUSR1" if rank_group.rank else None
    updated = learner.update(batches, KNOBS, clip_norm=1e9, measure=True, total_frames=70)
    return found | {"after": updated.gradient_norm, "stop": updated.stop_signal}


def steered(rank_group: RankGroup, folder: Path, **changes: Any) -> Found:
    """A training with a turned knob, smaller chunks, a rollback, a restart and fresh moments."""
    hparams = tiny_hparams(iters_per_checkpoint=4, iters_per_evaluation=8, epochs=50, **changes)
    data = tiny_data(hparams)
    if rank_group.rank:
        learner = run_worker(rank_group, lambda _recipe: data.train, len(SYMBOLS), CPU, lambda: None)
        assert learner is not None
        return {"weights": learner.model.state_dict()}
    orders = {
        2: [TrainerOrder("turn", knobs={"learning_rate_multiplier": 0.5})],
        3: [TrainerOrder("turn", knobs={"micro_batches": 2.0})],
        10: [TrainerOrder("roll_back", step=8, knobs={"learning_rate_multiplier": 0.25}, skip_since=9)],
        12: [TrainerOrder("reset_moments", n_steps=3)],
        14: [TrainerOrder("quarantine", utterances=("u01-12",))],
        17: [TrainerOrder("restart")],
    }
    observer = SteeringObserver(orders)
    trainer, _ = tiny_trainer(folder, hparams, data=data, observer=observer, rank_group=rank_group)
    observer.trainer = trainer
    trainer.fit(RunLimits(max_steps=24))
    rank_group.broadcast(None)
    losses = [report.total_loss for report in observer.steps]
    return {"weights": trainer.state.model.state_dict(), "losses": losses, "ids": observer.ids}


def hung(rank_group: RankGroup, _folder: Path) -> Found:
    """Rank 1 does not come."""
    if rank_group.rank:
        time.sleep(6)
        return {}
    return broken_by(lambda: rank_group.gather(None))


def hung_leader(rank_group: RankGroup, _folder: Path) -> Found:
    """An evaluation may take longer than anybody else's silence, as long as none was seen to end."""
    if rank_group.is_leader:
        rank_group.report_activity("evaluation")
        time.sleep(3)
        rank_group.report_activity(None)
        rank_group.broadcast(StepTask((), 0, 0, 1, 1, KNOBS, 1.0, 1.0))
        time.sleep(6)
        return {}
    assert isinstance(rank_group.receive(), StepTask)
    return broken_by(rank_group.receive)


def hung_leader_at_work(rank_group: RankGroup, _folder: Path) -> Found:
    """Rank 0 does not come."""
    if rank_group.is_leader:
        time.sleep(6)
        return {}
    return broken_by(lambda: rank_group.gather(None))


def broken_by(talking: Callable[[], object]) -> Found:
    try:
        talking()
    except RankFailure as error:
        return {"error": str(error)}
    return {}


CASES: dict[str, Callable[[RankGroup, Path], Found]] = {
    "together": together,
    "failing": failing,
    "steered": steered,
    "steered flow": lambda rank_group, folder: steered(rank_group, folder, **GLOW),
    "hung": hung,
    "hung leader": hung_leader,
    "hung leader at work": hung_leader_at_work,
}


def main(case: str, rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", where, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    rank_group = RankGroup(rank, 2, timeout_seconds=2 if "hung" in case else 60, start_timeout_seconds=60)
    torch.save(CASES[case](rank_group, folder), folder / f"{rank}.pt")
    dist.destroy_process_group()
