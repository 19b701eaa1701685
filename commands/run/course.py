"""How far training is to go, from wherever it starts."""

from __future__ import annotations

from dataclasses import dataclass

from commands.run.resume import Start
from hparams import HParams
from training.run_state import RunLimits


@dataclass(frozen=True)
class Course:
    last_step: int
    length: int  # from its beginning, if it had to begin anew


def plan_course(start: Start, hparams: HParams, limits: RunLimits, *, n_batches: int) -> Course:
    length, most = hparams.epochs * n_batches, limits.max_steps
    last_step = start.step + length - start.done_of_epochs(n_batches)
    if most is None:
        return Course(last_step, length)
    return Course(min(last_step, most), min(length, most - start.foreign_steps))
