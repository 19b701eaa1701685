"""Steps that run out of memory: repeated in smaller parts if an order asks for them, otherwise the end of training."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.batches import Batch
from models.interface import AttentionOutput
from reports import TrainerOrder
from tests.support.tiny import tacotron, tiny_hparams
from tests.training.orders import (
    ALL_SAVED,
    OrderingObserver,
    comparable_state,
    differences,
    resume,
    saved_path,
    saved_steps,
    train_with_orders,
    trainer_with_orders,
)
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried")
GPU_ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def limit_memory(
    trainer: EnhancedTrainer, largest: int, monkeypatch: pytest.MonkeyPatch, error: RuntimeError = CPU_ERROR
) -> None:
    """Let training passes of more than `largest` utterances fail after the forward pass."""
    forward = tacotron(trainer).forward

    def limited(batch: Batch) -> AttentionOutput:
        output = forward(batch)
        if trainer.state.model.training and len(batch.ids) > largest:
            raise error
        return output

    monkeypatch.setattr(trainer.state.model, "forward", limited)


class SplittingObserver(OrderingObserver):
    """Observer that doubles the number of micro-batches whenever memory runs out."""

    def __init__(self) -> None:
        super().__init__({})
        self.n_failures = 0

    def on_step(self, report: Any) -> None:
        super().on_step(report)
        assert self.trainer is not None
        if report.out_of_memory_steps > self.n_failures:
            self.n_failures = report.out_of_memory_steps
            self.give([TrainerOrder("turn", {"micro_batches": 2 * self.trainer.state.knobs.micro_batches})])


@pytest.mark.parametrize("error", [CPU_ERROR, GPU_ERROR])
def test_unanswered_error_ends_training_after_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    trainer, observer = trainer_with_orders(tmp_path)
    limit_memory(trainer, 2, monkeypatch, error)
    with pytest.raises(type(error)) as caught:
        trainer.fit(RunLimits(max_steps=9))
    assert caught.value is error
    last = observer.steps[-1]
    assert last.out_of_memory_steps == 1 and last.utterance_losses == () and last.total_loss is None
    assert last.gradient_norm is None and last.nonfinite_steps == 0 and last.utterance_ids


def test_other_errors_are_raised_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, observer = trainer_with_orders(tmp_path, observer=SplittingObserver())
    limit_memory(trainer, 2, monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trainer.fit(RunLimits(max_steps=9))
    assert all(report.out_of_memory_steps == 0 for report in observer.steps)


@pytest.mark.parametrize("error", [CPU_ERROR, GPU_ERROR])
def test_batch_is_repeated_in_smaller_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    trainer, observer = trainer_with_orders(tmp_path, observer=SplittingObserver())
    limit_memory(trainer, 1, monkeypatch, error)
    trainer.fit(RunLimits(max_steps=8))
    counts = [report.out_of_memory_steps for report in observer.steps]
    assert counts == [1, 2, 2, 2, 2, 2, 2, 2] and trainer.state.knobs.micro_batches == 4
    assert observer.ids[0] == observer.ids[1] == observer.ids[2]
    assert sorted(id_ for ids in observer.ids[2:5] for id_ in ids) == sorted(
        example.utterance.id for example in trainer.state.data.train.examples
    )
    assert all(report.total_loss is not None for report in observer.steps[2:])
    assert [len(report.utterance_losses) for report in observer.steps[2:]] == [len(ids) for ids in observer.ids[2:]]


def test_failed_attempt_changes_neither_weights_nor_batch_norm_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = trainer_with_orders(tmp_path)
    batch = next(iter(trainer.state.data.train.epoch(0)))
    before = comparable_state(trainer)
    limit_memory(trainer, 1, monkeypatch)
    assert trainer.train_step(batch).out_of_memory_steps == 1
    after = comparable_state(trainer)
    assert [path for name in ("model", "optimizer") for path in differences(after[name], before[name])] == []


def test_gradient_of_a_failed_attempt_is_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second part fails after the backward pass of the first."""
    norms = []
    for fails in (False, True):
        trainer, _ = trainer_with_orders(tmp_path)
        first, second = (batch for batch, _ in zip(trainer.state.data.train.epoch(0), range(2), strict=False))
        if fails:
            with monkeypatch.context() as patch:
                limit_memory(trainer, len(first.ids), patch)
                large = Batch(*vars(second).values())
                object.__setattr__(large, "ids", ("too", "many", "of", "them"))
                assert trainer.train_step(first, large).out_of_memory_steps == 1
                assert tacotron(trainer).embedding.weight.grad is not None
        torch.manual_seed(5)
        norms.append(trainer.train_step(first).gradient_norm)
    assert norms[0] == norms[1] is not None


