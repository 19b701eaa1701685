"""Set-up of a study from the command line, by the process that starts it and by each of its workers."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from rich.console import Console

from commands.options import TrainOptions
from commands.run.corpus import PreparedCorpus, prepare_corpus
from commands.run.job import build_recipe, given_layers, preset_name, preset_values, set_up_torch
from commands.run.run_folder import best_voice_file, named_folder
from commands.run.speakers import require_examples_of_speakers
from commands.run.start_point import require_warm_start
from commands.search.corpus_file import read_corpus_file
from commands.search.start import START_FOLDER, load_start, recipe_of_start, with_data_of_start, with_default_run_name
from commands.search.study_context import StudyContext
from files import safe_name
from hparams import HParams, UserError
from models.weights import SavedSettings, require_compatible
from recipes import RECIPES
from recipes.plan import recording_epochs
from smart_tuner.search.budget import plan_budget
from smart_tuner.search.dimensions import Dimension, build_space
from smart_tuner.search.settings import SearchSettings
from smart_tuner.search.study import StudyPlan
from smart_tuner.settings import Settings, load_settings
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
    recipe = build_recipe(options, settings) if start is None else recipe_of_start(start, state, options)
    preset_values(options, recipe.model)  # an unknown preset is refused now, not when the best settings are written
    space = build_space(settings.search.space, recipe, mid_run=start is not None)
    device = set_up_torch(options, recipe)
    if corpus_file is None:
        corpus = prepare_corpus(options, recipe, console)
    else:
        corpus = read_corpus_file(corpus_file, recipe, options.output)
    if corpus.hparams.alignment_guide == "corpus":
        corpus = corpus.aligned(options.output / ".cache" / "alignments", console)
    recipe, symbols = corpus.hparams, corpus.frontend.symbols
    require_examples_of_speakers(recipe, corpus.train)
    folder = _study_folder(options, f"tune-{corpus.name}-{recipe.language}-{recipe.model}")
    if start is not None:
        require_compatible(SavedSettings(start, state["hparams"], tuple(state["symbols"])), recipe, symbols)
    _check_warm_start(options, recipe, symbols)
    progress, weights = state.get("progress", {}), start or _weights_file(options)
    return StudyContext(
        options=options,
        settings=settings,
        plan=_plan_study(
            folder,
            corpus,
            settings.search,
            full_steps=_full_steps(options, settings, corpus),
            space=space,
            from_step=progress.get("step"),
            weights=weights,
        ),
        corpus=corpus,
        folder=folder,
        device=device,
        limits=RunLimits(deadline=None if deadline is None else time.monotonic() + deadline - time.time()),
        start=start,
        start_copy=None if start is None else folder / START_FOLDER / start.name,
        nonfinite_before=float(progress.get("nonfinite_steps", 0.0)),
    )


def _check_warm_start(options: TrainOptions, recipe: HParams, symbols: tuple[str, ...]) -> None:
    if options.warm_start == "espeak":
        raise UserError("--warm_start espeak: not for trials; train a base voice once and name its folder in base/")
    if options.warm_start_path is not None:
        require_warm_start(options.warm_start_path, recipe, symbols)


def _weights_file(options: TrainOptions) -> Path | None:
    """File that --warm_start names; of a run its best voice."""
    path = options.warm_start_path
    return best_voice_file(path, "--warm_start") if path is not None and path.is_dir() else path


def _plan_study(
    folder: Path,
    corpus: PreparedCorpus,
    settings: SearchSettings,
    *,
    full_steps: int,
    space: tuple[Dimension, ...],
    from_step: int | None,
    weights: Path | None,
) -> StudyPlan:
    return StudyPlan(
        name=folder.name,
        recipe=corpus.hparams,
        space=space,
        budget=plan_budget(settings, corpus.hparams, full_steps=full_steps, from_step=from_step),
        corpus=corpus.identity,
        prune=settings.prune,
        sampler=settings.sampler,
        weights=None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest(),
    )


def _full_steps(options: TrainOptions, settings: Settings, corpus: PreparedCorpus) -> int:
    """Length of the training that the recipe's schedules are written for."""
    hparams = corpus.hparams
    n_batches = corpus.training_data(hparams, ()).train.n_batches(0)
    if options.data is None or any("epochs" in layer for layer in given_layers(options, settings)):
        return hparams.epochs * n_batches
    reference_steps = RECIPES[hparams.model].reference_steps[preset_name(options)]
    return min(reference_steps, n_batches * recording_epochs(n_batches, reference_steps))


def _study_folder(options: TrainOptions, default_name: str) -> Path:
    name = options.run_name or safe_name(default_name)
    folder = options.output / name
    if (folder / "journal.jsonl").exists():
        raise UserError(f"--run_name {name}: {folder} is the folder of a training; choose another name for the study")
    return named_folder(options, name)
