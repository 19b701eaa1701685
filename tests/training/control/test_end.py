"""Orders that end training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from reports import Action, TrainerOrder
from tests.support.tiny import tacotron, tiny_hparams
from tests.training.orders import OrderingObserver, saved_steps, trainer_with_orders
from training.run_state import RunLimits


@pytest.mark.parametrize(("action", "hopeless"), [("finish", False), ("stop", True)])
@pytest.mark.parametrize("reason", ["enough", ""])
def test_ordered_end_returns_its_reason_and_is_evaluated_and_saved(
    tmp_path: Path, action: Action, hopeless: bool, reason: str
) -> None:
    trainer, observer = trainer_with_orders(
        tmp_path,
        {2: [TrainerOrder(action, reason=reason)]},
        hparams=tiny_hparams(iters_per_evaluation=1000, iters_per_checkpoint=1000),
    )
    assert trainer.fit(RunLimits(max_steps=100)) == reason
    assert trainer.control.is_hopeless == hopeless
    assert observer.events[:2] == ["step 1", "step 2"]
    assert [e.step for e in observer.evaluations] == [2] and saved_steps(trainer) == [2]


def test_end_can_be_ordered_after_an_evaluation(tmp_path: Path) -> None:
    observer = OrderingObserver({}, after_evaluation={2: [TrainerOrder("finish", reason="overfitting")]})
    hparams = tiny_hparams(iters_per_evaluation=2, iters_per_checkpoint=1000)
    trainer, _ = trainer_with_orders(tmp_path, hparams=hparams, observer=observer)
    assert trainer.fit(RunLimits(max_steps=100)) == "overfitting"
    assert (trainer.state.progress.step, len(observer.evaluations), saved_steps(trainer)) == (2, 1, [2])


def test_finish_returns_to_the_best_checkpoint_and_evaluates_it_again(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_evaluation=2, iters_per_checkpoint=2, keep_checkpoints=1)
    scores: dict[int, float | None] = {2: 0.5, 4: 0.9, 6: 0.3, 8: 0.2}
    observer = OrderingObserver({8: [TrainerOrder("finish", reason="worse and worse")]}, scores=scores)
    trainer, _ = trainer_with_orders(tmp_path, hparams=hparams, observer=observer)
    weights: dict[int, Any] = {}
    record = observer.on_evaluation

    def on_evaluation(report: Any) -> float | None:
        weights[report.step] = tacotron(trainer).embedding.weight.detach().clone()
        return record(report)

    observer.on_evaluation = on_evaluation  # type: ignore[method-assign]
    assert trainer.fit(RunLimits()) == "worse and worse"
    assert trainer.state.progress.step == 4 and not trainer.control.is_hopeless
    assert torch.equal(tacotron(trainer).embedding.weight, weights[4])
    assert observer.events[-1] != "evaluation 8" and "rollback to 4" in observer.events
    assert [event for event in observer.events if event.startswith("evaluation")][-1] == "evaluation 4"
    assert saved_steps(trainer) == [4]


def test_finish_without_a_best_checkpoint_ends_with_the_current_weights(tmp_path: Path) -> None:
    trainer, observer = trainer_with_orders(tmp_path, {3: [TrainerOrder("finish", reason="enough")]})
    assert trainer.fit(RunLimits()) == "enough"
    assert trainer.state.progress.step == 3 and observer.rollbacks == []
