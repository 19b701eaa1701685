"""--mode train: from a corpus to a voice."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from commands.options import TrainOptions
from commands.process.companion_process import CompanionProcess, is_anything_left
from commands.process.heartbeat import Heartbeat, open_heartbeat
from commands.process.ranks import AskedToStop, LeadersBeats, assembled, one_after_another, require_same, together
from commands.process.stop_signals import StopSignals
from commands.run.corpus import PreparedCorpus, prepare_corpus
from commands.run.job import Job, plan_job
from commands.run.run_folder import choose_run_folder, locked, make_writable
from commands.run.session import EXIT_FAILED, train
from commands.run.speakers import require_all_heard
from corpus.batches import BatchLoader
from hparams import HParams, UserError
from training.checkpoints.run_files import apply_amendments
from training.distributed.rank_group import RankFailure, RankGroup
from training.distributed.worker import run_worker


def run(options: TrainOptions) -> int:
    with assembled(options) as rank_group:
        try:
            return _lead(options, rank_group) if rank_group.is_leader else _follow(options, rank_group)
        except RankFailure as error:
            sys.stderr.write(f"error: {error}; the same command goes on from the last checkpoint\n")
            return EXIT_FAILED


def _lead(options: TrainOptions, rank_group: RankGroup) -> int:
    with open_heartbeat() if rank_group.size == 1 else LeadersBeats(rank_group) as heartbeat:
        job = together(rank_group, lambda: plan_job(options))
        with StopSignals(job.limits) as signals:
            corpus = _prepare(options, job, rank_group)
            try:
                return _train(replace(job, rank_group=rank_group), corpus, heartbeat, signals)
            finally:
                with contextlib.suppress(RankFailure):  # which is on its way up then
                    rank_group.broadcast(None)


def _train(job: Job, corpus: PreparedCorpus, heartbeat: Heartbeat, signals: StopSignals) -> int:
    options = job.options
    folder = choose_run_folder(options, corpus.hparams, corpus.name)
    with locked(folder):
        heartbeat.started(folder)
        job = replace(job, hparams=apply_amendments(folder, corpus.hparams))
        beside = functools.partial(accompanied, options, folder, heartbeat, signals)
        code = train(job, corpus, folder=folder, heartbeat=heartbeat, beside=beside)
        if code is None:
            code = _finished_before(job, folder, heartbeat, signals)
        if code != EXIT_FAILED:  # someone may make room on a full disk
            heartbeat.end()
        return code


def _follow(options: TrainOptions, rank_group: RankGroup) -> int:
    """Quietly: what there is to say, the leader says."""
    options = replace(options, quiet=True)
    job = together(rank_group, lambda: plan_job(options))
    corpus = _prepare(options, job, rank_group)

    def loader_of(hparams: HParams) -> BatchLoader:
        return corpus.loader(corpus.train, hparams)

    run_worker(rank_group, loader_of, len(corpus.frontend.symbols), job.device, AskedToStop())
    return 0


def _prepare(options: TrainOptions, job: Job, rank_group: RankGroup) -> PreparedCorpus:
    def prepare() -> PreparedCorpus:
        make_writable(options.output)
        corpus = prepare_corpus(options, job.hparams, job.chatter)
        require_all_heard(corpus.hparams, corpus.train)
        if len(corpus.train) < rank_group.size:
            raise UserError(f"{rank_group.size} processes for {len(corpus.train)} utterances; start fewer")
        return corpus

    corpus = one_after_another(rank_group, prepare)
    settings = {f"setting {name}": value for name, value in corpus.hparams.model_dump().items()}
    require_same(rank_group, {"kind of device": job.device.type, "corpus": corpus.identity} | settings)
    rank_group.set_device(job.device)
    return corpus


def _finished_before(job: Job, folder: Path, heartbeat: Heartbeat, signals: StopSignals) -> int:
    job.console.print(f"{folder}: this run is finished; a new one: --run_name NAME, or --resume none")
    if job.options.companion == "on" and is_anything_left(folder, job.settings):
        with accompanied(job.options, folder, heartbeat, signals):
            return 0
    return 0


@contextmanager
def accompanied(options: TrainOptions, folder: Path, heartbeat: Heartbeat, signals: StopSignals) -> Iterator[None]:
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
