"""--mode check: report the problems of a corpus; exit code 0 for go, 2 for no-go."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

from commands.console import open_console
from commands.options import TrainOptions
from commands.plan.description import describe_plan
from commands.plan.estimate import estimate_run, measure_step
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
    n_batches = corpus.loader(corpus.train, job.hparams).n_batches(0)
    probe_time = ProbeTime(job.hparams.epochs * n_batches, job.limits.seconds_left)
    cost = measure_step(corpus, job.hparams, device=job.device, probe_time=probe_time)
    plan = new_plan(job, n_batches, cost)
    job = planned_job(job, plan, corpus.facts)
    estimate = estimate_run(corpus, job.hparams, cost, n_steps=plan.steps, limits=job.limits)
    text = f"{describe_plan(job, plan)}\n{estimate.text}"
    return PlannedTraining(
        text,
        {
            "steps": plan.steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "seconds": estimate.seconds,
            "memory_bytes": cost.memory_bytes,
            "preset": job.preset,
            "facts": asdict(corpus.facts),
            "hparams": job.hparams.model_dump(mode="json"),
        },
    )
