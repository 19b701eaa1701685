"""Worker of a study: `python -m commands.search.worker PARENT FOLDER DEADLINE ARGUMENT…`; --mode tune starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from optuna.trial import Trial

import train_enhanced
from commands.console import open_console
from commands.options import TrainOptions
from commands.process.exit_codes import EXIT_FAILED, EXIT_USER_ERROR, exit_code_of
from commands.process.heartbeat import die_with_parent
from commands.process.signals import StopSignals
from commands.search.plan import Search, plan_search
from commands.search.trial import note_outcome, run_trial, score_of
from commands.search.trial_artifacts import show_in_dashboard
from commands.search.worker_pool import STORAGE_VARIABLE
from hparams import UserError
from smart_tuner.search.storage import explained
from smart_tuner.search.study import open_study
from smart_tuner.search.worker import Interrupted, Worker


def main(arguments: Sequence[str]) -> int:
    parent, where, deadline, *rest = arguments
    die_with_parent(int(parent), signal.SIGTERM)
    os.chdir(where)  # what paths on the command line begin at
    until = None if deadline == "none" else float(deadline)
    options = replace(train_enhanced.parse_options(rest), storage=os.environ.get(STORAGE_VARIABLE))
    try:
        search = plan_search(options, open_console(quiet=True), deadline=until)
        with contextlib.nullcontext() if options.storage is None else explained(options.storage):
            return work(search, options)
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return EXIT_USER_ERROR


def work(search: Search, options: TrainOptions) -> int:
    bench = search.bench
    torch.set_num_threads(bench.recipe.cpu_threads or max(1, (os.cpu_count() or 1) // options.workers))
    kept = search.open_storage()
    study = open_study(search.plan, kept)

    def run(trial: Trial) -> float:
        outcome, folder = run_trial(bench, trial)
        note_outcome(trial, outcome)
        try:
            show_in_dashboard(bench, study, trial, outcome, folder)
        except OSError as error:  # its result matters more than its picture
            sys.stderr.write(f"trial {trial.number} is not shown: {error}\n")
        return score_of(outcome)

    with StopSignals(bench.limits) as signals:
        signals.training_starts()
        worker = Worker(study, search.plan, kept, search.folder, n_trials=options.n_trials)
        try:
            worker.work(run, lambda: bench.limits.interruption is not None)
        except Interrupted as cut_short:
            if bench.limits.interruption is None:
                sys.stderr.write(f"error: {cut_short}; then run the same command again\n")
                return EXIT_FAILED
    return 0 if bench.limits.stop is None else exit_code_of(bench.limits.stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
