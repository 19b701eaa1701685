"""Plan of a run: its length in steps, from epochs, a step limit or a time limit, and the schedules scaled to it.

The plan is stored in the run's folder when the run begins. A later session keeps it, unless a longer limit is given:
then the run gets a new plan, whose schedules apply from there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from commands.options import TrainOptions
from commands.run.job import TrainingJob
from commands.run.start_point import source_settings
from files import write_atomically
from hparams import HParams, UserError, build_hparams
from models import ARCHITECTURES
from recipes import RECIPES
from recipes.facts import CorpusFacts
from recipes.plan import PlanLength, batch_values, corpus_values, dropout_values, schedule_values
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import StepLimit
from training.schedule import PlanStretch

PLAN_FILE = "plan.json"
STEP_TIME_SHARE = 0.9
"""Share of a time limit that is for steps; the rest is for evaluations, checkpoints and the end."""
CORRECTION_SHARE, MIN_CORRECTION_STEPS = 0.05, 10
"""Part of the plan after which its length is corrected by the real speed."""
SMALL_CORRECTION = 0.1
LEAST_REST = 0.1
"""Share of a plan that must be left to be stretched to a longer limit."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Length of a run, the limits that it was made for, and the length that its schedules were made for.

    Where minutes were turned into steps, the length is corrected once by the real speed; the rest of the schedules is
    stretched to it from there, as it is to a longer limit that is given later.
    """

    steps: int
    schedule_steps: int
    steps_per_epoch: int
    max_steps: int | None = None
    max_minutes: float | None = None
    seconds_per_step: float | None = None  # measured, where minutes were turned into steps
    most_steps: int | None = None  # of the other limits, where minutes decide the length
    corrected_at: int | None = None  # the step
    extended_at: int | None = None  # the step at which a longer limit was given
    schedule_at: float | None = None  # where the schedules stood at the later of both, if not at this step too
    foreign_steps: int = 0  # of these, steps that another program has done
    preset: str | None = None  # None: not recorded, by an earlier version
    preset_reason: str = ""  # where the program has chosen it
    preset_seconds: Mapping[str, float] = field(default_factory=dict)  # of a step, measured for the choice
    adds_dropout: bool = False  # in many epochs; earlier versions did not
    is_short: bool = False  # a large preset in far fewer steps than its schedules are made for

    @property
    def is_limited(self) -> bool:
        """Whether a step or time limit made it, rather than epochs."""
        return self.max_steps is not None or self.max_minutes is not None

    @property
    def length(self) -> PlanLength:
        return PlanLength(self.schedule_steps, self.steps_per_epoch)

    @property
    def stretch(self) -> PlanStretch:
        """Pace of the schedules since the correction."""
        start = self.extended_at if self.corrected_at is None else self.corrected_at
        if start is None or self.steps == start:
            return PlanStretch()
        at = start if self.schedule_at is None else self.schedule_at
        return PlanStretch(start, max(0.0, (self.schedule_steps - at) / (self.steps - start)), at - start)

    @property
    def correction_step(self) -> int | None:
        """Step from which on the real speed is known well enough; None where the length does not depend on it."""
        if self.seconds_per_step is None or self.corrected_at is not None:
            return None
        begun = self.extended_at or 0
        return begun + max(MIN_CORRECTION_STEPS, round(CORRECTION_SHARE * (self.steps - begun)))

    def corrected(self, step: int, seconds_per_step: float, seconds_left: float) -> TrainingPlan:
        """The plan for the real speed, measured by this step; its length stays if that changes little."""
        steps = step + max(1, int(STEP_TIME_SHARE * seconds_left / seconds_per_step))
        steps = min(steps, self.most_steps or steps)
        if abs(steps / self.steps - 1) <= SMALL_CORRECTION:
            steps = self.steps
        at = None if self.extended_at is None else self.stretch.planned_step(step)
        return replace(self, steps=steps, corrected_at=step, schedule_at=at, seconds_per_step=seconds_per_step)

    def extended(self, longer: TrainingPlan, step: int) -> TrainingPlan:
        """The plan of a longer limit: the rest of the schedules is stretched to it; a new one where little is left."""
        at = self.stretch.planned_step(step)
        if self.schedule_steps - at < LEAST_REST * self.schedule_steps:
            return longer
        return replace(
            longer,
            schedule_steps=self.schedule_steps,
            extended_at=step,
            schedule_at=at,
            adds_dropout=self.adds_dropout,
            is_short=self.is_short,
        )


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """Limits that a command asks for, and the facts that turn them into steps."""

    steps_per_epoch: int
    default_epochs: int
    epochs: int | None  # given by a person
    max_steps: int | None
    max_minutes: float | None
    seconds_left: float
    seconds_per_step: float | None  # None: not measured
    step: int  # at which this session begins
    foreign_steps: int = 0  # done by another program; the epochs come on top of them
    is_demo: bool = False  # the demo's own epochs are enough for it, however much time there is
    preset: str | None = None
    preset_reason: str = ""
    preset_seconds: Mapping[str, float] = field(default_factory=dict)
    short_steps: float = 0  # a plan of fewer steps is short for the preset

    @property
    def steps_in_time(self) -> float:
        """Step at which the time is over; infinity without a time limit."""
        if self.max_minutes is None or self.seconds_per_step is None:
            return math.inf
        return self.step + max(1, int(STEP_TIME_SHARE * self.seconds_left / self.seconds_per_step))

    def new_plan(self) -> TrainingPlan:
        """Plan of the shortest limit; with recordings a time limit replaces the preset's epochs, not a person's."""
        epochs, is_limited_in_time = self.epochs, self.steps_in_time < math.inf and not self.is_demo
        if epochs is None and self.max_steps is None and not is_limited_in_time:
            epochs = self.default_epochs
        most_steps = min(
            math.inf if epochs is None else self.foreign_steps + epochs * self.steps_per_epoch,
            math.inf if self.max_steps is None else self.max_steps,
        )
        steps, is_by_time = int(min(most_steps, self.steps_in_time)), self.steps_in_time < most_steps
        return TrainingPlan(
            steps=steps,
            schedule_steps=steps,
            steps_per_epoch=self.steps_per_epoch,
            max_steps=self.max_steps,
            max_minutes=self.max_minutes,
            seconds_per_step=self.seconds_per_step if is_by_time else None,
            most_steps=int(most_steps) if is_by_time and most_steps < math.inf else None,
            foreign_steps=self.foreign_steps,
            preset=self.preset,
            preset_reason=self.preset_reason,
            preset_seconds=self.preset_seconds,
            adds_dropout=True,
            is_short=steps < self.short_steps,
        )

    def exceeds(self, plan: TrainingPlan) -> bool:
        """Tell whether a person asks for more than a stored plan: all limits that are given lie beyond it.

        Without a limit, a run that has reached its own goes on to the preset's epochs.
        """
        beyond = []
        if self.epochs is not None:
            beyond.append(self.epochs * self.steps_per_epoch > plan.steps)
        if self.max_steps is not None:
            beyond.append(self.max_steps > plan.steps)
        if self.max_minutes is not None:
            before = plan.max_minutes
            beyond.append(self.steps_in_time > plan.steps if before is None else self.max_minutes > before)
        return all(beyond) if beyond else plan.is_limited and self.step >= plan.steps


def _has_checkpoints(folder: Path) -> bool:
    return bool(list_checkpoints(folder / "checkpoints"))


def is_of_earlier_version(folder: Path) -> bool:
    """Tell whether the run was begun before runs had plans."""
    return not (folder / PLAN_FILE).is_file() and _has_checkpoints(folder)


def without_recording_values(job: TrainingJob) -> HParams:
    """The recipe with which an earlier version began a run on recordings: the preset's own values."""
    recipe = RECIPES[job.hparams.model]
    preset, names = build_hparams(recipe.presets[job.preset]), recipe.recordings[job.preset].keys() - job.given
    return build_hparams(job.hparams.model_dump(), {name: getattr(preset, name) for name in names})


