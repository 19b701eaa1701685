"""What a study is: worked out of the command line, by whoever starts it and by each of its workers."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from commands.options import TrainOptions
from commands.run.corpus import prepare_corpus
from commands.run.job import set_up_torch
from commands.run.recipe import given_options, preset_values, recipe
from commands.run.resume import newest_usable, require_warm_start
from commands.run.run_folder import make_writable, require_run_name
from commands.run.speakers import require_all_heard
from commands.search.trial import Bench
from commands.voice.validate import with_data_of_run
from corpus.utterances import safe_name
from files import atomic_replacement, write_atomically
from hparams import HParams, UserError, build_hparams, parse_overrides
from models.checkpoint_file import RUN_ENTRIES, is_foreign, load_checkpoint, require_own_format
from models.weights import SavedSettings, require_compatible
from smart_tuner.search.budget import plan_budget
from smart_tuner.search.space import space_of
from smart_tuner.search.storage import StudyStorage, open_storage
from smart_tuner.search.study import StudyPlan
from smart_tuner.search.trials import put_back
from smart_tuner.settings import load_settings
from training.run_state import RunLimits
from training.schedule import base_guide_weight

START, DATA = "start", "data.json"


@dataclass(frozen=True)
class Search:
    plan: StudyPlan
    bench: Bench
    checkpoint: Path | None  # that all trials begin with: the study's copy, where it has one already

    @property
    def folder(self) -> Path:
        return self.bench.folder

    def open_storage(self) -> StudyStorage:
        options = self.bench.options
        return open_storage(
            options.storage,
            self.folder,
            workers=options.workers,
            heartbeat_seconds=self.bench.settings.search.heartbeat_seconds,
            on_stale=put_back,
        )


def plan_search(options: TrainOptions, console: Console, *, deadline: float | None) -> Search:
    """`deadline`: of time.time(), for all trials together."""
    settings = load_settings(options.config, mlflow_uri=options.mlflow_uri)
    options = _with_name_of_start(options)
    checkpoint = _checkpoint_of(options)
    options = options if checkpoint is None else _with_data(options, checkpoint)
    given = recipe(options, settings) if checkpoint is None else _recipe_of(checkpoint, options)
    preset_values(options, given.model)  # else the best could not be said in the end
    space = space_of(settings.search.space, given, mid_run=checkpoint is not None)
    device = set_up_torch(options, given)
    make_writable(options.output)
    corpus = prepare_corpus(options, given, console)
    given = corpus.hparams
    require_all_heard(given, corpus.train)
    folder = _study_folder(options, f"tune-{corpus.name}-{given.language}-{given.model}")
    symbols, tried = corpus.frontend.symbols, settings.search
    course_steps = given.epochs * corpus.training_data(given, ()).train.n_batches(0)
    progress = None if checkpoint is None else _progress_of(checkpoint, given, symbols)
    from_step = None if progress is None else int(progress["step"])
    nonfinite = 0.0 if progress is None else float(progress["nonfinite_steps"])
    budget = plan_budget(tried, given, course_steps=course_steps, from_step=from_step)
    if options.warm_start is not None:
        require_warm_start(options.warm_start, given, len(symbols))
    begins_with = checkpoint or options.warm_start
    weights = None if begins_with is None else hashlib.sha256(begins_with.read_bytes()).hexdigest()
    plan = StudyPlan(folder.name, given, space, budget, corpus.identity, tried.prune, tried.sampler, weights)
    limits = RunLimits(deadline=None if deadline is None else time.monotonic() + deadline - time.time())
    source = None if checkpoint is None else folder / START / checkpoint.name
    bench = Bench(options, settings, given, space, budget, corpus, folder, device, limits, source, nonfinite)
    return Search(plan, bench, checkpoint)


def _checkpoint_of(options: TrainOptions) -> Path | None:
    """What all trials begin with: what the study has kept of it, else the newest of --resume RUN."""
    is_given = options.resume not in ("auto", "none")
    given = Path(options.resume)
    if options.run_name is not None and (kept := kept_start(options.output / options.run_name)) is not None:
        if is_given:
            _require_same_origin(kept, given)
        return kept
    if not is_given:
        return None
    path = newest_usable(given) if given.is_dir() else given
    if path is None:
        raise UserError(f"--resume {given}: the folder holds no usable checkpoint; expected a run folder or a .pt file")
    return path


def _with_name_of_start(options: TrainOptions) -> TrainOptions:
    """Name a study that continues a run after that run, or after the checkpoint file."""
    if options.run_name is not None or options.resume in ("auto", "none"):
        return options
    return replace(options, run_name=f"tune-{safe_name(_name_of_start(Path(options.resume).resolve()))}")


def _name_of_start(given: Path) -> str:
    """Of the run it is, or lies in; else of the file."""
    if given.is_file():
        return given.parent.parent.name if given.parent.name == "checkpoints" else given.stem
    return given.name


def kept_start(study: Path) -> Path | None:
    """The copy that a study has of the checkpoint it begins with."""
    return next((path for path in (study / START).glob("*.pt")), None)


def _require_same_origin(kept: Path, given: Path) -> None:
    """Which may have gone on, or away, since; a file is the same when it holds the same."""
    origin = Path(json.loads((kept.parent / DATA).read_text(encoding="utf-8")).get("origin", kept))
    run = origin.parent.parent if origin.suffix == kept.suffix else origin
    is_same = given.resolve() in (origin, run, kept.resolve())
    if not is_same and not (given.is_file() and given.read_bytes() == kept.read_bytes()):
        raise UserError(
            f"--resume {given}: study {kept.parent.parent} began with {origin}; give that, or another --run_name"
        )


def _progress_of(checkpoint: Path, recipe: HParams, symbols: tuple[str, ...]) -> dict[str, Any]:
    state = load_checkpoint(checkpoint)
    require_compatible(SavedSettings(checkpoint, state["hparams"], tuple(state["symbols"])), recipe, symbols)
    return dict(state["progress"])


def _recipe_of(checkpoint: Path, options: TrainOptions) -> HParams:
    """That of the run, with its knobs where they stand."""
    state = load_checkpoint(checkpoint)
    if is_foreign(state):
        raise UserError(f"--resume {checkpoint}: is not a checkpoint of this program; train from it first")
    require_own_format(checkpoint, state, RUN_ENTRIES)
    hparams, knobs = dict(state["hparams"]), dict(state["knobs"])
    turned = {name: value for name, value in knobs.items() if name in HParams.model_fields}
    turned["learning_rate"] = hparams["learning_rate"] * knobs["learning_rate_multiplier"]
    turned["guide_loss_weight"] = base_guide_weight(build_hparams(hparams)) * knobs["guide_weight_multiplier"]
    return build_hparams(hparams, turned, parse_overrides(options.hparams), given_options(options))


def _study_folder(options: TrainOptions, name: str) -> Path:
    name = options.run_name or safe_name(name)
    require_run_name(name)
    folder: Path = options.output / name
    if (folder / "journal.jsonl").exists():
        raise UserError(f"--run_name {name}: {folder} is the folder of a training; choose another name for the study")
    if options.resume == "none" and folder.exists():
        if options.run_name:
            raise UserError(
                f"--run_name {name}: {folder} exists already; choose another name, or --resume auto to go on"
            )
        folder = next(free for i in range(2, 10_000) if not (free := options.output / f"{name}-{i}").exists())
    return folder


def _with_data(options: TrainOptions, checkpoint: Path) -> TrainOptions:
    """What the run that the checkpoint is of was trained from, unless other data is given."""
    kept = checkpoint.parent / DATA
    if options.data is None and kept.is_file():
        told = json.loads(kept.read_text(encoding="utf-8"))
        return replace(options, data=told["data"], data_format=told["data_format"])
    return with_data_of_run(options, checkpoint)


def keep_start(search: Search) -> None:
    """A copy of what it begins with, since the run may go on and remove it; with what that was trained from.

    Only now that the study is begun or joined: one that was refused is to stay as it was.
    """
    given, source, options = search.checkpoint, search.bench.source, search.bench.options
    if given is None or source is None or source.exists():
        return
    source.parent.mkdir(exist_ok=True)
    data = {"origin": str(Path(options.resume).resolve()), "data": options.data, "data_format": options.data_format}
    write_atomically(source.parent / DATA, json.dumps(data).encode())
    with atomic_replacement(source) as temporary:
        shutil.copyfile(given, temporary)
