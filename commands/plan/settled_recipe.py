"""Settings of a run that depend on machine, corpus and earlier sessions, and the point it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from commands.plan.auto_settings import resolve_auto_settings
from commands.plan.estimate import StepCost, measure_step
from commands.plan.training_plan import (
    PlanRequest,
    TrainingPlan,
    is_of_earlier_version,
    plan_training,
    planned_job,
    without_recording_values,
)
from commands.run.corpus import PreparedCorpus
from commands.run.job import TrainingJob
from commands.run.start_point import StartPoint, find_start
from monitoring.terminal.task_progress import task_progress
from recipes import RECIPES
from recipes.plan import recording_epochs
from training.step.probe import ProbeTime


@dataclass(frozen=True)
class SettledRecipe:
    """A job whose settings are final, the point it starts from, its plan, and the cost of a step where it is known."""

    job: TrainingJob
    start: StartPoint
    plan: TrainingPlan | None
    cost: StepCost | None


def settle_recipe(job: TrainingJob, corpus: PreparedCorpus, folder: Path) -> SettledRecipe:
    """Set what depends on machine, corpus and earlier sessions: number format, threads, schedules; find the start."""
    if job.preset and is_of_earlier_version(folder):
        job = replace(job, hparams=without_recording_values(job))
    n_batches = corpus.loader(corpus.train, job.hparams).n_batches(0)
    probe_time = ProbeTime(job.limits.max_steps or _default_epochs(job, n_batches) * n_batches, job.limits.seconds_left)
    job = replace(job, hparams=resolve_auto_settings(job, corpus, folder, probe_time))
    start = find_start(job.options, job.hparams, folder, symbols=corpus.frontend.symbols)
    cost = _measure_cost(job, corpus, probe_time) if job.is_estimated else None
    plan = plan_training(folder, _plan_request(job, n_batches, start, cost)) if job.preset else None
    if plan is not None:
        job = planned_job(job, plan, corpus.facts)
    return SettledRecipe(job, start.compared_with(job.hparams), plan, cost)


def _measure_cost(job: TrainingJob, corpus: PreparedCorpus, probe_time: ProbeTime) -> StepCost:
    with task_progress(job.progress_console, "measuring a step") as progress:
        return measure_step(corpus, job.hparams, device=job.device, probe_time=probe_time, progress=progress)


def new_plan(job: TrainingJob, n_batches: int, cost: StepCost | None) -> TrainingPlan:
    """Plan of a run that begins now."""
    return _plan_request(job, n_batches, StartPoint("started"), cost).new_plan()


def _default_epochs(job: TrainingJob, n_batches: int) -> int:
    """Epochs of a training without a limit."""
    if job.options.data is None or not job.preset or "epochs" in job.given:
        return job.hparams.epochs
    return recording_epochs(n_batches, RECIPES[job.hparams.model].recording_steps[job.preset])


def _plan_request(job: TrainingJob, n_batches: int, start: StartPoint, cost: StepCost | None) -> PlanRequest:
    return PlanRequest(
        steps_per_epoch=n_batches,
        default_epochs=_default_epochs(job, n_batches),
        epochs=job.hparams.epochs if "epochs" in job.given else None,
        max_steps=job.limits.max_steps,
        max_minutes=job.options.max_minutes,
        seconds_left=job.limits.seconds_left,
        seconds_per_step=None if cost is None else cost.seconds,
        step=start.progress.step,
        foreign_steps=start.foreign_steps,
        is_demo=job.options.data is None,
        preset=job.preset,
        preset_reason=job.preset_reason,
        preset_seconds=job.preset_seconds,
        short_steps=RECIPES[job.hparams.model].short_plan_steps(job.preset),
    )
