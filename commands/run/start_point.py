"""Starting point of a training: new, resumed from a checkpoint, or warm-started; and the steps planned from there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from commands.options import TrainOptions
from commands.run.run_folder import BASE_FOLDER, best_voice_file
from corpus.batches import BatchLoader
from hparams import HParams, UserError, build_hparams
from models import TrainableModel, build_model
from models.checkpoint_file import RUN_ENTRIES, foreign_step, is_foreign, load_checkpoint, require_own_format
from models.weights import (
    SavedSettings,
    changed_settings,
    load_all_weights,
    require_compatible,
    require_finite_weights,
    warm_start,
)
from recipes import RECIPES
from speech.voice import read_voice_file
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits, TrainingProgress
from training.trainer import EnhancedTrainer

SPEAKER_WEIGHTS = "emb_g.weight"
Kind = Literal["started", "resumed", "warm_started"]


@dataclass(frozen=True)
class StartPoint:
    """State to load before the first step; `changed` maps settings that differ to [in the checkpoint, now]."""

    kind: Kind
    path: Path | None = None
    state: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, list[Any]] = field(default_factory=dict)
    ignore_layers: tuple[str, ...] = ()

    @property
    def progress(self) -> TrainingProgress:
        """Counters so far: zero unless resumed; from another program's checkpoint the step alone."""
        if self.kind != "resumed":
            return TrainingProgress()
        if is_foreign(self.state):
            return TrainingProgress(step=foreign_step(self.state))
        return TrainingProgress(**self.state["progress"])

    @property
    def foreign_steps(self) -> int:
        """Steps that another program did; the planned epochs come on top of them."""
        return self.progress.step if is_foreign(self.state) else 0

    def has_reached(self, limits: RunLimits, train: BatchLoader, hparams: HParams) -> bool:
        """Tell whether no step is left to do."""
        progress = self.progress
        if limits.max_steps is not None and progress.step >= limits.max_steps:
            return True
        in_last_epoch = progress.epoch == hparams.epochs - 1
        return progress.epoch >= hparams.epochs or (in_last_epoch and progress.batch >= train.n_batches(progress.epoch))

    def compared_with(self, hparams: HParams) -> StartPoint:
        """The same start for these settings."""
        if self.kind != "resumed" or is_foreign(self.state):
            return self
        return replace(self, changed=changed_settings(self.state, hparams))

    def is_outside(self, run: Path) -> bool:
        """Tell whether the checkpoint belongs to another run, from which this one branches off."""
        return self.path is not None and self.path.parent.resolve() != (run / "checkpoints").resolve()

    def load_weights(self, model: TrainableModel) -> list[str]:
        """Load the weights, or raise before anything is written; return the names that stay at random values."""
        if self.path is None:
            return []
        if self.kind == "warm_started":
            return warm_start(model, self.path, self.state, self.ignore_layers)
        load_all_weights(model, self.path, self.state)
        return []

    def load_training_state(self, trainer: EnhancedTrainer) -> None:
        """Load the checkpoint's training state into a trainer whose model already has its weights."""
        if self.kind != "resumed":
            return
        if is_foreign(self.state):
            trainer.state.load_foreign(self.state)
        else:
            trainer.state.load_state_dict(self.state)


@dataclass(frozen=True)
class StepPlan:
    """Steps of a run: the last one, and the length of the whole plan, which a restart begins again."""

    last_step: int
    length: int


def plan_steps(start: StartPoint, hparams: HParams, limits: RunLimits, *, n_batches: int) -> StepPlan:
    length, max_steps = hparams.epochs * n_batches, limits.max_steps
    progress = start.progress
    last_step = progress.step + length - (progress.epoch * n_batches + progress.batch)
    if max_steps is None:
        return StepPlan(last_step, length)
    return StepPlan(min(last_step, max_steps), min(length, max_steps - start.foreign_steps))


def find_start(options: TrainOptions, hparams: HParams, folder: Path, *, symbols: tuple[str, ...]) -> StartPoint:
    given = options.resume_path
    if given is None:
        newest = None if options.resume == "none" else load_newest(folder)
        return _new_or_warm_start(options, hparams, symbols) if newest is None else _resumed(*newest, hparams, symbols)
    path, state = load_given(given)
    start = _resumed(path, state, hparams, symbols)
    if given.resolve() != folder.resolve():
        require_finite_weights(path, state)  # in its own run the supervisor treats such a checkpoint
        _require_newest(folder, start)
    return start


def load_given(given: Path) -> tuple[Path, dict[str, Any]]:
    """Load what --resume names, a checkpoint or the newest usable one in a folder; return its path and state."""
    loaded = load_newest(given) if given.is_dir() else (given, load_checkpoint(given))
    if loaded is None:
        raise UserError(f"--resume {given}: the folder holds no usable checkpoint; expected a run folder or a .pt file")
    return loaded


