from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from commands.options import TrainOptions
from commands.plan.training_plan import (
    PLAN_FILE,
    PlanRequest,
    TrainingPlan,
    plan_training,
    planned_job,
    read_plan,
    with_batch_values,
    write_plan,
)
from commands.run.job import plan_job
from hparams import UserError
from recipes.facts import CorpusFacts
from tests.support.program import Program, tiny

FACTS = CorpusFacts(utterances=20, hours=0.01, mean_frames=100.0, longest_frames=100, frames_per_symbol=3.2)
REQUEST = PlanRequest(
    steps_per_epoch=10,
    default_epochs=4,
    epochs=None,
    max_steps=None,
    max_minutes=None,
    seconds_left=math.inf,
    seconds_per_step=None,
    step=0,
)
TIMED: dict[str, Any] = {"max_minutes": 10, "seconds_left": 600.0, "seconds_per_step": 2.0}


def test_a_plan_is_short_below_a_share_of_the_presets_reference() -> None:
    assert replace(REQUEST, short_steps=41.0).new_plan().is_short
    assert not replace(REQUEST, short_steps=40.0).new_plan().is_short


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 40),  # the preset's epochs
        ({"epochs": 7}, 70),
        ({"max_steps": 33}, 33),
        ({"max_steps": 500}, 500),  # beyond the preset's epochs, since a person wants them
        ({"max_steps": 500, "epochs": 7}, 70),
        (TIMED, 270),  # a tenth of the time is for evaluations and the end
        (TIMED | {"is_demo": True}, 40),
        (TIMED | {"is_demo": True, "max_steps": 100}, 100),
        (TIMED | {"max_steps": 100}, 100),
        (TIMED | {"epochs": 2}, 20),
        (TIMED | {"seconds_per_step": None}, 40),  # nothing was measured: the time limit alone will end it
        (TIMED | {"seconds_left": 0.1}, 1),
    ],
)
def test_a_plan_is_as_long_as_the_shortest_limit(changes: dict[str, Any], steps: int) -> None:
    assert replace(REQUEST, **changes).new_plan().steps == steps


def plan_and_store(folder: Path, **changes: Any) -> TrainingPlan:
    plan = plan_training(folder, replace(REQUEST, **changes))
    assert plan is not None
    write_plan(folder, plan)
    add_checkpoint(folder)
    return plan


def add_checkpoint(folder: Path) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "step-00000002-0123456789abcdef.pt").touch()


def test_epochs_come_on_top_of_the_steps_of_another_program() -> None:
    request = replace(REQUEST, foreign_steps=1_000, step=1_000)
    assert request.new_plan().steps == 1_040
    assert replace(request, epochs=2, max_steps=1_010).new_plan().steps == 1_010


def test_a_plan_is_stored_and_kept_by_a_later_session(tmp_path: Path) -> None:
    first = plan_and_store(tmp_path, **TIMED)
    slower = replace(REQUEST, **TIMED | {"seconds_per_step": 8.0, "step": 100})
    assert plan_training(tmp_path, slower) == first == read_plan(tmp_path)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"max_minutes": 20, "seconds_left": 1200.0, "seconds_per_step": 2.0, "step": 100}, 640),
        ({"max_steps": 1_000, "step": 100}, 1_000),
        ({"epochs": 50, "step": 100}, 500),
        ({"step": 270}, 40),  # its own end is reached: the preset's epochs
        (TIMED | {"max_minutes": 5, "step": 100}, 270),  # less than before: the plan stays, the limit ends the session
        ({"max_steps": 150, "step": 100}, 270),
        ({"step": 100}, 270),
    ],
)
def test_only_a_longer_limit_makes_a_new_plan(tmp_path: Path, changes: dict[str, Any], steps: int) -> None:
    plan_and_store(tmp_path, **TIMED)
    assert plan_and_store(tmp_path, **changes).steps == steps


