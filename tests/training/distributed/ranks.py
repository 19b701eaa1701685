"""Program of each of two ranks, which writes its results to FOLDER/RANK.pt."""

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
from tests.support.tiny import GLOW, NO_DROPOUT, SYMBOLS, tiny_data, tiny_hparams, tiny_model, tiny_trainer
from tests.training.orders import OrderingObserver
from tests.training.step.test_learner import KNOBS, gradient, without_norms
from training.distributed.rank_group import RankFailure, RankGroup, StepTask
from training.distributed.worker import run_worker
from training.run_state import RunLimits
from training.step.learner import Learner

Results = dict[str, Any]
CPU = torch.device("cpu")
PLAIN = tiny_hparams(**NO_DROPOUT, batch_size=8, n_frames_per_step=1, precision="float32")


def load_share(rank_group: RankGroup, indices: list[int]) -> list[Batch]:
    """This rank's examples of a batch, as a list of at most one batch."""
    share = indices[rank_group.rank :: rank_group.size]
    return [tiny_data(PLAIN).train.load(share)] if share else []


def build_learner(rank_group: RankGroup) -> Learner:
    return without_norms(Learner(tiny_model(PLAIN), PLAIN, CPU, rank_group))


def update_together(rank_group: RankGroup, _folder: Path) -> Results:
    """Updates with a batch of eight and with a batch of one, and batch norm statistics after an update."""
    results: Results = {}
    for n in (8, 1):
        learner, indices = build_learner(rank_group), list(range(n))
        frames = tiny_data(PLAIN).train.n_frames(indices)
        result = learner.update(
            load_share(rank_group, indices), KNOBS, clip_norm=1e9, measure=False, total_frames=frames
        )
        results[f"gradient {n}"], results[f"result {n}"] = gradient(learner), vars(result)
    learner = Learner(tiny_model(PLAIN), PLAIN, CPU, rank_group)
    frames = tiny_data(PLAIN).train.n_frames(range(8))
    batches = load_share(rank_group, list(range(8)))
    learner.update(batches, KNOBS, clip_norm=1e9, measure=False, total_frames=frames)
    return results | {"buffers": dict(learner.model.named_buffers())}


def fail_on_one_rank(rank_group: RankGroup, _folder: Path) -> Results:
    """Updates with NaN on rank 1, then out of memory there, then without an error."""
    learner = build_learner(rank_group)
    results: Results = {}
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    batches = load_share(rank_group, list(range(8)))
    poisoned = [replace(batch, mels=batch.mels * torch.nan) if rank_group.rank else batch for batch in batches]
    result = learner.update(poisoned, KNOBS, clip_norm=1e9, measure=False, total_frames=70)
    results["norm of NaN"] = result.gradient_norm
    forward = learner.model.forward
    if rank_group.rank:

        def run_out_of_memory(_batch: Batch) -> Any:
            raise torch.OutOfMemoryError("no room for 5 GB")

        learner.model.forward = run_out_of_memory  # type: ignore[method-assign,assignment]
    try:
        learner.update(batches, KNOBS, clip_norm=1e9, measure=False, total_frames=70)
    except torch.OutOfMemoryError as error:
        results["error"] = str(error)
    after = learner.model.state_dict()
    results["unchanged"] = all(torch.equal(value, before[name]) for name, value in after.items())
    learner.model.forward = forward  # type: ignore[method-assign]
    learner.stop_signal = "SIGUSR1" if rank_group.rank else None
    result = learner.update(batches, KNOBS, clip_norm=1e9, measure=True, total_frames=70)
    return results | {"norm": result.gradient_norm, "stop signal": result.stop_signal}


def train_with_orders(rank_group: RankGroup, folder: Path, **changes: Any) -> Results:
    """Training with a turned knob, micro-batches, a rollback, reset moments, a quarantine and a restart."""
    hparams = tiny_hparams(iters_per_checkpoint=4, iters_per_evaluation=8, epochs=50, **changes)
    data = tiny_data(hparams)
    if rank_group.rank:
        learner = run_worker(rank_group, lambda _hparams: data.train, len(SYMBOLS), CPU, lambda: None)
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
    observer = OrderingObserver(orders)
    trainer, _ = tiny_trainer(folder, hparams, data=data, observer=observer, rank_group=rank_group)
    observer.trainer = trainer
    trainer.fit(RunLimits(max_steps=24))
    rank_group.broadcast(None)
    losses = [report.total_loss for report in observer.steps]
    return {"weights": trainer.state.model.state_dict(), "losses": losses, "ids": observer.ids}


def hang_worker(rank_group: RankGroup, _folder: Path) -> Results:
    """Rank 1 does not take part in a gather."""
    if rank_group.rank:
        time.sleep(6)
        return {}
    return catch_failure(lambda: rank_group.gather(None))


def hang_leader(rank_group: RankGroup, _folder: Path) -> Results:
    """Rank 0 hangs after a first evaluation, which may take longer than the timeout, and a task."""
    if rank_group.is_leader:
        rank_group.report_activity("evaluation")
        time.sleep(3)
        rank_group.report_activity(None)
        rank_group.broadcast(StepTask((), 0, 0, 1, 1, KNOBS, 1.0, 1.0))
        time.sleep(6)
        return {}
    assert isinstance(rank_group.receive(), StepTask)
    return catch_failure(rank_group.receive)


def hang_leader_in_gather(rank_group: RankGroup, _folder: Path) -> Results:
    """Rank 0 does not take part in a gather."""
    if rank_group.is_leader:
        time.sleep(6)
        return {}
    return catch_failure(lambda: rank_group.gather(None))


def catch_failure(operation: Callable[[], object]) -> Results:
    try:
        operation()
    except RankFailure as error:
        return {"error": str(error)}
    return {}


CASES: dict[str, Callable[[RankGroup, Path], Results]] = {
    "update together": update_together,
    "fail on one rank": fail_on_one_rank,
    "train tacotron": train_with_orders,
    "train glow": lambda rank_group, folder: train_with_orders(rank_group, folder, **GLOW),
    "hang worker": hang_worker,
    "hang leader": hang_leader,
    "hang leader in gather": hang_leader_in_gather,
}


def main(case: str, rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    timeout_seconds = 2 if case.startswith("hang") else 60
    rank_group = RankGroup(rank, 2, timeout_seconds=timeout_seconds, start_timeout_seconds=60)
    torch.save(CASES[case](rank_group, folder), folder / f"{rank}.pt")
    dist.destroy_process_group()
