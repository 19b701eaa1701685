"""--mode tune: a study of many short trainings, and the settings that came out best."""

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
from commands.run.run_folder import FolderInUse, locked
from commands.search.plan import Search, keep_start, plan_search
from commands.search.results import earlier_bests, finish, last_failure, run_of, said_of
from commands.search.trial import tidy
from commands.search.trial_artifacts import artifact_folder, show_elsewhere
from commands.search.worker_pool import STORAGE_VARIABLE, Workers
from hparams import UserError
from smart_tuner.search.storage import STORAGE_ERRORS, StudyStorage, explained, session_of, to_watch
from smart_tuner.search.study import open_study
from smart_tuner.search.trials import best, done, first_number, place_of

LOOK_EVERY_SECONDS = 1.0
OUTAGE_SECONDS = 60.0
"""So long the storage may be out of reach."""

Say = Callable[[str], None]


def run(options: TrainOptions) -> int:
    require_sensible(options)
    options = replace(options, storage=options.storage or os.environ.get(STORAGE_VARIABLE))
    with contextlib.nullcontext() if options.storage is None else explained(options.storage):
        return search(options)


def search(options: TrainOptions) -> int:
    console, chatter = open_console(), open_console(quiet=options.quiet)
    deadline = None if options.max_minutes is None else time.time() + 60 * options.max_minutes
    search = plan_search(options, chatter, deadline=deadline)
    with session_of(options.storage):
        return run_study(search, search.open_storage(), deadline, console, chatter)


def run_study(search: Search, kept: StudyStorage, deadline: float | None, console: Console, chatter: Console) -> int:
    options = search.bench.options
    study = open_study(search.plan, kept, earlier_bests(search), is_new=options.resume == "none")
    keep_start(search)
    announce(search, study, kept.url, chatter.print)
    arguments = ["none" if deadline is None else str(deadline), *without_storage(options.arguments)]
    arguments += [f"--run_name={search.folder.name}", "--resume=auto"]
    with SignalForwarder() as signals:
        workers = Workers(arguments, search.folder, options.workers, options.storage, signals)
        attend(search, study, workers, chatter.print)
        if signals.received is not None:
            console.print("stopped: what is finished is kept, and the same command goes on")
            return STOP_SIGNALS[signals.received]
    failed = {number: code for number, code in workers.exit_codes.items() if code != 0}
    for number, code in failed.items():
        console.print(f"a worker ended with {code}: {workers.last_words(number)}")
    if failed and len(done(study)) < options.n_trials:
        if best(study) is None and EXIT_USER_ERROR in failed.values():
            why = last_failure(study) or "its workers could not begin"
            raise UserError(
                f"{search.folder}: no trial came to its end ({why}); logs are in {search.folder / 'workers'}"
            )
        console.print(f"failed: what is finished is kept in {search.folder}, and the same command goes on")
        return EXIT_FAILED
    return finish(search, study, console)


def require_sensible(options: TrainOptions) -> None:
    for name, value in (("n_trials", options.n_trials), ("workers", options.workers)):
        if value < 1:
            raise UserError(f"--{name} {value}: expected at least 1")
    if options.max_minutes is not None and not options.max_minutes > 0:
        raise UserError(f"--max_minutes {options.max_minutes:g}: expected more than 0")
    for name, plain in (("max_steps", None), ("pin", ""), ("supervise", "on")):
        if getattr(options, name) != plain:
            raise UserError(
                f"--{name}: is not for a search, whose trials are all alike; search.trial_steps in --config"
            )


def without_storage(arguments: Sequence[str]) -> list[str]:
    """What everybody on the machine may read."""
    kept = [word for word in arguments if not word.startswith("--storage=")]
    while "--storage" in kept:
        place = kept.index("--storage")
        del kept[place : place + 2]
    return kept


def announce(search: Search, study: Study, url: str, say: Say) -> None:
    """What is going to be done, and how to watch it."""
    budget = search.plan.budget
    n_done, n_trials = len(done(study)), search.bench.options.n_trials
    say(
        f"study   {search.folder}: {n_done} of {n_trials} trials are done, each of {budget.steps} steps "
        f"(a whole training has {budget.course_steps})"
    )
    say(f"space   {', '.join(f'{dimension.name} {dimension}' for dimension in search.plan.space)}")
    watch = ["optuna-dashboard", to_watch(url), "--artifact-dir", str(artifact_folder(search.folder))]
    say(f"watch   {shlex.join(watch)}")


def attend(search: Search, study: Study, workers: Workers, say: Say) -> None:
    """Until all workers are gone: says what comes of the trials, and shows and tidies up those of this machine."""
    said, shown = {trial.number for trial in done(study)}, set[int]()
    is_working, reached, with_mlflow = True, time.monotonic(), True
    while is_working:
        time.sleep(LOOK_EVERY_SECONDS)
        try:
            trials = done(study)
        except STORAGE_ERRORS:
            if time.monotonic() - reached > OUTAGE_SECONDS:
                raise
            continue
        reached = time.monotonic()
        is_working = workers.look(len(trials))
        for trial in trials:
            if trial.number not in said:
                said.add(trial.number)
                say(said_of(trial, study))
            if trial.number not in shown:
                shown.add(trial.number)
                is_told = show_and_tidy(search, study, trial, with_mlflow=with_mlflow)
                with_mlflow = with_mlflow and is_told


def show_and_tidy(search: Search, study: Study, trial: FrozenTrial, *, with_mlflow: bool) -> bool:
    """Whether all could be shown; once a server was out of reach it is told of the others in the next session."""
    folder, leader = search.bench.folder_of(place_of(trial)), best(study)
    tidy(folder, keep_voice=leader is not None and leader.number == trial.number)
    if (left := search.bench.folder_of(first_number(trial))) != folder and left.exists():
        with contextlib.suppress(FolderInUse), locked(left):  # by a worker that was taken for dead
            tidy(left, keep_voice=False)
    return show_elsewhere(search.bench, folder, run_of(search, study), with_mlflow=with_mlflow)
