"""One session of training in a run's folder: begins or goes on, and ends with its last word written."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from commands.process.exit_codes import EXIT_FAILED, EXIT_HOPELESS, exit_code_of
from commands.process.heartbeat import Heartbeat
from commands.run.attach_supervisor import description, facts_of, supervise
from commands.run.corpus import PreparedCorpus, read_sentences
from commands.run.course import Course, plan_course
from commands.run.estimate import Plan, make_plan
from commands.run.event_publisher import EventPublisher, report_progress
from commands.run.job import Job, pinned_knobs
from commands.run.order_place import kept_place
from commands.run.person_orders import OrderTaker
from commands.run.recipe import preset_values
from commands.run.resume import Start, find_start
from commands.run.run_settings import settle
from corpus.batches import BatchLoader
from corpus.utterances import safe_name
from files import atomic_replacement
from hparams import HParams, UserError, build_hparams
from models import build_model
from monitoring.journal.recorder import RunRecorder
from monitoring.journal.sample_writer import SampleNaming, SampleWriter
from monitoring.journal.summary import read_summary
from monitoring.terminal.progress import ProgressDisplay
from reports import CheckpointReport
from smart_tuner.runtime import SupervisorRuntime
from training.checkpoints.checkpoint import DiskFull, list_checkpoints
from training.checkpoints.initial_weights import delete_initial_weights, save_initial_weights
from training.checkpoints.run_files import QUARANTINE_FILE, read_quarantine
from training.trainer import EnhancedTrainer

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

Beside = Callable[[], AbstractContextManager[None]]


def train(
    job: Job, corpus: PreparedCorpus, *, folder: Path, heartbeat: Heartbeat, beside: Beside = nullcontext
) -> int | None:
    """Returns the exit code, or None when the run is finished already; `beside` goes on while it trains."""
    job = replace(job, hparams=settle(job, corpus, folder))
    hparams = job.hparams
    sentences = read_sentences(job.options.eval_sentences, corpus.frontend, hparams)
    data = corpus.training_data(hparams, sentences)
    keep_out_quarantined(data.train, folder)
    start = find_start(job.options, hparams, folder, symbols=data.symbols)
    torch.manual_seed(hparams.seed)
    model = build_model(hparams, len(data.symbols))
    fresh = start.load_weights(model)
    course = plan_course(start, hparams, job.limits, n_batches=data.train.n_batches(0))
    if start.has_reached(job.limits, data.train, hparams) and read_summary(folder).get("status") == "finished":
        return None
    n_steps = max(0, course.last_step - start.step)
    plan = make_plan(corpus, model, hparams, n_steps=n_steps, limits=job.limits, device=job.device)
    job.chatter.print(plan.text)
    if fresh:
        job.chatter.print(f"warm start: {len(fresh)} weights begin anew: {', '.join(fresh)}", soft_wrap=True)
    branches_off = start.path is not None and start.path.parent.resolve() != (folder / "checkpoints").resolve()
    if branches_off:
        save_initial_weights(folder, model, fresh=fresh)
    elif start.kind == "started":
        delete_initial_weights(folder)
    place = kept_place(folder)
    recorder = _open_recorder(job, corpus, folder=folder, course=course)
    try:
        publisher = EventPublisher(recorder, [report_progress(heartbeat)])
        trainer = EnhancedTrainer(
            model, data, hparams, folder=folder, observer=publisher, device=job.device, rank_group=job.rank_group
        )
        supervisor = _supervise(job, trainer, publisher, course.length)
        start.apply(trainer)
        if branches_off:  # its supervisor must know only what this run's own journal says
            supervisor = _supervise(job, trainer, publisher, course.length)
        if branches_off or job.options.supervise != "on":
            trainer.control.forget_pending()
        orders = OrderTaker(trainer, recorder, supervisor, job.settings.supervision, heartbeat, place=place)
        trainer.before_step = orders.look
        job.join(trainer)
        _journal_start(job, corpus, publisher, trainer, start, _planned(job, course, plan))
        write_hparams(folder, hparams)
        with beside():
            return _fit(job, trainer, recorder)
    finally:
        recorder.close()


def _planned(job: Job, course: Course, plan: Plan) -> dict[str, float | None]:
    return {
        "planned_steps": course.last_step,
        "course_steps": course.length,
        "most_steps": job.limits.max_steps,
        "forecast_seconds": plan.seconds,
        "weights": plan.n_weights,
    }


def keep_out_quarantined(train: BatchLoader, folder: Path) -> None:
    train.quarantined |= read_quarantine(folder).keys()
    if not train.has_utterances:
        raise UserError(
            f"{folder / QUARANTINE_FILE}: lists all {len(train.examples)} utterances to train on; take some out"
        )


def _open_recorder(job: Job, corpus: PreparedCorpus, *, folder: Path, course: Course) -> RunRecorder:
    display = ProgressDisplay(
        job.chatter,
        name=folder.name,
        last_step=course.last_step,
        plan_steps=course.length,
        line_seconds=job.settings.progress_every_seconds,
        max_steps=job.limits.max_steps,
    )
    try:
        naming = SampleNaming(corpus.frontend.symbols, safe_name)
        samples = SampleWriter(folder, naming, n_samples=job.hparams.evaluation_samples)
        return RunRecorder(folder, samples, model=job.hparams.model, display=display)
    except OSError as error:
        if _is_disk_full(error):
            raise
        what = f"{folder / 'journal.jsonl'}: cannot be written ({error.strerror})"
        raise UserError(
            f"{what}; without a journal nothing is trained: mend it or choose another --run_name"
        ) from error


def _supervise(
    job: Job, trainer: EnhancedTrainer, publisher: EventPublisher, planned_steps: int
) -> SupervisorRuntime | None:
    mode = job.options.supervise
    if mode == "off":
        return None
    preset = build_hparams(preset_values(job.options, job.hparams.model))
    facts = facts_of(trainer, preset, pinned=pinned_knobs(job.options.pin), planned_steps=planned_steps)
    able = tuple(action for action in facts.actions if action not in job.left_alone)
    wanted = job.settings.supervision.forks
    forks = wanted == "on" or (wanted == "auto" and job.device.type == "cuda")
    facts = facts.model_copy(update={"actions": able, "forks": forks})
    return supervise(publisher, trainer, facts, job.settings, mode)


def _journal_start(
    job: Job,
    corpus: PreparedCorpus,
    publisher: EventPublisher,
    trainer: EnhancedTrainer,
    start: Start,
    plan: dict[str, float | None],
) -> None:
    """Record what this run is made of: its data, settings and choices."""
    choices: dict[str, Any] = {
        "precision": trainer.state.learner.precision.name,
        "max_frames_per_batch": job.hparams.max_frames_per_batch,
        "processes": job.rank_group.size,
        "threads": torch.get_num_threads(),
        "device": job.device.type,
        "pinned": list(pinned_knobs(job.options.pin)),
    }
    recorder, supervisor = publisher.recorder, publisher.supervisor
    recorder.enter_phase(None if supervisor is None else supervisor.supervisor.state.phase)
    recorder.journal.write(
        start.kind,
        trainer.state.progress.step,
        hparams=job.hparams.model_dump(mode="json"),
        choices=choices,
        changed=start.changed,
        **plan,
        corpus=corpus.name,
        data=job.options.data,
        data_format=job.options.data_format,
        source=None if start.path is None else str(start.path),
        train_utterances=len(corpus.train),
        held_out_utterances=len(corpus.held_out),
        **({} if supervisor is None else {"supervision": description(supervisor, trainer, job.options.supervise)}),
    )
    for skip in corpus.skipped:
        recorder.journal.write("skipped", trainer.state.progress.step, utterance=skip.where, reason=skip.reason)
    progress, samples = trainer.state.progress, read_summary(recorder.folder).get("samples", [])
    recorder.begin(
        step=progress.step,
        epoch=progress.epoch,
        best=trainer.state.best_checkpoint(),
        samples=samples,
    )
    saved = list_checkpoints(recorder.folder / "checkpoints")
    if start.path in [checkpoint.path for checkpoint in saved]:
        kept = [checkpoint.step for checkpoint in saved if checkpoint.step <= progress.step]
        assert start.path is not None
        best = trainer.state.best_checkpoint()
        publisher.announce_checkpoint(CheckpointReport(progress.step, start.path, best, kept))


def _fit(job: Job, trainer: EnhancedTrainer, recorder: RunRecorder) -> int:
    try:
        reason = trainer.fit(job.limits)
        if (stop := job.limits.stop) is None:
            trainer.write_voice()
        hopeless = trainer.control.is_hopeless
        recorder.finish(status=_status(stop, hopeless=hopeless), reason=reason)
    except (DiskFull, OSError) as error:
        if not _is_disk_full(error):
            raise
        recorder.finish(status="failed", reason=f"disk full: {error}")
        job.console.print(f"failed: {error}; make room and run the same command again")
        return EXIT_FAILED
    finally:
        if recorder.is_running:  # something unforeseen is on its way up: the record says what
            status = "failed" if job.limits.stop is None else "interrupted"
            recorder.finish(status=status, reason=repr(sys.exception()))
    if stop is not None:
        job.console.print(f"{stop}: saved at step {trainer.state.progress.step}; the same command goes on from here")
        return exit_code_of(stop)
    if hopeless:
        job.console.print(f"stopped at step {trainer.state.progress.step}: {reason}")
        return EXIT_HOPELESS
    job.console.print(_farewell(trainer.state.folder))
    return 0


def _status(stop: str | None, *, hopeless: bool) -> str:
    if stop is not None:
        return "interrupted"
    return "stopped" if hopeless else "finished"


def _is_disk_full(error: BaseException) -> bool:
    return isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in NO_SPACE)


def _farewell(folder: Path) -> str:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return (
        f"finished at step {summary['step']}: {folder / 'voice.safetensors'}\n"
        f"listen: {folder / 'samples'}   see: tensorboard --logdir {folder.parent}\n"
        f'speak: python train_enhanced.py --mode synthesize --run {folder} --text "…" --out x.wav'
    )


def write_hparams(folder: Path, hparams: HParams) -> None:
    with atomic_replacement(folder / "hparams.json") as temporary:
        temporary.write_text(json.dumps(hparams.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
