"""Settings left to "auto": measured when a run begins, then stored in its folder for all later sessions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from commands.run.corpus import PreparedCorpus
from commands.run.job import TrainingJob
from hparams import HParams, build_hparams
from models import build_model
from monitoring.terminal.task_progress import task_progress
from training.checkpoints.checkpoint import list_checkpoints
from training.checkpoints.json_files import read_choices, write_choices
from training.step.autotune import choose_frame_budget, choose_precision
from training.step.precision import NO_BFLOAT16, half_precision, require_precision
from training.step.probe import ProbeTime
from training.step.threads import choose_threads


def resolve_auto_settings(job: TrainingJob, corpus: PreparedCorpus, folder: Path, probe_time: ProbeTime) -> HParams:
    """Return the recipe with every "auto" replaced by a stored or measured value; set the number of threads."""
    choices = read_choices(folder)
    hparams = _with_choices(job, choices)
    measured = {} if "cpu_threads" in choices else _choose_threads(job, hparams, folder)
    _set_threads(job, hparams, choices | measured)
    if hparams.precision != "auto":
        require_precision(hparams.precision, job.device)
    is_open = {
        "precision": hparams.precision == "auto",
        "max_frames_per_batch": job.options.batch_frames == "auto" and "max_frames_per_batch" not in choices,
    }
    if any(is_open.values()):
        measured |= _measure(job, hparams, corpus, probe_time, is_open)
    if measured:
        write_choices(folder, choices | measured)
    hparams = build_hparams(hparams.model_dump(), _of_recipe(measured))
    if hparams.precision == "bfloat16" and half_precision(job.device) is None:
        job.progress_console.print(f"format  {NO_BFLOAT16}: training in it is slow, float32 is faster", soft_wrap=True)
    return hparams


def _with_choices(job: TrainingJob, choices: dict[str, Any]) -> HParams:
    """Take over what an earlier session chose, except where a person has given a value since."""
    hparams = job.hparams
    is_auto = {
        "precision": hparams.precision == "auto",
        "max_frames_per_batch": job.options.batch_frames == "auto",
    }
    return build_hparams(hparams.model_dump(), {n: value for n, value in choices.items() if is_auto.get(n)})


def _choose_threads(job: TrainingJob, hparams: HParams, folder: Path) -> dict[str, Any]:
    """Choose for a new run; one that was trained before this was chosen has a thread for each core, and keeps them."""
    if hparams.cpu_threads or not job.is_estimated or not _computes_alone(job):
        return {}
    if list_checkpoints(folder / "checkpoints"):
        return {"cpu_threads": torch.get_num_threads()}
    n_threads, reason = choose_threads()
    job.progress_console.print(f"threads {reason}", soft_wrap=True)
    return {"cpu_threads": n_threads}


def _set_threads(job: TrainingJob, hparams: HParams, choices: Mapping[str, Any]) -> None:
    """Set the chosen number for this process; it belongs to this machine, so it does not enter recipe and voice."""
    if hparams.cpu_threads == 0 and "cpu_threads" in choices and _computes_alone(job):
        torch.set_num_threads(choices["cpu_threads"])


def _computes_alone(job: TrainingJob) -> bool:
    return job.device.type == "cpu" and job.rank_group.size == 1


def _of_recipe(choices: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in choices.items() if name != "cpu_threads"}


def _measure(
    job: TrainingJob, hparams: HParams, corpus: PreparedCorpus, probe_time: ProbeTime, is_open: Mapping[str, bool]
) -> dict[str, Any]:
    """Choose number format and frame budget where they are open, the second with the first."""
    measured: dict[str, Any] = {}
    console, loader = job.progress_console, corpus.loader(corpus.train, hparams)
    with torch.random.fork_rng(devices=[]):
        model = build_model(hparams, len(corpus.frontend.symbols))
    if is_open["precision"]:
        with task_progress(console, "trying number formats") as progress:
            measured["precision"], reason = choose_precision(
                model, loader, hparams, device=job.device, probe_time=probe_time, progress=progress
            )
        console.print(f"format  {reason}", soft_wrap=True)
        hparams = build_hparams(hparams.model_dump(), measured)
    if is_open["max_frames_per_batch"]:
        measured["max_frames_per_batch"], reason = choose_frame_budget(model, loader, hparams, job.device)
        console.print(f"batches {reason}", soft_wrap=True)
    return measured
