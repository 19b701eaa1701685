"""Trial of a study: a short supervised training in a folder of its own, and its outcome."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import optuna
import torch
from optuna.trial import Trial

from commands.console import open_console
from commands.process.heartbeat import Heartbeat
from commands.run.job import TrainingJob
from commands.run.run_folder import FolderInUse, lock_folder
from commands.run.session import open_session
from commands.search.study_context import StudyContext
from hparams import HParams
from monitoring.journal.journal_state import JournalState
from monitoring.journal.summary import read_summary
from smart_tuner.search.budget import trial_recipe
from smart_tuner.search.settings import SearchLimits
from smart_tuner.search.trials import FIRST_ATTEMPT, FOLDER_NUMBER
from smart_tuner.search.worker import TrialInterrupted
from training.checkpoints.json_files import apply_amendments
from training.knobs import KNOB_NAMES, Knobs
from training.step.precision import half_precision
from training.trainer import EnhancedTrainer

PRUNED, OUT_OF_TIME = "pruned", "max_minutes"
MACHINE_KNOBS = ("micro_batches", "batches_per_update")
DISABLED_ACTIONS = frozenset({"restart", "race", "try_abandoned"})
"""A trial measures its settings: its supervisor protects it from data and machine problems, and changes no setting."""


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """Result of a trial; `score` is the best of its evaluations."""

    score: float | None
    reason: str
    is_cut_short: bool  # by the pruner, or by its supervisor as hopeless
    signals: Mapping[str, float | None]
    constraints: Mapping[str, float]


def run_trial(context: StudyContext, trial: Trial) -> tuple[TrialOutcome, Path]:
    """Train and return the outcome and the run's folder.

    Raises TrialInterrupted when a time limit, a signal or a full disk stopped it; a later trial then resumes it.
    """
    plan = context.plan
    params = {dimension.name: dimension.suggest(trial) for dimension in plan.space}
    recipe = trial_recipe(plan.recipe, params, plan.budget)
    last_step = plan.budget.from_step + plan.budget.steps_of(plan.recipe, recipe)
    if context.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(context.device)
    with _locked_folder(context, trial) as folder:
        reporter = PruningReporter(context, trial, last_step)
        job = _training_job(context, reporter, recipe=apply_amendments(folder, recipe), folder=folder)
        with open_session(job, context.corpus, folder=folder, heartbeat=Heartbeat(None)) as session:
            if session is None:  # the training was finished in an earlier session
                reporter.report_earlier_evaluations(folder)
            else:
                session.fit()
        summary = read_summary(folder)
        if context.limits.stop is not None or summary["reason"] == OUT_OF_TIME:
            raise TrialInterrupted(summary["reason"])
        if summary["status"] == "failed":  # the disk was full
            raise TrialInterrupted(f"{summary['reason']}; free some disk space")
    limits, before = context.settings.search.limits, context.nonfinite_before
    return outcome_of(folder, limits, from_step=plan.budget.from_step, nonfinite_before=before), folder


@contextlib.contextmanager
def _locked_folder(context: StudyContext, trial: Trial) -> Iterator[Path]:
    """Folder of the trial that this one resumes; a new one if that trial's worker, believed dead, still has it."""
    number = trial.user_attrs.get(FOLDER_NUMBER, trial.user_attrs.get(FIRST_ATTEMPT, trial.number))
    with contextlib.ExitStack() as lock:
        folder = context.trial_folder(int(number))
        try:
            lock.enter_context(lock_folder(folder))
        except FolderInUse:
            trial.set_user_attr(FOLDER_NUMBER, trial.number)
            folder = context.trial_folder(trial.number)
            lock.enter_context(lock_folder(folder))
        yield folder


def _training_job(context: StudyContext, reporter: PruningReporter, *, recipe: HParams, folder: Path) -> TrainingJob:
    has_checkpoint = (folder / "checkpoints").is_dir() and any((folder / "checkpoints").iterdir())
    options = replace(
        context.options,
        resume="auto" if has_checkpoint or context.start_copy is None else str(context.start_copy),
        eval_sentences=None,
        supervise="on",
        companion="off",
        pin=",".join(name for name in KNOB_NAMES if name not in MACHINE_KNOBS),
    )
    silent = open_console(quiet=True)
    return TrainingJob(
        options=options,
        settings=context.settings,
        hparams=_with_fixed_precision(recipe, context.device),
        device=context.device,
        console=silent,
        progress_console=silent,
        limits=replace(context.limits, max_steps=reporter.last_step),
        on_trainer_ready=reporter.attach,
        disabled_actions=DISABLED_ACTIONS,
        is_estimated=False,
    )


