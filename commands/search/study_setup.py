"""Set-up of a study from the command line, by the process that starts it and by each of its workers."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from rich.console import Console

from commands.options import TrainOptions
from commands.run.corpus import prepare_corpus
from commands.run.job import build_recipe, preset_values, set_up_torch
from commands.run.run_folder import named_folder
from commands.run.speakers import require_examples_of_speakers
from commands.run.start_point import require_warm_start
from commands.search.corpus_file import read_corpus_file
from commands.search.start import (
    START_FOLDER,
    load_start,
    recipe_of_start,
    with_data_of_start,
    with_default_run_name,
)
from commands.search.study_context import StudyContext
from files import safe_name
from hparams import UserError
from models.weights import SavedSettings, require_compatible
from smart_tuner.search.budget import plan_budget
from smart_tuner.search.dimensions import build_space
from smart_tuner.search.study import StudyPlan
from smart_tuner.settings import load_settings
from training.run_state import RunLimits


def set_up_study(
    options: TrainOptions, console: Console, *, deadline: float | None, corpus_file: Path | None = None
) -> StudyContext:
    """Check the command line and prepare what all trials share.

    `deadline`: end of all trials, as time.time(). `corpus_file`: the corpus as another process has prepared it; without
    it this process prepares the corpus.
    """
    settings = load_settings(options.config, mlflow_uri=options.mlflow_uri)
    options = with_default_run_name(options)
    start, state = load_start(options) or (None, {})
    if start is not None:
        options = with_data_of_start(options, start)
    hparams = build_recipe(options, settings) if start is None else recipe_of_start(start, state, options)
    preset_values(options, hparams.model)  # an unknown preset is refused now, not when the best settings are written
    space = build_space(settings.search.space, hparams, mid_run=start is not None)
    device = set_up_torch(options, hparams)
    if corpus_file is None:
        corpus = prepare_corpus(options, hparams, console)
    else:
        corpus = read_corpus_file(corpus_file, hparams, options.output)
    require_examples_of_speakers(corpus.hparams, corpus.train)
    hparams, symbols = corpus.hparams, corpus.frontend.symbols
    folder = _study_folder(options, f"tune-{corpus.name}-{hparams.language}-{hparams.model}")
    if start is not None:
        require_compatible(SavedSettings(start, state["hparams"], tuple(state["symbols"])), hparams, symbols)
    progress = state.get("progress", {})
    full_steps = hparams.epochs * corpus.training_data(hparams, ()).train.n_batches(0)
    budget = plan_budget(settings.search, hparams, full_steps=full_steps, from_step=progress.get("step"))
    if options.warm_start is not None:
        require_warm_start(options.warm_start, hparams, len(symbols))
    weights = start or options.warm_start
    checksum = None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
    search = settings.search
    plan = StudyPlan(folder.name, hparams, space, budget, corpus.identity, search.prune, search.sampler, checksum)
    limits = RunLimits(deadline=None if deadline is None else time.monotonic() + deadline - time.time())
    start_copy = None if start is None else folder / START_FOLDER / start.name
    nonfinite = float(progress.get("nonfinite_steps", 0.0))
    return StudyContext(options, settings, plan, corpus, folder, device, limits, start, start_copy, nonfinite)


def _study_folder(options: TrainOptions, default_name: str) -> Path:
    name = options.run_name or safe_name(default_name)
    folder = options.output / name
    if (folder / "journal.jsonl").exists():
        raise UserError(f"--run_name {name}: {folder} is the folder of a training; choose another name for the study")
    return named_folder(options, name)
