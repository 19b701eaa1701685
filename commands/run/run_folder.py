"""Folder of a run: its name, its lock, and the search for existing runs and their voices."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from commands.options import TrainOptions
from files import safe_name
from hparams import HParams, UserError
from training.checkpoints.checkpoint import list_checkpoints

BASE_FOLDER = "base"
"""Folder for base voices in that of the runs."""


class FolderInUse(UserError):
    """The folder is locked by another process."""


def choose_run_folder(options: TrainOptions, hparams: HParams, corpus_name: str) -> Path:
    """Return the run folder that --resume names, else one in --output."""
    given = options.resume_path
    if given is not None and given.is_dir() and options.run_name is None:
        return given
    return named_folder(options, options.run_name or safe_name(f"{corpus_name}-{hparams.language}-{hparams.model}"))


def named_folder(options: TrainOptions, name: str) -> Path:
    """Return the folder of this name in --output; with --resume none, one that does not exist yet."""
    folder = options.output / name
    if options.resume != "none" or not folder.exists():
        return folder
    if options.run_name:
        raise UserError(
            f"--run_name {name}: {folder} exists already; choose another name, or --resume auto to continue"
        )
    return next(free for i in range(2, 10_000) if not (free := options.output / f"{name}-{i}").exists())


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create the folder and lock it against other processes; if it is new and stays empty, it is removed again."""
    is_new = not folder.exists()
    make_writable(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FolderInUse(f"{folder} is in use by another process; wait for it or choose another --run_name") from error
    try:
        yield
    finally:
        if is_new and [path.name for path in folder.iterdir()] == [".lock"]:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error


def latest_run(output: Path) -> Path:
    """Return the run whose summary was written last."""
    summaries = sorted(output.glob("*/summary.json"), key=lambda path: path.stat().st_mtime_ns)
    if not summaries:
        raise UserError(f"no run found in {output}; train one first (--mode train) or name it with --run")
    return summaries[-1].parent


def best_voice_file(run: Path, option: str = "--run") -> Path:
    """Return the voice of a run, or its newest checkpoint if it has no voice yet."""
    if not run.is_dir():
        raise UserError(f"{option} {run}: there is no such folder; expected one like logs/<run>")
    if (run / "voice.safetensors").is_file():
        return run / "voice.safetensors"
    saved = list_checkpoints(run / "checkpoints")
    if not saved:
        raise UserError(f"{option} {run}: it has no voice and no checkpoint yet; let it train longer")
    return saved[-1].path