def _with_fixed_precision(recipe: HParams, device: torch.device) -> HParams:
    """Choose without measuring: a choice measured in each trial could differ between trials."""
    if recipe.precision != "auto":
        return recipe
    half = half_precision(device) if device.type == "cuda" else None
    return recipe.model_copy(update={"precision": half or "float32"})


class PruningReporter:
    """Reports the score of each evaluation to the study, and ends the trial when the study prunes it."""

    def __init__(self, context: StudyContext, trial: Trial, last_step: int) -> None:
        self.last_step = last_step
        self._context, self._trial = context, trial
        self._reported: set[int] = set()

    def attach(self, trainer: EnhancedTrainer) -> None:
        """Set the knobs to the trial's recipe, also where the run that it starts from had turned them."""
        machine_knobs = {name: getattr(trainer.state.knobs, name) for name in MACHINE_KNOBS}
        trainer.state.turn_knobs(vars(Knobs.from_hparams(trainer.state.hparams)) | machine_knobs)
        self.report_earlier_evaluations(trainer.state.folder)

        def report(score: float | None) -> None:
            if self._context.limits.interruption is not None:
                return  # an evaluation ahead of time: the training is about to end
            self._report(trainer.state.progress.step, score)
            if self._trial.should_prune():
                trainer.control.end = PRUNED

        trainer.after_evaluation = report

    def report_earlier_evaluations(self, folder: Path) -> None:
        """Report the evaluations before an interruption, from the journal."""
        for evaluation in JournalState.load(folder).evaluations:
            self._report(evaluation["step"], evaluation["signals"]["composite_tts_score"])

    def _report(self, step: int, score: float | None) -> None:
        """Report once for each evaluation: after a rollback it is repeated, and the first score counts."""
        evaluation = self._context.plan.budget.evaluation_at(step, self.last_step)
        if score is not None and evaluation not in self._reported:
            self._reported.add(evaluation)
            self._trial.report(score, evaluation)


def outcome_of(
    folder: Path, limits: SearchLimits, *, from_step: int = 0, nonfinite_before: float = 0.0
) -> TrialOutcome:
    """Outcome by the run's journal; steps and non-finite steps before the start checkpoint do not count."""
    state, summary = JournalState.load(folder), read_summary(folder)
    best = state.best_evaluation
    series = {name: [value for _, value in state.series[name].points()] for name in state.series}
    nonfinite = series.get("nonfinite_steps", [0.0])
    n_steps = max(1, state.step - from_step)
    constraints = {"nonfinite_share": (nonfinite[-1] - nonfinite_before) / n_steps - limits.nonfinite_share}
    if norms := series.get("gradient_norm"):  # a trial without a finite step has none
        constraints["gradient_norm"] = median(norms) - limits.gradient_norm
    if limits.memory_gb is not None and "memory_bytes" in series:
        constraints["memory_gb"] = max(series["memory_bytes"]) / 1e9 - limits.memory_gb
    return TrialOutcome(
        score=None if best is None else float(best["signals"]["composite_tts_score"]),
        reason=str(summary["reason"]),
        is_cut_short=summary["reason"] == PRUNED or summary["status"] == "stopped",
        signals={} if best is None else best["signals"],
        constraints=constraints,
    )


def save_outcome(trial: Trial, outcome: TrialOutcome) -> None:
    """Write constraints, signals and reason into the study."""
    for name, value in outcome.constraints.items():
        trial.set_constraint(name, value)
    trial.set_user_attr("signals", {name: value for name, value in outcome.signals.items() if value is not None})
    trial.set_user_attr("reason", outcome.reason)


def score_of(outcome: TrialOutcome) -> float:
    if outcome.is_cut_short:
        raise optuna.TrialPruned
    if outcome.score is None:
        raise ValueError("none of its evaluations has a score")
    return outcome.score


def delete_weights(folder: Path, *, keep_voice: bool) -> None:
    """Delete a finished trial's checkpoints, and its voice unless it is the best."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if not keep_voice:
        (folder / "voice.safetensors").unlink(missing_ok=True)
