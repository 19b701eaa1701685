"""How far training goes: anew, resumed, after a new start in mid-run, from another program's checkpoint."""

from __future__ import annotations

import pytest

from commands.run.course import Course, plan_course
from commands.run.resume import Start
from hparams import HParams
from training.run_state import RunLimits

N_BATCHES, EPOCHS = 10, 5


def resumed(step: int, *, epoch: int, batch: int) -> Start:
    return Start("resumed", state={"format": 1, "progress": {"step": step, "epoch": epoch, "batch": batch}})


FOREIGN = Start("resumed", state={"iteration": 1000, "state_dict": {}})


@pytest.mark.parametrize(
    ("start", "most", "course"),
    [
        (Start("started"), None, Course(50, 50)),
        (Start("started"), 30, Course(30, 30)),
        (Start("warm_started", state={"format": 1}), None, Course(50, 50)),
        (resumed(23, epoch=2, batch=3), None, Course(50, 50)),
        (resumed(23, epoch=2, batch=3), 40, Course(40, 40)),
        (resumed(65, epoch=2, batch=3), None, Course(92, 50)),  # begun anew at step 42
        (FOREIGN, None, Course(1050, 50)),
        (FOREIGN, 1020, Course(1020, 20)),
    ],
)
def test_the_course_is_what_the_epochs_leave(start: Start, most: int | None, course: Course) -> None:
    hparams = HParams(epochs=EPOCHS)
    assert plan_course(start, hparams, RunLimits(max_steps=most), n_batches=N_BATCHES) == course
