"""A batch that does not fit into memory: run again in parts if someone says so, else the end."""

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
from tests.tiny import tacotron, tiny_hparams
from tests.training.steered import (
    ALL_SAVED,
    SteeringObserver,
    differences,
    resume,
    saved_path,
    saved_steps,
    state_of,
    steered,
)
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried")
GPU_ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def limit_memory(
    trainer: EnhancedTrainer, largest: int, monkeypatch: pytest.MonkeyPatch, error: RuntimeError = CPU_ERROR
) -> None:
    """More utterances than this fail while training, after they have gone through the model."""
    forward = tacotron(trainer).forward

    def limited(batch: Batch) -> AttentionOutput:
        output = forward(batch)
        if trainer.state.model.training and len(batch.ids) > largest:
            raise error
        return output

    monkeypatch.setattr(trainer.state.model, "forward", limited)


class Splitting(SteeringObserver):
    """Doubles the parts of a batch whenever one does not fit."""

    def __init__(self) -> None:
        super().__init__({})
        self.failed = 0

    def on_step(self, report: Any) -> None:
        super().on_step(report)
        assert self.trainer is not None
        if report.out_of_memory_steps > self.failed:
            self.failed = report.out_of_memory_steps
            self._give([TrainerOrder("turn", {"micro_batches": 2 * self.trainer.state.knobs.micro_batches})])


@pytest.mark.parametrize("error", [CPU_ERROR, GPU_ERROR])
def test_without_an_answer_the_error_ends_training_after_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    trainer, observer = steered(tmp_path)
    limit_memory(trainer, 2, monkeypatch, error)
    with pytest.raises(type(error)) as caught:
        trainer.fit(RunLimits(max_steps=9))
    assert caught.value is error
    last = observer.steps[-1]
    assert last.out_of_memory_steps == 1 and last.utterance_losses == () and last.total_loss is None
    assert last.gradient_norm is None and last.nonfinite_steps == 0 and last.utterance_ids


def test_another_error_is_no_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, observer = steered(tmp_path, observer=Splitting())
    limit_memory(trainer, 2, monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trainer.fit(RunLimits(max_steps=9))
    assert all(report.out_of_memory_steps == 0 for report in observer.steps)


@pytest.mark.parametrize("error", [CPU_ERROR, GPU_ERROR])
def test_with_smaller_parts_the_same_batch_is_run_again_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    trainer, observer = steered(tmp_path, observer=Splitting())
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


def test_a_failed_attempt_changes_neither_weights_nor_batch_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = steered(tmp_path)
    batch = next(iter(trainer.state.data.train.epoch(0)))
    before = state_of(trainer)
    limit_memory(trainer, 1, monkeypatch)
    assert trainer.train_step(batch).out_of_memory_steps == 1
    after = state_of(trainer)
    assert (
        differences([after[name] for name in ("model", "optimizer")], [before[name] for name in ("model", "optimizer")])
        == []
    )


def test_what_is_left_of_a_gradient_goes_into_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first part has been through the model and back when the second one fails."""
    norms = []
    for fails in (False, True):
        trainer, _ = steered(tmp_path)
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


def test_what_was_computed_until_memory_ran_out_is_free_for_the_next_attempt(tmp_path: Path) -> None:
    trainer, _ = steered(tmp_path)
    batch, computed = next(iter(trainer.state.data.train.epoch(0))), []

    def forward(_batch: Batch) -> None:
        activations = torch.zeros(10)
        computed.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("no room")

    trainer.state.model.forward = forward  # type: ignore[method-assign,assignment]
    gc.disable()
    try:
        trainer.train_step(batch)
        trainer.state.turn_knobs({"micro_batches": 2.0})
        trainer.control.require_answer_to_out_of_memory()
        assert computed[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_kill_between_the_attempts_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole, watched = steered(tmp_path / "whole", observer=Splitting())
    limit_memory(whole, 1, monkeypatch)
    whole.fit(RunLimits(max_steps=5))
    assert saved_steps(whole) == [1, 2, 3, 4, 5]
    observer = Splitting()
    trainer, _ = steered(tmp_path / "resumed", observer=observer)
    resume(trainer, saved_path(whole, step))
    observer.failed = trainer.state.progress.out_of_memory_steps
    limit_memory(trainer, 1, monkeypatch)
    trainer.fit(RunLimits(max_steps=5))
    assert observer.ids == watched.ids[step:] and observer.losses == watched.losses[step:]
    assert differences(state_of(trainer), state_of(whole)) == []


@pytest.mark.parametrize("n_batches", [1.0, 2.0])
def test_a_step_can_be_run_again_on_the_same_utterances(tmp_path: Path, n_batches: float) -> None:
    plain, alone = steered(tmp_path / "plain")
    plain.state.turn_knobs({"batches_per_update": n_batches})
    plain.fit(RunLimits(max_steps=6))
    trainer, observer = steered(tmp_path / "again", {1: [TrainerOrder("rerun_step")], 4: [TrainerOrder("rerun_step")]})
    trainer.state.turn_knobs({"batches_per_update": n_batches})
    trainer.fit(RunLimits(max_steps=8))
    again = [alone.ids[i] for i in (0, 0, 1, 2, 2, 3, 4, 5)]
    assert observer.ids == again
    assert [r.step for r in observer.steps] == list(range(1, 9))
    for step in (1, 4):
        resumed, watched = steered(tmp_path / f"from {step}", {4: [TrainerOrder("rerun_step")]} if step < 4 else {})
        resume(resumed, saved_path(trainer, step))
        resumed.fit(RunLimits(max_steps=8))
        assert watched.losses == observer.losses[step:]


def test_there_is_no_step_to_run_again_before_the_first(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path)
    trainer.control.execute(TrainerOrder("rerun_step"))
    trainer.fit(RunLimits(max_steps=1))
    assert observer.ids == [next(iter(trainer.state.data.train.epoch(0))).ids]


def test_an_evaluation_is_due_also_after_a_step_that_is_run_again(tmp_path: Path) -> None:
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 2})
    trainer, observer = steered(tmp_path, {2: [TrainerOrder("rerun_step")]}, hparams=hparams)
    trainer.fit(RunLimits(max_steps=4))
    assert [e.step for e in observer.evaluations] == [2, 4]