def _require_newest(folder: Path, start: StartPoint) -> None:
    """Refuse to go back within a folder: the journals of two histories would mix."""
    saved = list_checkpoints(folder / "checkpoints")
    if saved and (is_foreign(start.state) or saved[-1].step > start.progress.step):
        raise UserError(
            f"{folder} already holds a checkpoint of step {saved[-1].step}, beyond {start.path}; "
            "name the run that branches off with --run_name"
        )


def _new_or_warm_start(options: TrainOptions, hparams: HParams, symbols: tuple[str, ...]) -> StartPoint:
    if options.warm_start_path is None:
        return StartPoint("started")
    path, state = load_weights(options.warm_start_path)
    ignored = ignored_layers(path, state, hparams, symbols)
    return StartPoint("warm_started", path, state, ignore_layers=ignored)


def load_weights(given: Path) -> tuple[Path, dict[str, Any]]:
    """Load what --warm_start names: a voice, a checkpoint, or the best voice of a run; return its path and state."""
    path = best_voice_file(given, "--warm_start") if given.is_dir() else given
    if path.suffix == ".safetensors":
        stored = read_voice_file(path)
        saved = stored.saved
        state = {"model": stored.weights, "hparams": saved.hparams, "symbols": list(saved.symbols)}
    else:
        state = load_checkpoint(path)
    require_finite_weights(path, state)
    return path, state


def source_settings(options: TrainOptions) -> dict[str, Any] | None:
    """Settings of what --resume or --warm_start names: empty for another program's, None where neither names a path."""
    if options.resume_path is not None:
        _, state = load_given(options.resume_path)
    elif options.warm_start_path is not None:
        _, state = load_weights(options.warm_start_path)
    else:
        return None
    saved = state.get("hparams")
    return saved if isinstance(saved, dict) and not is_foreign(state) else {}


def ignored_layers(path: Path, state: dict[str, Any], hparams: HParams, symbols: tuple[str, ...]) -> tuple[str, ...]:
    """Return the layers that a warm start leaves out: embeddings of other symbols or speakers, and those asked for.

    The recipe leaves out the embedding of symbols, which in another voice may stand for others, and those layers of a
    base voice that are better learnt from recordings.
    """
    saved = state.get("hparams")  # in another program's checkpoint it may be anything
    has_same_symbols = state.get("symbols") == list(symbols)
    has_same_speakers = isinstance(saved, dict) and saved.get("speakers") == list(hparams.speakers)
    recipe = RECIPES[hparams.model]
    recipe_default = build_hparams(recipe.presets["full"]).ignore_layers
    asked_for = () if has_same_symbols and hparams.ignore_layers == recipe_default else hparams.ignore_layers
    of_recordings = recipe.layers_of_recordings if is_base_voice(path, hparams) else ()
    return (*asked_for, *of_recordings, *(() if has_same_speakers else (SPEAKER_WEIGHTS,)))


def is_base_voice(path: Path, hparams: HParams) -> bool:
    """Whether a voice or checkpoint is that of a base voice of this model, by the name of its folder."""
    path = path.resolve()
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    name = rf"{re.escape(hparams.language)}-{hparams.model}-[0-9a-f]{{8}}"
    return folder.parent.name == BASE_FOLDER and re.fullmatch(name, folder.name) is not None


def require_warm_start(path: Path, hparams: HParams, symbols: tuple[str, ...]) -> None:
    """Raise unless a training with these settings can be warm-started from the file."""
    path, state = load_weights(path)
    with torch.random.fork_rng():
        warm_start(build_model(hparams, len(symbols)), path, state, ignored_layers(path, state, hparams, symbols))


def _resumed(path: Path, state: dict[str, Any], hparams: HParams, symbols: tuple[str, ...]) -> StartPoint:
    if is_foreign(state):
        return StartPoint("resumed", path, state)
    require_own_format(path, state, RUN_ENTRIES)
    require_compatible(SavedSettings(path, state["hparams"], tuple(state["symbols"])), hparams, symbols)
    return StartPoint("resumed", path, state).compared_with(hparams)


def load_newest(run: Path) -> tuple[Path, dict[str, Any]] | None:
    """Load the newest checkpoint of a run that is not damaged; return its path and state, or None if there is none."""
    saved = list_checkpoints(run / "checkpoints")
    problems = []
    for checkpoint in reversed(saved):
        try:
            return checkpoint.path, load_checkpoint(checkpoint.path)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError(f"{run}: none of its {len(saved)} checkpoints can be read; {problems[0]}")
    return None
