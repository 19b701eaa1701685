"""Where training starts: anew, from the newest usable checkpoint of the run, from a given one, or warm."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from commands.options import TrainOptions
from corpus.batches import BatchLoader
from hparams import HParams, UserError
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
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

SPEAKER_WEIGHTS = "emb_g.weight"
Kind = Literal["started", "resumed", "warm_started"]


@dataclass(frozen=True)
class Start:
    """What to load before the first step; `changed` are settings that differ from the checkpoint's."""

    kind: Kind
    path: Path | None = None
    state: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, list[Any]] = field(default_factory=dict)
    ignore_layers: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """How many steps are done already."""
        if self.kind != "resumed":
            return 0
        return self.foreign_steps if is_foreign(self.state) else int(self.state["progress"]["step"])

    @property
    def foreign_steps(self) -> int:
        """Those of them that another program did: our epochs come on top."""
        return foreign_step(self.state) if is_foreign(self.state) else 0

    def done_of_epochs(self, n_batches: int) -> int:
        """How many steps of the planned epochs, which begin anew when training does."""
        if self.kind != "resumed" or is_foreign(self.state):
            return 0
        return int(self.state["progress"]["epoch"]) * n_batches + int(self.state["progress"]["batch"])

    def has_reached(self, limits: RunLimits, train: BatchLoader, hparams: HParams) -> bool:
        """Whether no step is left to do."""
        if self.kind != "resumed":
            return False
        if limits.max_steps is not None and self.step >= limits.max_steps:
            return True
        if is_foreign(self.state):
            return False
        epoch, batch = int(self.state["progress"]["epoch"]), int(self.state["progress"]["batch"])
        in_last_epoch = epoch == hparams.epochs - 1
        return epoch >= hparams.epochs or (in_last_epoch and batch >= train.n_batches(epoch))

    def load_weights(self, model: TrainableModel) -> list[str]:
        """Says what does not fit before anything is written; returns the weights that a warm start leaves fresh."""
        if self.path is None:
            return []
        if self.kind == "warm_started":
            return warm_start(model, self.path, self.state, self.ignore_layers)
        load_all_weights(model, self.path, self.state)
        return []

    def apply(self, trainer: EnhancedTrainer) -> None:
        """Everything else, once the trainer has the model with these weights."""
        if self.kind != "resumed":
            return
        if is_foreign(self.state):
            trainer.state.load_foreign(self.state)
        else:
            trainer.load_state_dict(self.state)


def find_start(options: TrainOptions, hparams: HParams, folder: Path, *, symbols: tuple[str, ...]) -> Start:
    if options.resume == "none":
        return _fresh(options, hparams)
    if options.resume == "auto":
        path = newest_usable(folder)
        return _fresh(options, hparams) if path is None else _resumed(path, hparams, symbols)
    given = Path(options.resume)
    path = newest_usable(given) if given.is_dir() else given
    if path is None:
        raise UserError(f"--resume {given}: the folder holds no usable checkpoint; expected a run folder or a .pt file")
    start = _resumed(path, hparams, symbols)
    if given.resolve() != folder.resolve():
        require_finite_weights(path, start.state)  # in a run of our own it is known what to do about others
        _require_no_other_future(folder, start)
    return start


def _require_no_other_future(folder: Path, start: Start) -> None:
    """Going back to an earlier checkpoint begins a new run: in the old folder two histories would mix."""
    saved = list_checkpoints(folder / "checkpoints")
    if saved and (is_foreign(start.state) or saved[-1].step > start.step):
        raise UserError(
            f"{folder} already holds a checkpoint of step {saved[-1].step}, beyond {start.path}; "
            "name the run that branches off with --run_name"
        )


def _fresh(options: TrainOptions, hparams: HParams) -> Start:
    if options.warm_start is None:
        return Start("started")
    state = load_checkpoint(options.warm_start)
    require_finite_weights(options.warm_start, state)
    return Start("warm_started", options.warm_start, state, ignore_layers=not_taken_over(state, hparams))


def not_taken_over(state: dict[str, Any], hparams: HParams) -> tuple[str, ...]:
    """What was asked for, and the voices of other speakers."""
    saved = state.get("hparams")  # of another program it may be anything
    is_same = isinstance(saved, dict) and saved.get("speakers") == list(hparams.speakers)
    return (*hparams.ignore_layers, *(() if is_same else (SPEAKER_WEIGHTS,)))


def require_warm_start(path: Path, hparams: HParams, n_symbols: int) -> None:
    """A training of this recipe can begin warm with it."""
    state = load_checkpoint(path)
    require_finite_weights(path, state)
    with torch.random.fork_rng():
        warm_start(build_model(hparams, n_symbols), path, state, not_taken_over(state, hparams))


def _resumed(path: Path, hparams: HParams, symbols: tuple[str, ...]) -> Start:
    state = load_checkpoint(path)
    if is_foreign(state):
        return Start("resumed", path, state)
    require_own_format(path, state, RUN_ENTRIES)
    require_compatible(SavedSettings(path, state["hparams"], tuple(state["symbols"])), hparams, symbols)
    return Start("resumed", path, state, changed_settings(state, hparams))


def newest_usable(run: Path) -> Path | None:
    """The newest checkpoint of a run that is not damaged."""
    saved = list_checkpoints(run / "checkpoints")
    problems = []
    for checkpoint in reversed(saved):
        try:
            load_checkpoint(checkpoint.path)
        except UserError as error:
            problems.append(str(error))
        else:
            return checkpoint.path
    if problems:
        raise UserError(f"{run}: none of its {len(saved)} checkpoints can be read; {problems[0]}")
    return None
