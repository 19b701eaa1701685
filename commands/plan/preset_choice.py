"""The preset of a run on recordings where a person names none: the largest that the time is enough for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commands.plan.estimate import format_duration, measure_passes
from commands.plan.training_plan import STEP_TIME_SHARE, read_plan
from commands.run.corpus import corpus_name
from commands.run.job import TrainingJob, asked_preset, build_recipe, plan_job
from commands.run.run_folder import choose_run_folder
from commands.run.start_point import source_settings
from corpus.batches import Batch, Example, collate
from corpus.utterances import Utterance, read_corpus
from hparams import HParams, build_hparams
from models import build_model
from models.memory import release_gpu_memory
from recipes import RECIPES
from recipes.plan import fitting_batch_size, recording_epochs
from training.checkpoints.checkpoint import list_checkpoints
from training.step.probe import ProbeTime

SMALLEST, LARGER = "demo", ("small", "full")
LARGEST = LARGER[-1]
DEFAULT_LIMIT_SECONDS = 24 * 3600.0
"""A training without a limit should be over in a day."""
MEASURED_SECONDS, MEASURED_SYMBOLS = 5.0, 70
"""Length of the utterance that is measured: a common sentence. The choice needs no more than its order of magnitude."""


@dataclass(frozen=True)
class PresetChoice:
    """A preset, and why the program has chosen it; empty where it follows from an earlier training.

    `step_seconds`: measured, of each preset that was tried.
    """

    name: str
    reason: str = ""
    step_seconds: Mapping[str, float] = field(default_factory=dict)


def choose_preset(job: TrainingJob, *, is_measured: bool = True) -> PresetChoice | None:
    """Choose where a person has not: as an earlier training began, else by measuring; None where one is asked for."""
    options = job.options
    if options.data is None or asked_preset(options) is not None:
        return None
    name = _preset_of_run(job)
    if name is None and (settings := source_settings(options)) is not None:
        name = closest_preset(job.hparams.model, settings)
    if name is None and not is_measured:
        name = LARGEST
    return _choose_by_time(job) if name is None else PresetChoice(name)


def with_preset(job: TrainingJob, choice: PresetChoice | None) -> TrainingJob:
    """Return the job with the chosen preset; the time that the choice took counts."""
    if choice is None:
        return job
    if choice.reason:
        job.progress_console.print(f"preset  {choice.name}: {choice.reason}", soft_wrap=True)
    chosen = plan_job(replace(job.options, preset=choice.name))
    return replace(chosen, limits=job.limits, preset_reason=choice.reason, preset_seconds=choice.step_seconds)


def _preset_of_run(job: TrainingJob) -> str | None:
    """The preset of a run that was begun before; None for a new one."""
    folder = choose_run_folder(job.options, job.hparams, corpus_name(job.options))
    if not list_checkpoints(folder / "checkpoints"):
        return None
    plan = read_plan(folder)
    return LARGEST if plan is None or plan.preset is None else plan.preset  # once it was the only default


def closest_preset(model: str, settings: Mapping[str, Any]) -> str:
    """The preset whose architecture has the most in common with these settings; the largest for unknown ones."""
    recipe = RECIPES[model]

    def n_equal(name: str) -> int:
        values = build_hparams(recipe.presets[name]).model_dump()
        return sum(values[field] == settings.get(field) for field in recipe.architecture_fields)

    return max((LARGEST, *recipe.presets), key=n_equal)


def _choose_by_time(job: TrainingJob) -> PresetChoice:
    """The largest preset whose training comes to something: in the time, and in the steps that it may take."""
    minutes = job.options.max_minutes
    seconds = DEFAULT_LIMIT_SECONDS if minutes is None else STEP_TIME_SHARE * job.limits.seconds_left
    limit = "a day" if minutes is None else f"--max_minutes {minutes:g}"
    n_utterances = len(read_corpus(str(job.options.data), job.options.data_format).utterances)
    choice, measured = PresetChoice(SMALLEST), dict[str, float]()
    for name in LARGER:
        hparams = _measured_recipe(job, name, n_utterances)
        planned, least = _planned_steps(job, hparams, name, n_utterances), RECIPES[hparams.model].least_steps[name]
        if planned < least:
            return PresetChoice(choice.name, f"{name} needs {least:,} steps, {planned:,} are planned", measured)
        needed = planned if minutes is None else least
        step_seconds = measured[name] = _measure_step(hparams, job.device, ProbeTime(needed, seconds))
        duration = format_duration(needed * step_seconds)
        cost = f"{name} takes about {duration} ({needed:,} steps of {step_seconds:.2g} s)"
        if needed * step_seconds > seconds:
            return PresetChoice(choice.name, f"{cost}, {limit} is too short for it", measured)
        choice = PresetChoice(name, f"{cost}, {limit} is enough", measured)
    return choice


def _planned_steps(job: TrainingJob, hparams: HParams, preset: str, n_utterances: int) -> int:
    """Steps of a training without a time limit."""
    steps_per_epoch = math.ceil(n_utterances / hparams.batch_size)
    recording_steps = RECIPES[hparams.model].recording_steps[preset]
    epochs = hparams.epochs if "epochs" in job.given else recording_epochs(max(1, steps_per_epoch), recording_steps)
    return min(epochs * steps_per_epoch, job.limits.max_steps or epochs * steps_per_epoch)


def _measured_recipe(job: TrainingJob, preset: str, n_utterances: int) -> HParams:
    """The recipe with this preset, as far as the speed depends on it: for one voice, without a guide."""
    hparams = build_recipe(replace(job.options, preset=preset), job.settings)
    changes: dict[str, Any] = {"num_speakers": 0, "speakers": (), "alignment_guide": "diagonal"}
    if hparams.precision == "auto":
        changes["precision"] = "float32"
    if "batch_size" not in job.given:
        changes["batch_size"] = fitting_batch_size(hparams.batch_size, n_utterances)
    return hparams.model_copy(update=changes)


def _measure_step(hparams: HParams, device: torch.device, probe_time: ProbeTime) -> float:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = build_model(hparams, MEASURED_SYMBOLS).to(device).train()
        n, probe = measure_passes(
            model, lambda n: _made_up_batch(n, hparams).to(device), hparams.batch_size, hparams, probe_time
        )
    del model
    release_gpu_memory()
    return probe.seconds * hparams.batch_size / n


def _made_up_batch(n_utterances: int, hparams: HParams) -> Batch:
    n_frames = int(MEASURED_SECONDS * hparams.sampling_rate / hparams.hop_length)
    utterance = Utterance(id="made-up", audio_path=Path("made-up"), text="")
    example = Example(utterance, tuple(range(MEASURED_SYMBOLS)), n_frames)
    mel = np.random.default_rng(0).normal(-5.0, 1.0, (hparams.n_mel_channels, n_frames)).astype(np.float32)
    return collate([example] * n_utterances, [mel] * n_utterances)
