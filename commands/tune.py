"""--mode tune: a study of many short trainings, and the settings that came out best."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from optuna import Study
from rich.console import Console

from commands.console import open_console
from commands.forwarded_signals import ForwardedSignals
from commands.stop_signals import EXIT_CODES
from commands.trial_record import artifact_folder, show_elsewhere
from commands.tune_plan import Search, plan_search
from commands.tune_results import earlier_bests, finish, run_of, said_of
from commands.tune_workers import Workers
from hparams import UserError
from smart_tuner.search.storage import without_password
from smart_tuner.search.study import open_study
from smart_tuner.search.trials import done, first_number

LOOK_EVERY_SECONDS = 1.0
EXIT_FAILED, EXIT_USER_ERROR = 1, 2


def run(options: argparse.Namespace) -> int:
    require_sensible(options)
    console = open_console(quiet=options.quiet)
    deadline = None if options.max_minutes is None else time.time() + 60 * options.max_minutes
    search = plan_search(options, console, deadline=deadline)
    kept = search.open_storage()
    study = open_study(search.plan, kept, earlier_bests(search))
    announce(search, study, kept.url, console)
    arguments = [
        "none" if deadline is None else str(deadline),
        *options.arguments,
        f"--run_name={search.folder.name}",
        "--resume=auto",
    ]
    with ForwardedSignals() as signals:
        workers = Workers(arguments, search.folder, options.workers, signals)
        attend(search, study, workers, console.print)
        if signals.asked is not None:
            console.print("stopped: what is finished is kept, and the same command goes on")
            return EXIT_CODES[signals.asked]
    if failed := {number: code for number, code in workers.exit_codes.items() if code != 0}:
        number, code = next(iter(failed.items()))
        what = workers.last_words(number)
        if code == EXIT_USER_ERROR:
            raise UserError(what.removeprefix("error: "))
        console.print(f"failed: a worker ended with {code} ({what}); its log lies in {search.folder / 'workers'}; ")
        return EXIT_FAILED
    return finish(search, study, console)


def require_sensible(options: argparse.Namespace) -> None:
    for name, value in (("n_trials", options.n_trials), ("workers", options.workers)):
        if value < 1:
            raise UserError(f"--{name} {value}: expected at least 1")
    if options.max_minutes is not None and not options.max_minutes > 0:
        raise UserError(f"--max_minutes {options.max_minutes:g}: expected more than 0")


def announce(search: Search, study: Study, url: str, console: Console) -> None:
    """What is going to be done, and how to watch it."""
    budget = search.plan.budget
    n_done, n_trials = len(done(study)), search.bench.options.n_trials
    console.print(
        f"study   {search.folder}: {n_done} of {n_trials} trials are done, each of {budget.steps} steps "
        f"(a whole training has {budget.course_steps})"
    )
    console.print(f"space   {', '.join(f'{dimension.name} {dimension}' for dimension in search.plan.space)}")
    console.print(f"watch   optuna-dashboard {without_password(url)} --artifact-dir {artifact_folder(search.folder)}")


def attend(search: Search, study: Study, workers: Workers, say: Callable[[str], None]) -> None:
    """Until all workers are gone: says what comes of the trials, and shows those of this machine."""
    said, shown = {trial.number for trial in done(study)}, set[int]()
    is_working = True
    while is_working:
        time.sleep(LOOK_EVERY_SECONDS)
        trials = done(study)
        is_working = workers.look(len(trials))
        for trial in trials:
            if trial.number not in said:
                said.add(trial.number)
                say(said_of(trial, study))
            if trial.number not in shown:
                shown.add(trial.number)
                show_elsewhere(search.bench, search.bench.folder_of(first_number(trial)), run_of(search, study))
