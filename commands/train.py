"""--mode train: train a voice on a corpus, alone or as one of several ranks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from commands.options import TrainOptions
from commands.plan.base_voice import with_base_voice
from commands.plan.preset_choice import choose_preset, with_preset
from commands.plan.training_plan import with_batch_values, with_begun_level
from commands.process.companion_process import CompanionProcess, has_pending_output
from commands.process.exit_codes import EXIT_FAILED, exit_code_of
from commands.process.heartbeat import Heartbeat, open_heartbeat
from commands.process.ranks import (
    RankHeartbeat,
    StopRequest,
    joined_ranks,
    require_same,
    run_leader_first,
    run_on_all_ranks,
)
from commands.process.signals import StopSignals
from commands.run.corpus import PreparedCorpus, corpus_name, prepare_corpus
from commands.run.job import TrainingJob, plan_job
from commands.run.run_folder import choose_run_folder, lock_folder
from commands.run.session import open_session
from commands.run.speakers import require_examples_of_speakers
from corpus.batches import BatchLoader
from hparams import HParams, UserError
from training.checkpoints.json_files import apply_amendments
from training.distributed.rank_group import RankFailure, RankGroup
from training.distributed.worker import run_worker


def run(options: TrainOptions) -> int:
    with joined_ranks(options) as rank_group:
        try:
            return _run_leader(options, rank_group) if rank_group.is_leader else _run_worker(options, rank_group)
        except RankFailure as error:
            sys.stderr.write(f"error: {error}; the same command continues from the last checkpoint\n")
            return EXIT_FAILED


def _run_leader(options: TrainOptions, rank_group: RankGroup) -> int:
    with closing(open_heartbeat() if rank_group.size == 1 else RankHeartbeat(rank_group)) as heartbeat:
        job = _plan_job(options, rank_group)
        with StopSignals(job.limits) as signals:
            corpus = _prepare_corpus(job, rank_group)
            with _ended_workers(rank_group):
                return _train_run(job, corpus, heartbeat, signals)


def _train_run(job: TrainingJob, corpus: PreparedCorpus, heartbeat: Heartbeat, signals: StopSignals) -> int:
    folder = choose_run_folder(job.options, corpus.hparams, corpus.name)
    with lock_folder(folder):
        heartbeat.report_folder(folder)
        job = with_batch_values(replace(job, hparams=corpus.hparams), corpus.facts, folder)
        job = replace(job, hparams=apply_amendments(folder, job.hparams))
        texts = [example.utterance.text for example in corpus.train]
        job = with_base_voice(job, corpus.facts, folder, heartbeat, on_start=signals.training_starts, texts=texts)
        if job.limits.stop is not None:
            job.console.print(f"stopped by {job.limits.stop} before the run began; the same command continues")
            return exit_code_of(job.limits.stop)
        with open_session(job, corpus, folder=folder, heartbeat=heartbeat) as session:
            if session is None:
                code = _finished_before(job, folder, heartbeat, signals)
            else:
                with running_companion(job.options, folder, heartbeat, signals):
                    code = session.fit()
        if code != EXIT_FAILED:  # after a full disk a restart may find room
            heartbeat.end()
        return code


def _plan_job(options: TrainOptions, rank_group: RankGroup) -> TrainingJob:
    """The same job on all ranks; where nobody names a preset, the leader chooses it."""
    job = run_on_all_ranks(rank_group, lambda: plan_job(options))
    is_alone, is_leader = rank_group.size == 1, rank_group.is_leader
    choice = run_on_all_ranks(rank_group, lambda: choose_preset(job, is_measured=is_alone) if is_leader else None)
    if not is_alone:
        choice = rank_group.gather(choice, at_start=True)[0]
    return replace(with_preset(job, choice), rank_group=rank_group)


def _run_worker(options: TrainOptions, rank_group: RankGroup) -> int:
    """Compute this rank's share of each update; the leader prints the messages."""
    options = replace(options, quiet=True)
    job = _plan_job(options, rank_group)
    corpus = _prepare_corpus(job, rank_group)

    def loader_of(hparams: HParams) -> BatchLoader:
        return corpus.loader(corpus.train, hparams)

    run_worker(rank_group, loader_of, len(corpus.frontend.symbols), job.device, StopRequest())
    return 0


@contextmanager
def _ended_workers(rank_group: RankGroup) -> Iterator[None]:
    """On leaving, tell the other ranks that the training is over."""
    try:
        yield
    finally:
        with suppress(RankFailure):  # then this error is already on its way to run()
            rank_group.broadcast(None)


def _prepare_corpus(job: TrainingJob, rank_group: RankGroup) -> PreparedCorpus:
    def prepare() -> PreparedCorpus:
        folder = choose_run_folder(job.options, job.hparams, corpus_name(job.options))
        corpus = prepare_corpus(job.options, with_begun_level(job.hparams, folder), job.progress_console)
        require_examples_of_speakers(corpus.hparams, corpus.train)
        if len(corpus.train) < rank_group.size:
            raise UserError(f"{rank_group.size} processes for {len(corpus.train)} utterances; start fewer")
        if corpus.hparams.alignment_guide == "diagonal":
            return corpus
        return corpus.aligned(job.options.output / ".cache" / "alignments", job.progress_console)

    corpus = run_leader_first(rank_group, prepare)
    settings = {f"setting {name}": value for name, value in corpus.hparams.model_dump().items()}
    require_same(rank_group, {"kind of device": job.device.type, "corpus": corpus.identity} | settings)
    rank_group.set_device(job.device)
    return corpus


def _finished_before(job: TrainingJob, folder: Path, heartbeat: Heartbeat, signals: StopSignals) -> int:
    """Report that there is nothing to train; a companion shows what earlier ones left."""
    job.console.print(f"{folder}: this run is finished; for a new one give --run_name NAME, or --resume none")
    if job.options.companion == "on" and has_pending_output(folder, job.settings):
        with running_companion(job.options, folder, heartbeat, signals):
            pass
    return 0


@contextmanager
def running_companion(
    options: TrainOptions, folder: Path, heartbeat: Heartbeat, signals: StopSignals
) -> Iterator[None]:
    """Companion that runs beside a training; under a watchdog, which lives longer, the watchdog starts it."""
    signals.training_starts()
    heartbeat.report_training()
    companion = CompanionProcess(options)
    if options.companion == "on" and not heartbeat.has_watchdog:
        companion.start(folder)
    try:
        yield
    finally:
        signals.training_ends()
        companion.finish()