def test_activations_of_a_failed_attempt_are_freed_before_the_next(tmp_path: Path) -> None:
    trainer, _ = trainer_with_orders(tmp_path)
    batch, references = next(iter(trainer.state.data.train.epoch(0))), []

    def forward(_batch: Batch) -> None:
        activations = torch.zeros(10)
        references.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("no room")

    trainer.state.model.forward = forward  # type: ignore[method-assign,assignment]
    gc.disable()
    try:
        trainer.train_step(batch)
        trainer.state.turn_knobs({"micro_batches": 2.0})
        trainer.control.rerun_after_out_of_memory()
        assert references[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_kill_between_attempts_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    uninterrupted, expected = trainer_with_orders(tmp_path / "uninterrupted", observer=SplittingObserver())
    limit_memory(uninterrupted, 1, monkeypatch)
    uninterrupted.fit(RunLimits(max_steps=5))
    assert saved_steps(uninterrupted) == [1, 2, 3, 4, 5]
    observer = SplittingObserver()
    trainer, _ = trainer_with_orders(tmp_path / "resumed", observer=observer)
    resume(trainer, saved_path(uninterrupted, step))
    observer.n_failures = trainer.state.progress.out_of_memory_steps
    limit_memory(trainer, 1, monkeypatch)
    trainer.fit(RunLimits(max_steps=5))
    assert observer.ids == expected.ids[step:] and observer.losses == expected.losses[step:]
    assert differences(comparable_state(trainer), comparable_state(uninterrupted)) == []


@pytest.mark.parametrize("n_batches", [1.0, 2.0])
def test_step_can_be_repeated_with_the_same_utterances(tmp_path: Path, n_batches: float) -> None:
    reference, expected = trainer_with_orders(tmp_path / "reference")
    reference.state.turn_knobs({"batches_per_update": n_batches})
    reference.fit(RunLimits(max_steps=6))
    rerun = [TrainerOrder("rerun_step")]
    trainer, observer = trainer_with_orders(tmp_path / "repeated", {1: rerun, 4: rerun})
    trainer.state.turn_knobs({"batches_per_update": n_batches})
    trainer.fit(RunLimits(max_steps=8))
    assert observer.ids == [expected.ids[i] for i in (0, 0, 1, 2, 2, 3, 4, 5)]
    assert [r.step for r in observer.steps] == list(range(1, 9))
    for step in (1, 4):
        orders = {4: rerun} if step < 4 else {}
        _, resumed_observer = train_with_orders(
            tmp_path / f"from {step}", orders, start=saved_path(trainer, step), max_steps=8
        )
        assert resumed_observer.losses == observer.losses[step:]


def test_repetition_before_the_first_step_does_nothing(tmp_path: Path) -> None:
    trainer, observer = trainer_with_orders(tmp_path)
    trainer.control.execute(TrainerOrder("rerun_step"))
    trainer.fit(RunLimits(max_steps=1))
    assert observer.ids == [next(iter(trainer.state.data.train.epoch(0))).ids]


def test_evaluation_is_due_after_a_repeated_step(tmp_path: Path) -> None:
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 2})
    _, observer = train_with_orders(tmp_path, {2: [TrainerOrder("rerun_step")]}, hparams=hparams, max_steps=4)
    assert [e.step for e in observer.evaluations] == [2, 4]