def test_a_longer_limit_stretches_the_rest_of_the_schedules(tmp_path: Path) -> None:
    plan_and_store(tmp_path, **TIMED)
    longer = plan_and_store(tmp_path, max_minutes=40, seconds_left=2000.0, seconds_per_step=2.0, step=100)
    assert (longer.steps, longer.schedule_steps) == (1_000, 270)
    assert [longer.stretch.planned_step(step) for step in (100, 1_000)] == pytest.approx([100, 270])
    assert longer.correction_step == 145  # a twentieth of what is left
    corrected = longer.corrected(150, seconds_per_step=1.0, seconds_left=1900.0)
    assert corrected.steps == 1_860
    planned = [corrected.stretch.planned_step(step) for step in (150, 1_860)]
    assert planned == pytest.approx([longer.stretch.planned_step(150), 270])
    again = corrected.extended(replace(REQUEST, max_steps=4_000).new_plan(), 1_000)
    planned = [again.stretch.planned_step(step) for step in (1_000, 4_000)]
    assert planned == pytest.approx([corrected.stretch.planned_step(1_000), 270])


def test_a_longer_limit_makes_a_new_plan_where_little_is_left(tmp_path: Path) -> None:
    plan_and_store(tmp_path, **TIMED)
    assert plan_and_store(tmp_path, max_steps=1_000, step=250).schedule_steps == 1_000


def test_a_run_that_was_begun_without_a_plan_keeps_its_schedules(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / f"step-00000005-{'0' * 16}.pt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    assert plan_training(tmp_path, REQUEST) is None


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"steps": 3}), json.dumps({"unknown": 3})])
def test_a_damaged_plan_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / PLAN_FILE).write_text(content)
    with pytest.raises(UserError, match="expected the plan of a training"):
        read_plan(tmp_path)


def test_a_plan_knows_whether_a_limit_made_it() -> None:
    plan = TrainingPlan(steps=1, schedule_steps=1, steps_per_epoch=1)
    assert not plan.is_limited and replace(plan, max_steps=1).is_limited and replace(plan, max_minutes=1).is_limited


def test_a_plan_of_minutes_is_corrected_once_and_stretches_the_rest_of_the_schedules() -> None:
    plan = replace(REQUEST, **TIMED).new_plan()
    assert plan.correction_step == 14
    corrected = plan.corrected(20, seconds_per_step=1.0, seconds_left=580.0)
    assert (corrected.steps, corrected.schedule_steps, corrected.correction_step) == (542, 270, None)
    planned = [corrected.stretch.planned_step(step) for step in (0, 20, 542)]
    assert planned == pytest.approx([0, 20, 270])
    kept = plan.corrected(20, seconds_per_step=2.05, seconds_left=555.0)
    assert (kept.steps, kept.stretch.pace, kept.correction_step) == (plan.steps, 1.0, None)  # never corrected again


@pytest.mark.parametrize("changes", [{}, {"max_steps": 100}, TIMED | {"max_steps": 100}, TIMED | {"epochs": 2}])
def test_only_a_plan_that_the_time_decides_is_corrected(changes: dict[str, Any]) -> None:
    assert replace(REQUEST, **changes).new_plan().correction_step is None


def test_a_correction_stays_within_the_other_limits() -> None:
    plan = replace(REQUEST, **TIMED, max_steps=300).new_plan()
    assert plan.steps == 270 and plan.corrected(20, seconds_per_step=0.1, seconds_left=580.0).steps == 300


def batch_of(folder: Path, **options: Any) -> tuple[int, int]:
    given: dict[str, Any] = {"data": "somewhere", "preset": "demo", "quiet": True} | options
    hparams = with_batch_values(plan_job(TrainOptions(output=folder, **given)), FACTS, folder).hparams
    return hparams.batch_size, hparams.n_frames_per_step


