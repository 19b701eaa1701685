"""Command-line options of train_enhanced.py as one typed object; imports no torch, so that --help stays fast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from files import REPOSITORY
from hparams import UserError


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of all modes, with their defaults; the parser adds only help texts and choices."""

    mode: str = "train"
    config: Path = REPOSITORY / "smart_tuner" / "config.yaml"
    arguments: tuple[str, ...] = ()  # the command line as given, for processes that run the program again

    # corpus
    data: str | None = None  # a path, or two separated by a comma
    data_format: str = "auto"
    language: str | None = None
    lexicon: Path | None = None

    # recipe; None leaves the value to the preset
    model: str | None = None
    preset: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    batch_frames: int | Literal["auto"] | None = None
    learning_rate: float | None = None
    seed: int | None = None
    hparams_file: Path | None = None
    hparams: str = ""
    pin: str = ""

    # run
    output: Path = Path("logs")
    run_name: str | None = None
    max_minutes: float | None = None
    max_steps: int | None = None
    resume: str = "auto"  # or "none", or a path
    warm_start: str = "auto"  # or "espeak", "none", or a path
    device: str = "auto"
    eval_sentences: Path | None = None
    supervise: str = "on"
    watchdog: str = "on"
    companion: str = "on"
    quiet: bool = False
    mlflow_uri: str | None = None

    # search for better settings
    n_trials: int = 20
    workers: int = 1
    storage: str | None = None

    # use of a voice
    run: Path | None = None
    text: str | None = None
    text_file: Path | None = None
    speaker: str | None = None
    out: Path | None = None
    speed: float = 1.0
    stream: bool = False
    timings: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise UserError(f"--max_minutes {self.max_minutes:g}: expected more than 0")
        if self.max_steps is not None and self.max_steps < 1:
            raise UserError(f"--max_steps {self.max_steps}: expected at least 1")
        if self.run_name and not re.fullmatch(r"(?!\.)[\w.~-]+", self.run_name):
            raise UserError(
                f"--run_name {self.run_name!r}: expected letters, digits, '_', '-' and '.', not starting with '.'"
            )

    @property
    def resume_path(self) -> Path | None:
        """Path that --resume names; None for auto and none."""
        return None if self.resume in ("auto", "none") else Path(self.resume)

    @property
    def warm_start_path(self) -> Path | None:
        """Path that --warm_start names; None for auto, espeak and none."""
        return None if self.warm_start in ("auto", "espeak", "none") else Path(self.warm_start)

    @property
    def pinned_knobs(self) -> tuple[str, ...]:
        """Names given with --pin."""
        return tuple(name.strip() for name in self.pin.split(",") if name.strip())
