"""One trial of a search: a short supervised training in a folder of its own, and what came of it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import torch
from optuna.trial import Trial

from commands.console import open_console
from commands.options import TrainOptions
from commands.process.heartbeat import Heartbeat
from commands.run.corpus import PreparedCorpus
from commands.run.job import TrainingJob
from commands.run.run_folder import FolderInUse, locked
from commands.run.session import train
from hparams import HParams
from monitoring.journal.run_state import JournalState
from monitoring.journal.summary import read_summary
from smart_tuner.search.budget import Budget, trial_recipe
from smart_tuner.search.settings import SearchLimits
from smart_tuner.search.space import Dimension
from smart_tuner.search.trials import CONTINUES, PLACE
from smart_tuner.search.worker import Interrupted
from smart_tuner.settings import Settings
from training.checkpoints.run_files import apply_amendments
from training.knobs import KNOB_NAMES, Knobs
from training.run_state import RunLimits
from training.step.precision import half_precision
from training.trainer import EnhancedTrainer

PRUNED, OUT_OF_TIME = "pruned", "max_minutes"
MACHINE_KNOBS = ("micro_batches", "batches_per_update")
NOT_ITS_BUSINESS = frozenset({"restart", "race"})
"""A trial tells how good its settings are: its supervisor looks after data and machine, and changes none of them."""


@dataclass(frozen=True)
class Bench:
    """What all trials of a study share."""

    options: TrainOptions
    settings: Settings
    recipe: HParams
    space: tuple[Dimension, ...]
    budget: Budget
    corpus: PreparedCorpus
    folder: Path  # of the study
    device: torch.device
    limits: RunLimits
    source: Path | None = None  # the checkpoint that all begin with
    nonfinite_before: float = 0.0  # steps of the run that it is of

    def folder_of(self, number: int) -> Path:
        return self.folder / "trials" / f"trial-{number:05d}"


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: `score` is that of its best evaluation."""

    score: float | None
    reason: str
    is_cut_short: bool  # by the pruner, or by its supervisor as hopeless
    signals: Mapping[str, float | None]
    constraints: Mapping[str, float]


def run_trial(bench: Bench, trial: Trial) -> tuple[Outcome, Path]:
    """Raises Interrupted when time or a signal cut it off; with what it saved it goes on later."""
    params = {dimension.name: dimension.suggest(trial) for dimension in bench.space}
    recipe = trial_recipe(bench.recipe, params, bench.budget)
    last_step = bench.budget.from_step + bench.budget.steps_of(bench.recipe, recipe)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    with _own_folder(bench, trial) as folder:
        reporting = Reporting(bench, trial, last_step)
        job = _job(bench, reporting, apply_amendments(folder, recipe), folder)
        if train(job, bench.corpus, folder=folder, heartbeat=Heartbeat(None)) is None:  # it was over before
            reporting.take_up(folder)
        reason = read_summary(folder)["reason"]
        if bench.limits.stop is not None or reason == OUT_OF_TIME:
            raise Interrupted(reason)
        if read_summary(folder)["status"] == "failed":  # there was no room left
            raise Interrupted(f"{reason}; make room")
    limits, from_step, before = bench.settings.search.limits, bench.budget.from_step, bench.nonfinite_before
    return outcome_of(folder, limits, from_step=from_step, nonfinite_before=before), folder


@contextlib.contextmanager
def _own_folder(bench: Bench, trial: Trial) -> Iterator[Path]:
    """That of the trial it goes on with, unless its worker was taken for dead and still has it: then a new one."""
    place = trial.user_attrs.get(PLACE, trial.user_attrs.get(CONTINUES, trial.number))
    with contextlib.ExitStack() as held:
        folder = bench.folder_of(int(place))
        try:
            held.enter_context(locked(folder))
        except FolderInUse:
            trial.set_user_attr(PLACE, trial.number)
            folder = bench.folder_of(trial.number)
            held.enter_context(locked(folder))
        yield folder