def with_begun_level(hparams: HParams, folder: Path) -> HParams:
    """The recipe with the level of recordings that the run in the folder was begun with; as it is for a new run."""
    path = folder / "hparams.json"
    if hparams.speech_level != "auto" or not path.is_file() or not list_checkpoints(folder / "checkpoints"):
        return hparams
    begun = json.loads(path.read_text(encoding="utf-8"))
    return build_hparams(hparams.model_dump(), {"speech_level": begun.get("speech_level", "as_recorded")})


def with_batch_values(job: TrainingJob, facts: CorpusFacts, folder: Path) -> TrainingJob:
    """The job with a batch size and a reduction factor that suit the recordings; a begun run keeps its own."""
    if job.options.data is None or not job.preset:
        return job
    has_attention = ARCHITECTURES[job.hparams.model].HAS_ATTENTION
    values = batch_values(job.hparams.model_dump(), facts, has_attention=has_attention, given=job.given)
    if (begun := _begun_settings(job.options, folder)) is not None:
        goes_on = job.options.resume_path is not None or _has_checkpoints(folder)
        kept = values.keys() if goes_on else values.keys() & {"n_frames_per_step"}  # on which the weights depend
        values = {name: value for name, value in values.items() if name not in kept}
        values |= {name: begun[name] for name in kept & begun.keys()}
    return replace(job, hparams=build_hparams(job.hparams.model_dump(), values))


