"""The first journal records of a session: settings, data, supervision, skipped utterances."""

from __future__ import annotations

from typing import Any

import torch

from commands.run.attach_supervisor import describe_supervision
from commands.run.corpus import PreparedCorpus
from commands.run.event_publisher import EventPublisher
from commands.run.job import TrainingJob
from commands.run.start_point import StartPoint
from monitoring.journal.summary import read_summary
from reports import CheckpointReport
from training.checkpoints.checkpoint import list_checkpoints
from training.trainer import EnhancedTrainer


def journal_start(
    job: TrainingJob,
    corpus: PreparedCorpus,
    *,
    publisher: EventPublisher,
    trainer: EnhancedTrainer,
    start: StartPoint,
    plan: dict[str, Any],
) -> None:
    """Write everything that the run is made of, and everything but signals that later decisions depend on."""
    recorder, step = publisher.recorder, trainer.state.progress.step
    supervision: dict[str, Any] = {}
    if publisher.supervisor is None:
        recorder.enter_phase(None)
    else:
        supervisor = publisher.supervisor.supervisor
        recorder.enter_phase(supervisor.state.phase)
        supervision = {"supervision": describe_supervision(supervisor, job.options.supervise)}
    recorder.journal.write(
        start.kind,
        step,
        hparams=job.hparams.model_dump(mode="json"),
        choices=_choices(job, trainer),
        changed=start.changed,
        **plan,
        corpus=corpus.name,
        data=job.options.data,
        data_format=job.options.data_format,
        source=None if start.path is None else str(start.path),
        train_utterances=len(corpus.train),
        held_out_utterances=len(corpus.held_out),
        **supervision,
    )
    for skip in corpus.skipped:
        recorder.journal.write("skipped", step, utterance=skip.where, reason=skip.reason)
    samples = read_summary(recorder.folder).get("samples", [])
    best = trainer.state.best_checkpoint()
    recorder.begin(step=step, epoch=trainer.state.progress.epoch, best=best, samples=samples)
    _announce_checkpoint(publisher, trainer, start)


def _choices(job: TrainingJob, trainer: EnhancedTrainer) -> dict[str, Any]:
    return {
        "precision": trainer.state.learner.precision.name,
        "max_frames_per_batch": job.hparams.max_frames_per_batch,
        "processes": job.rank_group.size,
        "threads": torch.get_num_threads(),
        "device": job.device.type,
        "pinned": list(job.options.pinned_knobs),
    }


def _announce_checkpoint(publisher: EventPublisher, trainer: EnhancedTrainer, start: StartPoint) -> None:
    """Report the checkpoint that a resumed run starts from, if it is one of its own."""
    saved = list_checkpoints(publisher.recorder.folder / "checkpoints")
    step = trainer.state.progress.step
    if start.path is not None and start.path in [checkpoint.path for checkpoint in saved]:
        kept = [checkpoint.step for checkpoint in saved if checkpoint.step <= step]
        best = trainer.state.best_checkpoint()
        publisher.announce_checkpoint(CheckpointReport(step, start.path, best, kept))
