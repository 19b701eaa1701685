"""--mode train: from a corpus to a voice."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from commands.companion_process import CompanionProcess, is_anything_left
from commands.heartbeat import Heartbeat, open_heartbeat
from commands.job import Job, plan_job
from commands.prepared_corpus import prepare_corpus
from commands.run_folder import choose_run_folder, locked, make_writable
from commands.session import EXIT_FAILED, train
from commands.speakers import require_all_heard
from commands.stop_signals import StopSignals
from training.amendments import amended


def run(options: argparse.Namespace) -> int:
    with open_heartbeat() as heartbeat:
        job = plan_job(options)
        with StopSignals(job.limits) as signals:
            make_writable(options.output)
            corpus = prepare_corpus(options, job.hparams, job.chatter)
            require_all_heard(corpus.hparams, corpus.train)
            folder = choose_run_folder(options, corpus.hparams, corpus.name)
            with locked(folder):
                heartbeat.started(folder)
                job = replace(job, hparams=amended(folder, corpus.hparams))
                beside = functools.partial(accompanied, options, folder, heartbeat, signals)
                code = train(job, corpus, folder=folder, heartbeat=heartbeat, beside=beside)
                if code is None:
                    code = _finished_before(job, folder, heartbeat, signals)
                if code != EXIT_FAILED:  # someone may make room on a full disk
                    heartbeat.end()
                return code


def _finished_before(job: Job, folder: Path, heartbeat: Heartbeat, signals: StopSignals) -> int:
    job.console.print(f"{folder}: this run is finished; a new one: --run_name NAME, or --resume none")
    if job.options.companion == "on" and is_anything_left(folder, job.settings):
        with accompanied(job.options, folder, heartbeat, signals):
            return 0
    return 0


@contextmanager
def accompanied(
    options: argparse.Namespace, folder: Path, heartbeat: Heartbeat, signals: StopSignals
) -> Iterator[None]:
    """By a companion that shows the run; a watchdog starts it itself, since it lives longer."""
    signals.training_starts()
    heartbeat.training()
    companion = CompanionProcess(options)
    if options.companion == "on" and not heartbeat.is_heard:
        companion.start(folder)
    try:
        yield
    finally:
        signals.training_ends()
        companion.finish()