def _begun_settings(options: TrainOptions, folder: Path) -> dict[str, Any] | None:
    """Settings that a run was begun with, or those of what it starts from; None for a new run from nothing."""
    if not _has_checkpoints(folder):
        return source_settings(options)
    path = folder / "hparams.json"
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return settings


def plan_training(folder: Path, request: PlanRequest) -> TrainingPlan | None:
    """Return the run's plan: the stored one, or a new one.

    None for a run that an earlier version began without a plan: it keeps the schedules that it was begun with.
    """
    if is_of_earlier_version(folder):
        return None
    stored = read_plan(folder) if _has_checkpoints(folder) else None
    if stored is None:
        return request.new_plan()
    if request.exceeds(stored):
        return stored.extended(request.new_plan(), request.step)
    return replace(stored, preset=request.preset)


def write_plan(folder: Path, plan: TrainingPlan) -> None:
    write_atomically(folder / PLAN_FILE, (json.dumps(asdict(plan), indent=1) + "\n").encode())


def read_plan(folder: Path) -> TrainingPlan | None:
    path = folder / PLAN_FILE
    if not path.is_file():
        return None
    try:
        return TrainingPlan(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: expected the plan of a training ({error}); remove it to make a new one") from error


def planned_schedule(
    model: str, preset: str, length: PlanLength, *, is_short: bool, given: Collection[str] = ()
) -> dict[str, Any]:
    """The preset's schedules for a training of this length."""
    recipe = RECIPES[model]
    changes = recipe.short_plans[preset] if is_short else {}
    reference_steps = (recipe.least_steps if is_short else recipe.reference_steps)[preset]
    values = build_hparams(recipe.presets[preset], changes).model_dump()
    kept = {name: value for name, value in changes.items() if name not in given}
    return kept | schedule_values(values, length, reference_steps=reference_steps, given=given)


def planned_job(job: TrainingJob, plan: TrainingPlan, facts: CorpusFacts) -> TrainingJob:
    """The job with schedules of the plan's length, and its end; values that a person has given stay."""
    hparams, limits = job.hparams, job.limits
    values: dict[str, Any] = planned_schedule(
        hparams.model, job.preset, plan.length, is_short=plan.is_short, given=job.given
    )
    if job.options.data is not None:
        has_gate = ARCHITECTURES[hparams.model].HAS_GATE
        values |= corpus_values(hparams.model_dump(), facts, has_gate=has_gate, given=job.given)
        if plan.adds_dropout:
            dropout, epochs = RECIPES[hparams.model].dropout, plan.schedule_steps / plan.steps_per_epoch
            values |= dropout_values(hparams.model_dump() | values, dropout, epochs=epochs, given=job.given)
    if plan.is_limited:
        if limits.max_steps is None or plan.steps < limits.max_steps:
            limit: StepLimit = "max_steps" if plan.max_minutes is None else "max_minutes"
            limits = replace(limits, max_steps=plan.steps, step_limit=limit)
        if "epochs" not in job.given:  # one more, since the number of batches differs a little from epoch to epoch
            values["epochs"] = max(hparams.epochs, 1 + math.ceil(plan.steps / plan.steps_per_epoch))
    elif "epochs" not in job.given:
        values["epochs"] = max(1, round((plan.steps - plan.foreign_steps) / plan.steps_per_epoch))
    return replace(
        job, hparams=build_hparams(hparams.model_dump(), values), limits=limits, has_short_plan=plan.is_short
    )
