"""Start of a study's trials: a checkpoint given with --resume, of which the study keeps a copy with its data paths."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from commands.options import TrainOptions
from commands.run.job import option_values
from commands.run.start_point import load_given
from commands.search.study_context import StudyContext
from commands.voice.validate import with_training_data
from files import atomic_replacement, safe_name, write_atomically
from hparams import HParams, UserError, build_hparams, parse_overrides
from models.checkpoint_file import RUN_ENTRIES, is_foreign, load_checkpoint, require_own_format
from training.schedule import base_guide_weight

START_FOLDER, DATA_FILE = "start", "data.json"


def with_default_run_name(options: TrainOptions) -> TrainOptions:
    """Name a study that starts from a run after the run, or after the checkpoint file."""
    if options.run_name is not None or options.resume_path is None:
        return options
    path = options.resume_path.resolve()
    name = path.name
    if path.is_file():
        name = path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
    return replace(options, run_name=f"tune-{safe_name(name)}")


def load_start(options: TrainOptions) -> tuple[Path, dict[str, Any]] | None:
    """Path and state of the study's copy of its start checkpoint, else of the checkpoint that --resume names.

    None for a start from the recipe.
    """
    given = options.resume_path
    if options.run_name is not None and (copy := existing_copy(options.output / options.run_name)) is not None:
        if given is not None:
            _require_same_start(copy, given)
        return copy, load_checkpoint(copy)
    return None if given is None else load_given(given)


def existing_copy(study: Path) -> Path | None:
    return next((study / START_FOLDER).glob("*.pt"), None)


def _require_same_start(copy: Path, given: Path) -> None:
    """Check that `given` is the origin of the copy: by path, since a run may have continued, or by content."""
    origin = Path(json.loads((copy.parent / DATA_FILE).read_text(encoding="utf-8")).get("origin", copy))
    run = origin.parent.parent if origin.suffix == copy.suffix else origin
    is_same = given.resolve() in (origin, run, copy.resolve())
    if not is_same and not (given.is_file() and given.read_bytes() == copy.read_bytes()):
        raise UserError(
            f"--resume {given}: study {copy.parent.parent} began with {origin}; give that, or another --run_name"
        )


def with_data_of_start(options: TrainOptions, start: Path) -> TrainOptions:
    """Without --data, use the corpus that the run of the checkpoint was trained on."""
    data_file = start.parent / DATA_FILE
    if options.data is None and data_file.is_file():
        saved = json.loads(data_file.read_text(encoding="utf-8"))
        return replace(options, data=saved["data"], data_format=saved["data_format"])
    return with_training_data(options, start)


def recipe_of_start(start: Path, state: dict[str, Any], options: TrainOptions) -> HParams:
    """Recipe of the run, with its knobs at their values in the checkpoint."""
    if is_foreign(state):
        raise UserError(f"--resume {start}: is not a checkpoint of this program; train from it first")
    require_own_format(start, state, RUN_ENTRIES)
    hparams, knobs = dict(state["hparams"]), dict(state["knobs"])
    changes = {name: value for name, value in knobs.items() if name in HParams.model_fields}
    changes["learning_rate"] = hparams["learning_rate"] * knobs["learning_rate_multiplier"]
    changes["guide_loss_weight"] = base_guide_weight(build_hparams(hparams)) * knobs["guide_weight_multiplier"]
    return build_hparams(hparams, changes, parse_overrides(options.hparams), option_values(options))


def copy_start(context: StudyContext) -> None:
    """Copy the start checkpoint into the study's folder, since its run may continue and delete it.

    Called after the study was opened: a study that refuses the command line must stay unchanged.
    """
    if context.start is None or context.start_copy is None or context.start_copy.exists():
        return
    options, folder = context.options, context.start_copy.parent
    assert options.resume_path is not None, "the study has no copy yet, so --resume named the checkpoint"
    folder.mkdir(exist_ok=True)
    data = {"origin": str(options.resume_path.resolve()), "data": options.data, "data_format": options.data_format}
    write_atomically(folder / DATA_FILE, json.dumps(data).encode())
    with atomic_replacement(context.start_copy) as temporary:
        shutil.copyfile(context.start, temporary)
