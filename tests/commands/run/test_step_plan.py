"""Last step and length of the plan: new, resumed, after a restart, from another program's checkpoint."""

from __future__ import annotations

import pytest

from commands.run.resume import StartPoint, StepPlan, plan_steps
from hparams import HParams
from training.run_state import RunLimits

N_BATCHES, EPOCHS = 10, 5


def resumed(step: int, *, epoch: int, batch: int) -> StartPoint:
    return StartPoint("resumed", state={"format": 1, "progress": {"step": step, "epoch": epoch, "batch": batch}})


FOREIGN = StartPoint("resumed", state={"iteration": 1000, "state_dict": {}})


@pytest.mark.parametrize(
    ("start", "most", "plan"),
    [
        (StartPoint("started"), None, StepPlan(50, 50)),
        (StartPoint("started"), 30, StepPlan(30, 30)),
        (StartPoint("warm_started", state={"format": 1}), None, StepPlan(50, 50)),
        (resumed(23, epoch=2, batch=3), None, StepPlan(50, 50)),
        (resumed(23, epoch=2, batch=3), 40, StepPlan(40, 40)),
        (resumed(65, epoch=2, batch=3), None, StepPlan(92, 50)),  # begun anew at step 42
        (FOREIGN, None, StepPlan(1050, 50)),
        (FOREIGN, 1020, StepPlan(1020, 20)),
    ],
)
def test_the_plan_covers_the_steps_that_the_epochs_leave(start: StartPoint, most: int | None, plan: StepPlan) -> None:
    hparams = HParams(epochs=EPOCHS)
    assert plan_steps(start, hparams, RunLimits(max_steps=most), n_batches=N_BATCHES) == plan
