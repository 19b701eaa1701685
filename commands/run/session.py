"""One session of training in a run's folder: starts or resumes the run, trains, writes the final records."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from commands.plan.description import describe_plan
from commands.plan.estimate import Estimate, StepCost, estimate_run
from commands.plan.forecast_check import ForecastCheck
from commands.plan.plan_correction import PlanCorrection
from commands.plan.settled_recipe import SettledRecipe, settle_recipe
from commands.plan.training_plan import write_plan
from commands.process.exit_codes import EXIT_FAILED, EXIT_HOPELESS, exit_code_of
from commands.process.heartbeat import Heartbeat
from commands.run.attach_supervisor import attach_supervisor, synchronize_knobs
from commands.run.corpus import PreparedCorpus, sample_sentences
from commands.run.event_publisher import EventPublisher, report_progress
from commands.run.job import TrainingJob
from commands.run.person_requests import RequestHandler, load_position
from commands.run.start_point import StartPoint, StepPlan, plan_steps
from commands.run.start_record import journal_start
from corpus.batches import BatchLoader
from files import is_disk_full, write_atomically
from hparams import HParams, UserError
from models import TrainableModel, build_model, count_parameters
from monitoring.events import Subscriber
from monitoring.journal.journal_state import JournalState
from monitoring.journal.recorder import RunRecorder
from monitoring.journal.sample_writer import SampleWriter
from monitoring.journal.summary import read_summary
from monitoring.language.english import ENGLISH
from monitoring.measures.residuals import UtteranceResiduals
from monitoring.report.summary import voice_quality
from monitoring.terminal.progress import ProgressDisplay
from training.checkpoints.checkpoint import DiskFull
from training.checkpoints.initial_weights import delete_initial_weights, save_initial_weights
from training.checkpoints.json_files import QUARANTINE_FILE, read_quarantine
from training.run_state import RunState
from training.trainer import EnhancedTrainer


@dataclass(frozen=True)
class Session:
    """A training that is loaded and whose start is journalled."""

    job: TrainingJob
    trainer: EnhancedTrainer
    recorder: RunRecorder

    def fit(self) -> int:
        """Train until a limit and write the final records; return the exit code."""
        stop = None
        try:
            reason = self.trainer.fit(self.job.limits)
            if (stop := self.job.limits.stop) is None:
                self.trainer.write_voice()
            is_hopeless = self.trainer.control.is_hopeless
            self.recorder.finish(status=_status(stop, is_hopeless=is_hopeless), reason=reason)
        except (DiskFull, OSError) as error:
            if not _is_disk_full(error):
                raise
            self.recorder.finish(status="failed", reason=f"disk full: {error}")
            self.job.console.print(f"failed: {error}; free some disk space and run the same command again")
            return EXIT_FAILED
        finally:
            if self.recorder.is_running:  # an unexpected exception is being raised: the journal says which
                status = "failed" if self.job.limits.stop is None else "interrupted"
                self.recorder.finish(status=status, reason=repr(sys.exception()))
        return self._print_result(stop, reason, is_hopeless=is_hopeless)

    def _print_result(self, stop: str | None, reason: str, *, is_hopeless: bool) -> int:
        step, console = self.trainer.state.progress.step, self.job.console
        if stop is not None:
            console.print(f"stopped by {stop} and saved at step {step}; the same command continues from here")
            return exit_code_of(stop)
        if is_hopeless:
            console.print(f"stopped at step {step}: {reason}")
            return EXIT_HOPELESS
        console.print(self._next_commands(), soft_wrap=True)
        return 0

    def _next_commands(self) -> str:
        """Result in a sentence, and how to see and hear it."""
        folder, options = self.trainer.state.folder, self.job.options
        state = JournalState.load(folder)
        lines = [f"finished at step {state.step}: {voice_quality(state, ENGLISH)}"]
        if self.job.settings.report.enabled and options.companion == "on":
            lines.append(f"report: {folder / 'report.html'}")
        return "\n".join(
            (
                *lines,
                f"listen: {folder / 'samples'}   see: tensorboard --logdir {folder.parent}",
                f'speak: python train_enhanced.py --mode synthesize --run {folder} --text "…" --out x.wav',
            )
        )


@contextmanager
def open_session(
    job: TrainingJob, corpus: PreparedCorpus, *, folder: Path, heartbeat: Heartbeat
) -> Iterator[Session | None]:
    """Load what the run starts from and journal the start; yield None when the run is finished already."""
    settled = settle_recipe(job, corpus, folder)
    job, start, hparams = settled.job, settled.start, settled.job.hparams
    data = corpus.training_data(hparams, sample_sentences(job.options, corpus, hparams))
    exclude_quarantined(data.train, folder)
    torch.manual_seed(hparams.seed)
    model = build_model(hparams, len(data.symbols))
    fresh = start.load_weights(model)
    plan = plan_steps(start, hparams, job.limits, n_batches=data.train.n_batches(0))
    if start.has_reached(job.limits, data.train, hparams) and read_summary(folder).get("status") == "finished":
        yield None
        return
    n_steps = max(0, plan.last_step - start.progress.step)
    estimate = None if settled.cost is None else _print_estimate(job, corpus, settled.cost, n_steps=n_steps)
    if settled.plan is not None:
        job.progress_console.print(describe_plan(job, settled.plan), soft_wrap=True, highlight=False)
    _settle_start(job, start, model, folder, fresh)
    with closing(_open_recorder(job, corpus, folder=folder, plan=plan)) as recorder:
        correction = None if settled.plan is None else PlanCorrection(settled.plan, folder, recorder)
        checks = _forecast_checks(job, plan, estimate, recorder, correction)
        residuals = UtteranceResiduals(losses_are_logarithms="total_loss" in model.LOG_LOSSES)
        publisher = EventPublisher(recorder, [report_progress(heartbeat), *checks], residuals)
        device, ranks = job.device, job.rank_group
        state = RunState(model, data, hparams, folder=folder, observer=publisher, device=device, rank_group=ranks)
        if settled.plan is not None and correction is not None:
            state.stretch, correction.state = settled.plan.stretch, state
        trainer = EnhancedTrainer(state)
        _load_start(job, trainer, publisher, start, planned_steps=plan.length)
        trainer.before_step = RequestHandler(
            trainer,
            recorder,
            supervisor=publisher.supervisor,
            settings=job.settings.supervision,
            heartbeat=heartbeat,
            position=load_position(folder),
        ).execute_new
        job.on_trainer_ready(trainer)
        if publisher.supervisor is not None:
            synchronize_knobs(publisher.supervisor.supervisor, trainer)
        if correction is not None:
            correction.supervisor = publisher.supervisor
        plan_fields = _plan_fields(settled, corpus, plan, estimate, n_weights=count_parameters(model))
        journal_start(job, corpus, publisher=publisher, trainer=trainer, start=start, plan=plan_fields)
        write_hparams(folder, hparams)
        if settled.plan is not None:
            write_plan(folder, settled.plan)
        yield Session(job, trainer, recorder)


def _settle_start(
    job: TrainingJob, start: StartPoint, model: TrainableModel, folder: Path, fresh: Sequence[str]
) -> None:
    """Say where the training starts, and keep weights from outside for a restart; `fresh` ones are random."""
    if fresh:
        names = ", ".join(fresh)
        job.progress_console.print(f"warm start: {len(fresh)} weights start at random: {names}", soft_wrap=True)
    if start.is_outside(folder):
        save_initial_weights(folder, model, fresh=fresh)
    elif start.kind == "started":
        delete_initial_weights(folder)
    if start.kind == "resumed":
        job.progress_console.print(f"continues at step {start.progress.step:,} from {start.path}", soft_wrap=True)


def _print_estimate(job: TrainingJob, corpus: PreparedCorpus, cost: StepCost, *, n_steps: int) -> Estimate:
    estimate = estimate_run(corpus, job.hparams, cost, n_steps=n_steps, limits=job.limits)
    job.progress_console.print(estimate.text)
    return estimate


def _forecast_checks(
    job: TrainingJob,
    plan: StepPlan,
    estimate: Estimate | None,
    recorder: RunRecorder,
    correction: PlanCorrection | None,
) -> Iterator[Subscriber]:
    if estimate is not None:
        check = ForecastCheck(
            estimate.seconds_per_step,
            last_step=plan.last_step,
            limits=job.limits,
            write_note=recorder.on_note,
            correction=correction,
        )
        yield check.on_event


def _load_start(
    job: TrainingJob, trainer: EnhancedTrainer, publisher: EventPublisher, start: StartPoint, *, planned_steps: int
) -> None:
    """Attach the supervisor and load the state to start from into trainer, recorder and supervisor."""
    branches_off = start.is_outside(trainer.state.folder)
    if not branches_off:
        attach_supervisor(job, trainer, publisher, start, planned_steps=planned_steps)
    start.load_training_state(trainer)
    if branches_off:  # its supervisor must know only what this run's own journal says
        attach_supervisor(job, trainer, publisher, start, planned_steps=planned_steps)
    if branches_off or job.options.supervise != "on":
        trainer.control.forget_pending()


def _plan_fields(
    settled: SettledRecipe, corpus: PreparedCorpus, plan: StepPlan, estimate: Estimate | None, *, n_weights: int
) -> dict[str, Any]:
    """Length of the training, and the facts that it and the recipe follow from."""
    job = settled.job
    return {
        "facts": asdict(corpus.facts),
        "plan": None if settled.plan is None else asdict(settled.plan),
        "planned_steps": plan.last_step,
        "course_steps": plan.length,
        "most_steps": job.limits.max_steps,
        "forecast_seconds": None if estimate is None else estimate.seconds,
        "weights": n_weights,
    }


def exclude_quarantined(train: BatchLoader, folder: Path) -> None:
    train.quarantined |= read_quarantine(folder).keys()
    if not train.has_utterances:
        raise UserError(
            f"{folder / QUARANTINE_FILE}: lists all {len(train.examples)} utterances to train on; remove some of them"
        )


def _open_recorder(job: TrainingJob, corpus: PreparedCorpus, *, folder: Path, plan: StepPlan) -> RunRecorder:
    display = ProgressDisplay(
        job.progress_console,
        name=folder.name,
        last_step=plan.last_step,
        plan_steps=plan.length,
        line_seconds=job.settings.progress_every_seconds,
        max_steps=job.limits.max_steps,
        seconds_left=lambda: job.limits.seconds_left,
    )
    try:
        samples = SampleWriter(folder, corpus.frontend.symbols, n_samples=job.hparams.evaluation_samples)
        return RunRecorder(folder, samples, model=job.hparams.model, display=display)
    except OSError as error:
        if _is_disk_full(error):
            raise
        raise UserError(
            f"{folder / 'journal.jsonl'}: cannot be written ({error.strerror}); training needs its journal: "
            "repair it or choose another --run_name"
        ) from error


def _status(stop: str | None, *, is_hopeless: bool) -> str:
    if stop is not None:
        return "interrupted"
    return "stopped" if is_hopeless else "finished"


def _is_disk_full(error: BaseException) -> bool:
    return isinstance(error, DiskFull) or is_disk_full(error)


def write_hparams(folder: Path, hparams: HParams) -> None:
    write_atomically(folder / "hparams.json", (json.dumps(hparams.model_dump(mode="json"), indent=1) + "\n").encode())
