"""Settings left to "auto": measured when a run begins, then stored in its folder for all later sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from commands.run.corpus import PreparedCorpus
from commands.run.job import TrainingJob
from hparams import HParams, build_hparams
from models import build_model
from training.checkpoints.json_files import read_choices, write_choices
from training.step.autotune import choose_frame_budget, choose_precision
from training.step.precision import NO_BFLOAT16, half_precision, require_precision

CHOOSE_SETTING = {"precision": ("format", choose_precision), "max_frames_per_batch": ("batches", choose_frame_budget)}
"""Label for the console and measuring function of each setting that may be "auto"."""


def resolve_auto_settings(job: TrainingJob, corpus: PreparedCorpus, folder: Path) -> HParams:
    """Return the recipe with every "auto" replaced by a stored or measured value."""
    choices, hparams = read_choices(folder), job.hparams
    is_auto = {"precision": hparams.precision == "auto", "max_frames_per_batch": job.options.batch_frames == "auto"}
    stored = {name: value for name, value in choices.items() if is_auto.get(name)}
    hparams = build_hparams(hparams.model_dump(), stored)
    missing = [name for name in is_auto if is_auto[name] and name not in stored]
    if missing:
        measured = _measure(missing, hparams, job, corpus)
        write_choices(folder, choices | measured)
        hparams = build_hparams(hparams.model_dump(), measured)
    else:
        require_precision(hparams.precision, job.device)
    if hparams.precision == "bfloat16" and half_precision(job.device) is None:
        job.progress_console.print(f"format  {NO_BFLOAT16}: training in it is slow, float32 is faster", soft_wrap=True)
    return hparams


def _measure(names: list[str], hparams: HParams, job: TrainingJob, corpus: PreparedCorpus) -> dict[str, Any]:
    """Measure settings one after another, each with the values found before it."""
    measured: dict[str, Any] = {}
    loader = corpus.loader(corpus.train, hparams)
    with torch.random.fork_rng(devices=[]):
        model = build_model(hparams, len(corpus.frontend.symbols))
    for name in names:
        label, choose = CHOOSE_SETTING[name]
        measured[name], reason = choose(model, loader, hparams, job.device)
        hparams = build_hparams(hparams.model_dump(), measured)
        job.progress_console.print(f"{label:<8}{reason}", soft_wrap=True)
    return measured
