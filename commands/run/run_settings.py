"""What the recipe leaves to be measured is measured when a run begins, and kept for all of its sessions."""

from __future__ import annotations

from pathlib import Path

import torch

from commands.run.corpus import PreparedCorpus
from commands.run.job import TrainingJob
from hparams import HParams, build_hparams
from models import build_model
from training.checkpoints.run_files import read_choices, write_choices
from training.step.autotune import choose_frame_budget, choose_precision
from training.step.precision import NO_BFLOAT16, half_precision, require_precision


def settle(job: TrainingJob, corpus: PreparedCorpus, folder: Path) -> HParams:
    """The recipe without any "auto"."""
    hparams = _measured(job, corpus, folder)
    if hparams.precision == "bfloat16" and half_precision(job.device) is None:
        job.progress_console.print(f"format  {NO_BFLOAT16}: training in it is slow, float32 is faster", soft_wrap=True)
    return hparams


def _measured(job: TrainingJob, corpus: PreparedCorpus, folder: Path) -> HParams:
    choices, hparams = read_choices(folder), job.hparams
    wanted = {"precision": hparams.precision == "auto", "max_frames_per_batch": job.options.batch_frames == "auto"}
    known = {name: value for name, value in choices.items() if wanted.get(name)}
    hparams = build_hparams(hparams.model_dump(), known)
    missing = [name for name, is_wanted in wanted.items() if is_wanted and name not in known]
    if not missing:
        require_precision(hparams.precision, job.device)
        return hparams
    loader = corpus.loader(corpus.train, hparams)
    with torch.random.fork_rng(devices=[]):
        model = build_model(hparams, len(corpus.frontend.symbols))
    ways = {"precision": ("format", choose_precision), "max_frames_per_batch": ("batches", choose_frame_budget)}
    for name in missing:
        label, choose = ways[name]
        choices[name], reason = choose(model, loader, hparams, job.device)
        hparams = build_hparams(hparams.model_dump(), {name: choices[name]})
        job.progress_console.print(f"{label:<8}{reason}", soft_wrap=True)
    write_choices(folder, choices)
    return hparams
