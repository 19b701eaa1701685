"""--mode tune: search for better settings in a study of many short trainings."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from optuna import Study
from optuna.trial import FrozenTrial
from rich.console import Console

from commands.console import open_console
from commands.options import TrainOptions
from commands.process.exit_codes import EXIT_FAILED, EXIT_USER_ERROR, STOP_SIGNALS
from commands.process.signals import SignalForwarder
from commands.run.run_folder import FolderInUse, lock_folder
from commands.search.corpus_file import CORPUS_FILE, write_corpus_file
from commands.search.results import best_of_earlier_studies, last_failure, mlflow_study, trial_line, write_results
from commands.search.start import copy_start
from commands.search.study_context import StudyContext
from commands.search.study_setup import set_up_study
from commands.search.trial import delete_weights
from commands.search.trial_artifacts import artifact_folder, show_elsewhere
from commands.search.worker_pool import STORAGE_VARIABLE, WorkerPool
from hparams import UserError
from smart_tuner.search.storage import StudyStorage
from smart_tuner.search.storage_urls import STORAGE_ERRORS, dashboard_url, sqlite_lock, storage_errors_as_user_errors
from smart_tuner.search.study import open_study
from smart_tuner.search.trials import find_best_trial, finished_trials, first_attempt_number, folder_number

POLL_SECONDS = 1.0
OUTAGE_SECONDS = 60.0
"""Time that the storage may be out of reach before the study ends."""

Print = Callable[[str], None]


def run(options: TrainOptions) -> int:
    require_valid(options)
    options = replace(options, storage=options.storage or os.environ.get(STORAGE_VARIABLE))
    console, progress_console = open_console(), open_console(quiet=options.quiet)
    deadline = None if options.max_minutes is None else time.time() + 60 * options.max_minutes
    with contextlib.nullcontext() if options.storage is None else storage_errors_as_user_errors(options.storage):
        context = set_up_study(options, progress_console, deadline=deadline)
        with sqlite_lock(options.storage):
            storage = context.open_storage()
            return run_study(context, storage, deadline=deadline, console=console, progress_console=progress_console)


def run_study(
    context: StudyContext, storage: StudyStorage, *, deadline: float | None, console: Console, progress_console: Console
) -> int:
    """Run the workers until the study has enough trials, and write the results; return the exit code."""
    options, folder = context.options, context.folder
    study = open_study(context.plan, storage, best_of_earlier_studies(context), must_be_new=options.resume == "none")
    copy_start(context)
    write_corpus_file(folder / CORPUS_FILE, context.corpus)
    announce(context, study, storage.url, progress_console.print)
    arguments = ["none" if deadline is None else str(deadline), str(folder / CORPUS_FILE)]
    arguments += [*without_storage(options.arguments), f"--run_name={folder.name}", "--resume=auto"]
    with SignalForwarder() as signals:
        pool = WorkerPool(arguments, folder, n_workers=options.workers, storage=options.storage, signals=signals)
        follow_trials(context, study, pool, progress_console.print)
        if signals.received is not None:
            console.print("stopped: finished trials are kept, and the same command continues the study")
            return STOP_SIGNALS[signals.received]
    failed = {number: code for number, code in pool.exit_codes.items() if code != 0}
    for number, code in failed.items():
        console.print(f"a worker ended with {code}: {pool.last_log_line(number)}")
    if not failed or len(finished_trials(study)) >= options.n_trials:
        return write_results(context, study, console)
    if find_best_trial(study) is None and EXIT_USER_ERROR in failed.values():
        reason = last_failure(study) or "its workers could not begin"
        raise UserError(f"{folder}: no trial came to its end ({reason}); logs are in {folder / 'workers'}")
    console.print(f"failed: finished trials are kept in {folder}, and the same command continues the study")
    return EXIT_FAILED


def require_valid(options: TrainOptions) -> None:
    for name, value in (("n_trials", options.n_trials), ("workers", options.workers)):
        if value < 1:
            raise UserError(f"--{name} {value}: expected at least 1")
    defaults = TrainOptions()
    for name in ("max_steps", "pin", "supervise"):
        if getattr(options, name) != getattr(defaults, name):
            raise UserError(
                f"--{name}: cannot be set for a study, whose trials are all alike; set search.trial_steps in --config"
            )


def without_storage(arguments: Sequence[str]) -> list[str]:
    """Arguments without --storage, whose password everybody on the machine could read."""
    others = [word for word in arguments if not word.startswith("--storage=")]
    while "--storage" in others:
        position = others.index("--storage")
        del others[position : position + 2]
    return others


def announce(context: StudyContext, study: Study, url: str, print_line: Print) -> None:
    """Print the extent of the study and how to watch it."""
    budget = context.plan.budget
    n_done, n_trials = len(finished_trials(study)), context.options.n_trials
    print_line(
        f"study   {context.folder}: {n_done} of {n_trials} trials are done, each of {budget.steps} steps "
        f"(a whole training has {budget.full_steps})"
    )
    print_line(f"space   {', '.join(f'{dimension.name} {dimension}' for dimension in context.plan.space)}")
    watch = ["optuna-dashboard", dashboard_url(url), "--artifact-dir", str(artifact_folder(context.folder))]
    print_line(f"watch   {shlex.join(watch)}")


def follow_trials(context: StudyContext, study: Study, pool: WorkerPool, print_line: Print) -> None:
    """Print each finished trial, show it and delete its weights, until all workers have ended."""
    printed, shown = {trial.number for trial in finished_trials(study)}, set[int]()
    is_running, last_contact, with_mlflow = True, time.monotonic(), True
    while is_running:
        time.sleep(POLL_SECONDS)
        try:
            trials = finished_trials(study)
        except STORAGE_ERRORS:
            if time.monotonic() - last_contact > OUTAGE_SECONDS:
                raise
            continue
        last_contact = time.monotonic()
        is_running = pool.restart_killed(len(trials))
        for trial in trials:
            if trial.number not in printed:
                printed.add(trial.number)
                print_line(trial_line(trial, study))
            if trial.number not in shown:
                shown.add(trial.number)
                is_shown = show_and_clean_up(context, study, trial, with_mlflow=with_mlflow)
                with_mlflow = with_mlflow and is_shown  # a server out of reach gets the others in the next session


def show_and_clean_up(context: StudyContext, study: Study, trial: FrozenTrial, *, with_mlflow: bool) -> bool:
    """Delete the trial's weights unless it is the best, and show it; return whether everything could be shown."""
    folder, best_trial = context.trial_folder(folder_number(trial)), find_best_trial(study)
    delete_weights(folder, keep_voice=best_trial is not None and best_trial.number == trial.number)
    if (abandoned := context.trial_folder(first_attempt_number(trial))) != folder and abandoned.exists():
        with contextlib.suppress(FolderInUse), lock_folder(abandoned):  # of a worker that was believed dead
            delete_weights(abandoned, keep_voice=False)
    return show_elsewhere(context, folder, mlflow_study(context, study), with_mlflow=with_mlflow)
