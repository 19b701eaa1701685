"""--mode check: report the problems of a corpus; exit code 0 for go, 2 for no-go."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

from commands.console import open_console
from commands.options import TrainOptions
from commands.plan.base_voice import PlannedBase, base_steps, plan_base_voice
from commands.plan.description import describe_plan
from commands.plan.estimate import StepCost, estimate_run, format_duration, measure_step
from commands.plan.preset_choice import choose_preset, with_preset
from commands.plan.settled_recipe import new_plan
from commands.plan.training_plan import planned_job, with_batch_values
from commands.run.corpus import find_corpus, prepare_corpus
from commands.run.job import TrainingJob, plan_job
from commands.run.run_folder import choose_run_folder
from corpus.check.corpus_check import check_corpus, render_report
from corpus.text.frontend import text_frontend
from training.step.probe import ProbeTime

EXIT_GO, EXIT_NO_GO = 0, 2


def run(options: TrainOptions) -> int:
    job = plan_job(replace(options, quiet=options.quiet or options.json))
    job = with_preset(job, choose_preset(job))
    options, hparams = job.options, job.hparams
    frontend = text_frontend(hparams)
    _, corpus = find_corpus(options, hparams)
    report = check_corpus(
        corpus, hparams, frontend=frontend, cache_folder=options.output / ".cache" / "mels", workers=os.cpu_count() or 1
    )
    if not options.json:
        open_console().print(render_report(report))
    plan = _plan_of(plan_job(options)) if report.go else None  # the check's own time is none of the training's
    if options.json:
        fields = {"plan": None if plan is None else plan.fields}
        sys.stdout.write(json.dumps(report.to_json() | fields, ensure_ascii=False) + "\n")
    elif plan is not None:
        open_console().print(plan.text, soft_wrap=True, highlight=False)
    return EXIT_GO if report.go else EXIT_NO_GO


@dataclass(frozen=True)
class PlannedTraining:
    """Plan of a training for people and for programs."""

    text: str
    fields: dict[str, Any]


def _plan_of(job: TrainingJob) -> PlannedTraining:
    """Plan the training that the same options would start, without training."""
    corpus = prepare_corpus(job.options, job.hparams, open_console(quiet=True))
    folder = choose_run_folder(job.options, corpus.hparams, corpus.name)
    job = with_batch_values(replace(job, hparams=corpus.hparams), corpus.facts, folder)
    base = plan_base_voice(job, corpus.facts, folder, [example.utterance.text for example in corpus.train])
    n_batches = corpus.loader(corpus.train, job.hparams).n_batches(0)
    probe_time = ProbeTime(job.hparams.epochs * n_batches, job.limits.seconds_left)
    cost = measure_step(corpus, job.hparams, device=job.device, probe_time=probe_time)
    base_seconds = _base_seconds(job, base, cost)
    job = replace(job, limits=job.limits.shortened(base_seconds))
    plan = new_plan(job, n_batches, cost)
    job = planned_job(job, plan, corpus.facts)
    estimate = estimate_run(corpus, job.hparams, cost, n_steps=plan.steps, limits=job.limits)
    lines = [_describe_base(base, base_seconds), describe_plan(job, plan), estimate.text]
    return PlannedTraining(
        "\n".join(filter(None, lines)),
        {
            "steps": plan.steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "seconds": estimate.seconds,
            "memory_bytes": cost.memory_bytes,
            "preset": job.preset,
            "base_seconds": base_seconds,
            "facts": asdict(corpus.facts),
            "hparams": job.hparams.model_dump(mode="json"),
        },
    )


def _base_seconds(job: TrainingJob, base: PlannedBase | str, cost: StepCost) -> float:
    """Time that the training of a base voice takes, at the measured speed."""
    return min(base.seconds, base_steps(job) * cost.seconds) if isinstance(base, PlannedBase) else 0.0


def _describe_base(base: PlannedBase | str, seconds: float) -> str:
    if not isinstance(base, PlannedBase):
        return f"base    none: {base}" if base else ""
    if not base.seconds:
        return f"base    {base.folder}: a voice of espeak-ng to start from"
    return f"base    a voice of espeak-ng is trained first, for {format_duration(seconds)} at most"
