"""A training job: everything that is decided before the run's folder is touched."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from rich.console import Console

from commands.console import open_console
from commands.options import TrainOptions
from commands.process.ranks import rank_device
from commands.run.recipe import choose_device, recipe
from hparams import HParams, UserError
from smart_tuner.settings import Settings, load_settings
from training.distributed.rank_group import RankGroup
from training.knobs import KNOB_NAMES
from training.run_state import RunLimits
from training.step.allocator import keep_freed_memory
from training.step.precision import require_precision
from training.trainer import EnhancedTrainer


@dataclass(frozen=True)
class TrainingJob:
    """Options, settings and limits of one training."""

    options: TrainOptions
    settings: Settings
    hparams: HParams
    device: torch.device
    console: Console  # for the result
    progress_console: Console  # for everything else; silent with --quiet
    limits: RunLimits
    on_trainer_ready: Callable[[EnhancedTrainer], None] = lambda trainer: None  # called before the first step
    disabled_actions: frozenset[str] = frozenset()  # actions that the supervisor must not order
    is_estimated: bool = True  # whether time and memory are measured before the first step
    rank_group: RankGroup = field(default_factory=RankGroup.single)


def plan_job(options: TrainOptions) -> TrainingJob:
    """Check everything the person asked for before anything is written."""
    settings = load_settings(options.config, mlflow_uri=options.mlflow_uri)
    hparams = recipe(options, settings)
    pinned_knobs(options.pin)
    if options.max_minutes is not None and not options.max_minutes > 0:
        raise UserError(f"--max_minutes {options.max_minutes:g}: expected more than 0")
    if options.max_steps is not None and options.max_steps < 1:
        raise UserError(f"--max_steps {options.max_steps}: expected at least 1")
    deadline = None if options.max_minutes is None else time.monotonic() + 60 * options.max_minutes
    limits = RunLimits(max_steps=options.max_steps, deadline=deadline)
    device = set_up_torch(options, hparams)
    return TrainingJob(options, settings, hparams, device, open_console(), open_console(quiet=options.quiet), limits)


def set_up_torch(options: TrainOptions, hparams: HParams) -> torch.device:
    device = rank_device(choose_device(options.device))
    require_precision(hparams.precision, device)
    set_up_processor(hparams)
    return device


def set_up_processor(hparams: HParams) -> None:
    """Set the number of threads: two programs with more threads than cores slow each other down 25 times."""
    torch.set_num_threads(hparams.cpu_threads or torch.get_num_threads())
    keep_freed_memory()
    torch.set_flush_denormal(True)  # denormal numbers cost a tenth of a CPU's step


def pinned_knobs(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := [name for name in names if name not in KNOB_NAMES]:
        raise UserError(f"--pin: there is no knob {unknown[0]!r}; the knobs are {', '.join(KNOB_NAMES)}")
    return names