def test_a_new_run_gets_batches_that_suit_the_corpus_and_a_begun_one_keeps_its_own(tmp_path: Path) -> None:
    assert batch_of(tmp_path) == (5, 2)
    assert batch_of(tmp_path, batch_size=8) == (8, 2)
    assert batch_of(tmp_path, data=None) == (8, 3)
    (tmp_path / "hparams.json").write_text(json.dumps({"batch_size": 7, "n_frames_per_step": 3}), encoding="utf-8")
    assert batch_of(tmp_path) == (5, 2)  # it never came to a checkpoint
    add_checkpoint(tmp_path)
    assert batch_of(tmp_path) == (7, 3)


def test_a_run_that_starts_from_another_has_its_reduction_factor(program: Program, data: Path) -> None:
    assert program("--data", data, "--run_name", "old", *tiny(n_frames_per_step=3), "--max_steps", 2).code == 0
    old, new = str(program.output / "old"), program.output / "new"
    assert batch_of(new, data=str(data), warm_start=old) == (5, 3)
    assert batch_of(new, data=str(data), resume=old) == (4, 3)  # it goes on
    torch.save({"state_dict": {}, "iteration": 7, "optimizer": {}}, program.output / "foreign.pt")
    assert batch_of(new, warm_start=str(program.output / "foreign.pt")) == (5, 3)
    assert batch_of(new, resume=str(program.output / "foreign.pt")) == (8, 3)


def test_a_plan_without_a_checkpoint_is_made_again(tmp_path: Path) -> None:
    write_plan(tmp_path, replace(REQUEST, preset="small").new_plan())
    plan = plan_training(tmp_path, replace(REQUEST, preset="demo", default_epochs=2))
    assert plan is not None and (plan.steps, plan.preset) == (20, "demo")


def test_a_stored_plan_learns_the_preset(tmp_path: Path) -> None:
    write_plan(tmp_path, REQUEST.new_plan())
    add_checkpoint(tmp_path)
    plan = plan_training(tmp_path, replace(REQUEST, preset="demo", step=2))
    assert plan is not None and plan.preset == "demo"


def test_a_plan_of_many_epochs_has_dropout_unless_it_is_of_an_earlier_version(tmp_path: Path) -> None:
    job = plan_job(TrainOptions(output=tmp_path, data="somewhere", preset="demo", quiet=True))
    plan = replace(REQUEST, epochs=40).new_plan()
    assert planned_job(job, plan, FACTS).hparams.p_encoder_dropout == 0.2
    assert planned_job(job, replace(plan, adds_dropout=False), FACTS).hparams.p_encoder_dropout == 0.0
    assert planned_job(job, replace(REQUEST, epochs=39).new_plan(), FACTS).hparams.p_encoder_dropout == 0.0
    demo = plan_job(TrainOptions(output=tmp_path, preset="demo", quiet=True))
    assert planned_job(demo, plan, FACTS).hparams.p_encoder_dropout == 0.0


def test_a_short_plan_of_a_large_preset_has_its_own_settings_unless_they_are_given(tmp_path: Path) -> None:
    options = TrainOptions(output=tmp_path, data="somewhere", preset="full", quiet=True)
    plan = replace(REQUEST, max_steps=6_000, short_steps=40_000).new_plan()

    job = planned_job(plan_job(options), plan, FACTS)

    assert job.has_short_plan and job.hparams.learning_rate == 1e-3
    assert job.hparams.alignment_patience_steps == 300  # thirty epochs
    assert job.hparams.p_encoder_dropout == 0.2  # in 600 epochs too
    given = plan_job(replace(options, hparams="learning_rate=0.0005,p_encoder_dropout=0.4"))
    hparams = planned_job(given, plan, FACTS).hparams
    assert (hparams.learning_rate, hparams.p_encoder_dropout) == (0.0005, 0.4)
    assert planned_job(given, replace(plan, is_short=False), FACTS).hparams.warmup_steps == 15


def test_steps_of_another_program_are_no_epochs_of_the_run(tmp_path: Path) -> None:
    job = plan_job(TrainOptions(output=tmp_path, data="somewhere", preset="demo", quiet=True))
    plan = replace(REQUEST, step=1_000, foreign_steps=1_000).new_plan()
    assert plan.steps == 1_040 and planned_job(job, plan, FACTS).hparams.epochs == 4