def _job(bench: Bench, reporting: Reporting, recipe: HParams, folder: Path) -> TrainingJob:
    begun = (folder / "checkpoints").is_dir() and any((folder / "checkpoints").iterdir())
    as_training: dict[str, Any] = {
        "resume": "auto" if begun or bench.source is None else str(bench.source),
        "warm_start": bench.options.warm_start,
        "eval_sentences": None,
        "supervise": "on",
        "companion": "off",
        "pin": ",".join(name for name in KNOB_NAMES if name not in MACHINE_KNOBS),
    }
    silent = open_console(quiet=True)
    limits = bench.limits
    limits.max_steps = reporting.last_step
    return TrainingJob(
        replace(bench.options, **as_training),
        bench.settings,
        _of_one_precision(recipe, bench.device),
        bench.device,
        silent,
        silent,
        limits,
        on_trainer_ready=reporting.join,
        disabled_actions=NOT_ITS_BUSINESS,
    )


def _of_one_precision(recipe: HParams, device: torch.device) -> HParams:
    """Measured anew in each trial it would not be the same in all."""
    if recipe.precision != "auto":
        return recipe
    half = half_precision(device) if device.type == "cuda" else None
    return recipe.model_copy(update={"precision": half or "float32"})


class Reporting:
    """Tells the study the score of each evaluation, and ends the trial when that is not worth going on with."""

    def __init__(self, bench: Bench, trial: Trial, last_step: int) -> None:
        self.last_step = last_step
        self._bench, self._trial = bench, trial
        self._reported: set[int] = set()

    def join(self, trainer: EnhancedTrainer) -> None:
        """Its knobs stand where its recipe has them, also where the run that it branches off had turned them."""
        of_machine = {name: getattr(trainer.state.knobs, name) for name in MACHINE_KNOBS}
        trainer.state.turn_knobs(vars(Knobs.from_hparams(trainer.state.hparams)) | of_machine)
        self.take_up(trainer.state.folder)

        def look(score: float | None) -> None:
            if self._bench.limits.interruption is not None:
                return  # it was not due: training is about to end
            self._report(trainer.state.progress.step, score)
            if self._trial.should_prune():
                trainer.control.end = PRUNED

        trainer.after_evaluation = look

    def take_up(self, folder: Path) -> None:
        """What was evaluated before it was cut short."""
        for told in JournalState.load(folder).evaluations:
            self._report(told["step"], told["signals"]["composite_tts_score"])

    def _report(self, step: int, score: float | None) -> None:
        """After a rollback an evaluation comes a second time, and the study goes by the first."""
        evaluation = self._bench.budget.evaluation_at(step, self.last_step)
        if score is not None and evaluation not in self._reported:
            self._reported.add(evaluation)
            self._trial.report(score, evaluation)


def outcome_of(folder: Path, limits: SearchLimits, *, from_step: int = 0, nonfinite_before: float = 0.0) -> Outcome:
    """Since the checkpoint it began with, which had so many steps that were not finite."""
    state, summary = JournalState.load(folder), read_summary(folder)
    best = state.best_evaluation
    series = {name: [value for _, value in state.series[name].points()] for name in state.series}
    nonfinite = series.get("nonfinite_steps", [0.0])
    n_steps = max(1, state.step - from_step)
    constraints = {"nonfinite_share": (nonfinite[-1] - nonfinite_before) / n_steps - limits.nonfinite_share}
    if norms := series.get("gradient_norm"):  # none of a trial without a finite step
        constraints["gradient_norm"] = median(norms) - limits.gradient_norm
    if limits.memory_gb is not None and "memory_bytes" in series:
        constraints["memory_gb"] = max(series["memory_bytes"]) / 1e9 - limits.memory_gb
    score = None if best is None else float(best["signals"]["composite_tts_score"])
    reason, is_cut_short = str(summary["reason"]), summary["reason"] == PRUNED or summary["status"] == "stopped"
    return Outcome(score, reason, is_cut_short, {} if best is None else best["signals"], constraints)


def note_outcome(trial: Trial, outcome: Outcome) -> None:
    """Have the study know what came of it."""
    for name, value in outcome.constraints.items():
        trial.set_constraint(name, value)
    trial.set_user_attr("signals", {name: value for name, value in outcome.signals.items() if value is not None})
    trial.set_user_attr("reason", outcome.reason)


def score_of(outcome: Outcome) -> float:
    if outcome.is_cut_short:
        raise optuna.TrialPruned
    if outcome.score is None:
        raise ValueError("no evaluation of it has a score")
    return outcome.score


def tidy(folder: Path, *, keep_voice: bool) -> None:
    """Weights are only kept of the best."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if not keep_voice:
        (folder / "voice.safetensors").unlink(missing_ok=True)
