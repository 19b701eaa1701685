"""Writing, listing and retention of checkpoints: written atomically and named by their own checksum."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from files import is_disk_full, write_atomically
from hparams import UserError
from models.checkpoint_file import CHECKPOINT_NAME, SCHEMA_VERSION, load_checkpoint

ABANDONED_FILE = "abandoned.pt"
"""State that the last rollback or restart abandoned, kept until its verdict."""


class DiskFull(Exception):
    """A checkpoint could not be written even after older ones were removed."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint file, as its name describes it."""

    path: Path
    step: int


def list_checkpoints(folder: Path) -> list[SavedCheckpoint]:
    """Checkpoints in the folder, oldest first."""
    matches = ((path, CHECKPOINT_NAME.fullmatch(path.name)) for path in folder.glob("step-*.pt"))
    saved = [SavedCheckpoint(path, int(m["step"])) for path, m in matches if m]
    return sorted(saved, key=lambda c: (c.step, c.path.stat().st_mtime_ns))


def save_checkpoint(folder: Path, state: dict[str, Any], *, keep: int, best_step: int | None) -> Path:
    """Write the state, then remove old checkpoints down to `keep`; on a full disk, remove old ones first."""
    buffer = io.BytesIO()
    torch.save({"schema_version": SCHEMA_VERSION, **state}, buffer)
    content = buffer.getbuffer()
    step = int(state["progress"]["step"])
    path = folder / f"step-{step:08d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_temporary_files(folder)
    while True:
        try:
            write_atomically(path, content)
            break
        except OSError as error:
            if not is_disk_full(error):
                raise
            if not remove_abandoned(folder) and not _remove_oldest(folder, best_step):
                raise DiskFull(f"the disk is full: no room for {len(content) / 1e6:.0f} MB at {folder}") from error
    _remove_outdated(folder, path, keep=keep, best_step=best_step)
    return path


def save_abandoned(folder: Path, state: dict[str, Any]) -> None:
    """Keep the state that training leaves, in place of an earlier one; a full disk has no room for it."""
    buffer = io.BytesIO()
    torch.save({"schema_version": SCHEMA_VERSION, **state}, buffer)
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    try:
        write_atomically(folder / ABANDONED_FILE, buffer.getbuffer())
    except OSError as error:
        if not is_disk_full(error):
            raise


def load_abandoned(folder: Path, step: int, *, fingerprint: str) -> dict[str, Any]:
    """Load the state abandoned at a step with the same data; a UserError says why there is none."""
    path = folder / ABANDONED_FILE
    state = load_checkpoint(path)
    if (abandoned_at := int(state["progress"]["step"])) != step:
        raise UserError(f"{path}: expected the state abandoned at step {step}, found that of step {abandoned_at}")
    if state["data_fingerprint"] != fingerprint:
        raise UserError(f"{path}: expected the data of this run, found others; they have changed since")
    return state


def remove_abandoned(folder: Path) -> bool:
    """Remove the abandoned state; False if there is none."""
    path = folder / ABANDONED_FILE
    is_there = path.exists()
    path.unlink(missing_ok=True)
    return is_there


def _remove_temporary_files(folder: Path) -> None:
    """Remove files left by saves during which the process was killed."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def _remove_oldest(folder: Path, best_step: int | None) -> bool:
    """Remove the oldest checkpoint that is neither the newest nor the best; False if there is none."""
    removable = [c for c in list_checkpoints(folder)[:-1] if c.step != best_step]
    if removable:
        removable[0].path.unlink()
    return bool(removable)


def _remove_outdated(folder: Path, newest: Path, *, keep: int, best_step: int | None) -> None:
    """Remove other checkpoints of the newest step, and the oldest ones beyond `keep`, but not the best."""
    saved = list_checkpoints(folder)
    step = next(c.step for c in saved if c.path == newest)
    replaced = [c for c in saved if c.step == step and c.path != newest]
    others = [c for c in saved if c.step != step]
    for checkpoint in replaced + others[: max(0, len(others) + 1 - keep)]:
        if checkpoint.step != best_step or checkpoint in replaced:
            checkpoint.path.unlink()
