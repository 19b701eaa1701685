"""The preset of a run on recordings where a person names none: the largest that the time is enough for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from commands.options import TrainOptions
from commands.plan.estimate import format_duration, measure_passes
from commands.plan.training_plan import TIME_SHARE, read_plan
from commands.run.corpus import corpus_name
from commands.run.job import asked_preset, build_recipe, choose_device
from commands.run.run_folder import choose_run_folder
from corpus.batches import Batch, Example, collate
from corpus.utterances import Utterance, read_corpus
from hparams import HParams
from models import build_model
from models.memory import release_gpu_memory
from recipes import RECIPES
from recipes.plan import recording_epochs
from smart_tuner.settings import load_settings
from training.checkpoints.checkpoint import list_checkpoints
from training.step.probe import ProbeTime

SMALLEST, LARGER = "demo", ("small", "full")
LARGEST = LARGER[-1]
PATIENCE_SECONDS = 24 * 3600.0
"""A training without a limit should be over in a day."""
MEASURED_SECONDS, MEASURED_SYMBOLS = 5.0, 70
"""Length of the utterance that is measured: a common sentence. The choice needs no more than its order of magnitude."""


@dataclass(frozen=True)
class PresetCost:
    """Steps that a preset needs to be worth its size, and the measured time of one."""

    name: str
    steps: int
    seconds_per_step: float

    @property
    def seconds(self) -> float:
        return self.steps * self.seconds_per_step

    def __str__(self) -> str:
        steps = f"{self.steps:,} steps of {self.seconds_per_step:.2g} s"
        return f"{self.name} takes about {format_duration(self.seconds)} ({steps})"


def with_preset(options: TrainOptions, console: Console) -> TrainOptions:
    """Return the options with the preset that a person or an earlier session chose, else with one that is measured."""
    if options.data is None or asked_preset(options) is not None:
        return options
    preset = _preset_of_run(options)
    if preset is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        preset = LARGEST  # every process must choose the same one, and several are started for a large one
    return replace(options, preset=preset) if preset else _with_measured_preset(options, console)


def with_preset_of_device(options: TrainOptions) -> TrainOptions:
    """Return the options of a study with a preset: of short trainings on a CPU, only the smallest come to an end."""
    if options.data is None or asked_preset(options) is not None:
        return options
    return replace(options, preset=SMALLEST if choose_device(options.device).type == "cpu" else LARGEST)


def _preset_of_run(options: TrainOptions) -> str | None:
    """The preset of a run that was begun before; None for a new one."""
    folder = choose_run_folder(options, _recipe(options, LARGEST), corpus_name(options))
    if options.resume_path is not None and options.resume_path.is_file():
        folder = options.resume_path.parent.parent
    if not list_checkpoints(folder / "checkpoints"):
        return None
    plan = read_plan(folder)
    return LARGEST if plan is None or plan.preset is None else plan.preset  # once it was the only default


def _with_measured_preset(options: TrainOptions, console: Console) -> TrainOptions:
    seconds = PATIENCE_SECONDS if options.max_minutes is None else TIME_SHARE * 60 * options.max_minutes
    limit = "a day" if options.max_minutes is None else f"--max_minutes {options.max_minutes:g}"
    chosen, reason = SMALLEST, ""
    for cost in _measured_costs(options, seconds):
        if cost.seconds > seconds:
            reason = f"{cost}, {limit} is too short for it"
            break
        chosen, reason = cost.name, f"{cost}, {limit} is enough"
    console.print(f"preset  {chosen}: {reason}", soft_wrap=True)
    return replace(options, preset=chosen, preset_reason=reason)


def _measured_costs(options: TrainOptions, seconds: float) -> Iterator[PresetCost]:
    """Costs of the larger presets, the smaller one first."""
    n_utterances = len(read_corpus(str(options.data), options.data_format).utterances)
    for name in LARGER:
        hparams = _recipe(options, name)
        recipe, steps_per_epoch = RECIPES[hparams.model], max(1, math.ceil(n_utterances / hparams.batch_size))
        if options.max_minutes is not None:
            steps = recipe.least_steps[name]
        else:
            steps = steps_per_epoch * recording_epochs(hparams.epochs, steps_per_epoch, recipe.recording_steps[name])
        steps = min(steps, options.max_steps or steps)
        probe_time = ProbeTime(steps, seconds)
        yield PresetCost(name, steps, _measure_step(hparams, choose_device(options.device), probe_time))


def _recipe(options: TrainOptions, preset: str) -> HParams:
    """The recipe with this preset, as far as the speed depends on it: for one voice, without a guide."""
    hparams = build_recipe(replace(options, preset=preset), load_settings(options.config))
    changes = {"num_speakers": 0, "speakers": (), "alignment_guide": "diagonal"}
    changes |= {"precision": "float32"} if hparams.precision == "auto" else {}
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
