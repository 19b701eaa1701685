"""Worker process of a study, started by --mode tune.

python -m commands.search.worker PARENT_PID WORKING_FOLDER DEADLINE CORPUS_FILE ARGUMENT…
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from optuna.trial import Trial

import train_enhanced
from commands.console import open_console
from commands.process.exit_codes import EXIT_FAILED, EXIT_USER_ERROR, exit_code_of
from commands.process.heartbeat import die_with_parent
from commands.process.signals import StopSignals
from commands.search.study_context import StudyContext
from commands.search.study_setup import set_up_study
from commands.search.trial import run_trial, save_outcome, score_of
from commands.search.trial_artifacts import show_in_dashboard
from commands.search.worker_pool import STORAGE_VARIABLE
from hparams import UserError
from smart_tuner.search.storage_urls import storage_errors_as_user_errors
from smart_tuner.search.study import open_study
from smart_tuner.search.worker import StudyWorker, TrialInterrupted


def main(arguments: Sequence[str]) -> int:
    parent, working_folder, deadline_text, corpus_file, *rest = arguments
    die_with_parent(int(parent), signal.SIGTERM)
    os.chdir(working_folder)  # paths on the command line are relative to it
    deadline = None if deadline_text == "none" else float(deadline_text)
    options = replace(train_enhanced.parse_options(rest), storage=os.environ.get(STORAGE_VARIABLE))
    console = open_console(quiet=True)
    try:
        context = set_up_study(options, console, deadline=deadline, corpus_file=Path(corpus_file))
        with contextlib.nullcontext() if options.storage is None else storage_errors_as_user_errors(options.storage):
            return run_trials(context)
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return EXIT_USER_ERROR


def run_trials(context: StudyContext) -> int:
    options, limits = context.options, context.limits
    n_threads = context.plan.recipe.cpu_threads or max(1, (os.cpu_count() or 1) // options.workers)
    torch.set_num_threads(n_threads)
    storage = context.open_storage()
    study = open_study(context.plan, storage)

    def run(trial: Trial) -> float:
        outcome, folder = run_trial(context, trial)
        save_outcome(trial, outcome)
        try:
            show_in_dashboard(context, study, trial, outcome, folder)
        except OSError as error:  # the trial's result matters more than its picture
            sys.stderr.write(f"trial {trial.number} is not shown in the dashboard: {error}\n")
        return score_of(outcome)

    with StopSignals(limits) as signals:
        signals.training_starts()
        worker = StudyWorker(study, context.plan, storage, context.folder, n_trials=options.n_trials)
        try:
            worker.run(run, lambda: limits.interruption is not None)
        except TrialInterrupted as interruption:
            if limits.interruption is None:
                sys.stderr.write(f"error: {interruption}; then run the same command again\n")
                return EXIT_FAILED
    return 0 if limits.stop is None else exit_code_of(limits.stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
