"""What a study came to: the best settings as a file, pictures, and words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from commands.run.recipe import preset_name
from commands.search.plan import Search
from files import atomic_replacement
from hparams import UserError, build_hparams
from monitoring.exporters.mlflow_study import MlflowStudy
from monitoring.report.plots import pixels, save_png
from monitoring.report.study_plots import history_picture, importance_picture
from monitoring.report.study_report import verdict, write_study_report
from monitoring.report.study_state import Ending, ImportanceStory, StudyStory, TrialStory
from recipes import RECIPES
from smart_tuner.search.budget import whole_recipe
from smart_tuner.search.importance import importances, in_words
from smart_tuner.search.study import BORN
from smart_tuner.search.trials import FAILED, best, done, first_number, is_feasible, place_of
from smart_tuner.settings import DEFAULT_CONFIG

BEST, RESULT = "best_hparams.yaml", "study.json"
MOST_EARLIER = 3
IDENTITY = ("corpus", "model", "from_step")  # of what was searched


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        own = {"params": dict(told["params"]), "score": float(told["score"])}
        return {name: told[name] for name in IDENTITY} | own | {"from_step": int(told["from_step"])}
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); remove it") from error


def said_of(trial: FrozenTrial, study: Study) -> str:
    """A line on a trial that is over."""
    what = f"trial {first_number(trial)}"
    if trial.state is TrialState.COMPLETE:
        leader = best(study)
        note = " the best so far" if leader is not None and leader.number == trial.number else ""
        note = note if is_feasible(trial) else " beyond a limit, so no candidate"
        return f"{what}: {trial.value:.4f}{note}"
    if trial.state is TrialState.PRUNED:
        last = _last_reported(trial)
        return f"{what}: ended early{'' if last is None else f' at {last:.4f}'}"
    return f"{what}: failed ({trial.user_attrs.get(FAILED, 'its worker was killed each time')})"


def finish(search: Search, study: Study, console: Console) -> int:
    """Leave the best settings, pictures and the report, and say what came of it."""
    leader = best(study)
    if leader is None:
        raise UserError(why_none(search, study))
    write_best(search, leader)
    told = story_of(search, study, leader)
    save_png(pixels(history_picture(told.trials)), search.folder / "history.png")
    if told.importances:
        save_png(pixels(importance_picture(told.importances)), search.folder / "importance.png")
    report = write_study_report(search.folder, told)
    tidy_voices(told)
    console.print(verdict(told))
    for line in told.conclusions:
        console.print(line)
    console.print(f"report  {report}")
    console.print(f"train   {told.train_command}")
    record_in_mlflow(search, study, leader, console)
    return 0


def story_of(search: Search, study: Study, leader: FrozenTrial) -> StudyStory:
    trials = sorted((_told(search, trial) for trial in done(study)), key=lambda told: told.number)
    found = importances(study, search.plan.space, search.plan.budget.first_pruned)
    return StudyStory(
        name=search.folder.name,
        trials=trials,
        best=next(trial for trial in trials if trial.number == first_number(leader)),
        importances=[ImportanceStory(i.name, i.share, i.is_sure) for i in found],
        conclusions=in_words(found, len(trials), len(search.plan.space)),
        train_command=train_command(search),
    )


def train_command(search: Search) -> str:
    """A whole training with the settings found, and from where the trials began."""
    options, source = search.bench.options, search.bench.source
    given = {
        "data": options.data,
        "data_format": None if options.data_format == "auto" else options.data_format,
        "output": None if options.output == Path("logs") else options.output,
        "config": None if options.config == DEFAULT_CONFIG else options.config,
        "warm_start": options.warm_start,
        "resume": source,
        "run_name": None if source is None else f"{search.folder.name.removeprefix('tune-')}-tuned",
    }
    words = ["python", "train_enhanced.py", "--mode", "train", "--hparams_file", str(search.folder / BEST)]
    words += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    return shlex.join(words)


def _told(search: Search, trial: FrozenTrial) -> TrialStory:
    ending: Ending = "failed"
    if trial.state is TrialState.COMPLETE:
        ending = "complete" if is_feasible(trial) else "no candidate"
    elif trial.state is TrialState.PRUNED:
        ending = "ended early"
    began, ended = trial.datetime_start, trial.datetime_complete
    seconds = (ended - began).total_seconds() if began is not None and ended is not None else 0.0
    score = trial.value if trial.value is not None else _last_reported(trial)
    return TrialStory(
        first_number(trial), ending, score, trial.params, seconds, search.bench.folder_of(place_of(trial))
    )


def _last_reported(trial: FrozenTrial) -> float | None:
    return None if trial.last_step is None else trial.intermediate_values[trial.last_step]


def tidy_voices(told: StudyStory) -> None:
    """Only the best keeps its own."""
    for trial in told.trials:
        if trial.number != told.best.number:
            (trial.folder / "voice.safetensors").unlink(missing_ok=True)


def record_in_mlflow(search: Search, study: Study, leader: FrozenTrial, console: Console) -> None:
    """What is out of reach now is told when the study goes on."""
    settings = search.bench.settings.mlflow
    if not settings.enabled:
        return
    files = [search.folder / name for name in (BEST, "report.html", "history.png", "importance.png")]
    params = {name: str(value) for name, value in leader.params.items()}
    try:
        run_of(search, study).finish(
            settings, score=leader.value or 0.0, params=params, files=[path for path in files if path.is_file()]
        )
    except ConnectionError as error:
        console.print(f"note: MLflow was not told ({error}); the same command tells it")


def run_of(search: Search, study: Study) -> MlflowStudy:
    return MlflowStudy(search.folder, study.user_attrs[BORN])


def why_none(search: Search, study: Study) -> str:
    """No trial came to an end that counts."""
    finished = done(study)
    if not finished:
        return f"{search.folder}: no trial was completed in this time; the same command goes on"
    states = [trial.state for trial in finished]
    n_ended, n_failed = states.count(TrialState.PRUNED), states.count(TrialState.FAIL)
    reason = last_failure(study)
    why = f"; the last failure: {reason}" if reason else ""
    return (
        f"{search.folder}: none of {len(finished)} trials is a candidate: {n_ended} were ended early, "
        f"{len(finished) - n_ended - n_failed} are beyond search.limits, {n_failed} failed{why}; "
        "try more of them (--n_trials)"
    )


def last_failure(study: Study) -> str | None:
    failures = [trial.user_attrs[FAILED] for trial in done(study) if FAILED in trial.user_attrs]
    return failures[-1] if failures else None


def write_best(search: Search, leader: FrozenTrial) -> None:
    """As --hparams_file takes it: the preset and what differs from it."""
    options, recipe = search.bench.options, whole_recipe(search.plan.recipe, leader.params)
    preset = preset_name(options)
    plain = build_hparams(RECIPES[recipe.model].presets[preset]).model_dump(mode="json")
    if search.bench.source is not None:  # whose epochs may be over
        recipe = build_hparams(recipe.model_dump(), {"epochs": 2 * recipe.epochs})
    said = {"model", *leader.params, *search.bench.settings.hparams}  # also where that is what the preset has
    values = recipe.model_dump(mode="json").items()
    differing = {name: value for name, value in values if value != plain[name] or name in said}
    head = f"# The best of {len(leader.params)} settings searched: trial {first_number(leader)}, {leader.value:.4f}.\n"
    with atomic_replacement(search.folder / BEST) as temporary:
        content = yaml.safe_dump({"preset": preset, **differing}, sort_keys=False, allow_unicode=True)
        temporary.write_text(head + content, encoding="utf-8")
    result = {
        "corpus": search.plan.corpus,
        "model": search.plan.recipe.model,
        "from_step": search.plan.budget.from_step,
        "params": leader.params,
        "score": leader.value,
        "trial": leader.number,
    }
    with atomic_replacement(search.folder / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def earlier_bests(search: Search) -> Sequence[Mapping[str, Any]]:
    """What was best in other studies of the same corpus and model, the best first, as far as this space goes.

    Scores of trained models say nothing of what is good for a fresh one, nor the other way round.
    """
    plan, found = search.plan, []
    wanted = (plan.corpus, plan.recipe.model, plan.budget.from_step > 0)
    for path in search.folder.parent.glob(f"*/{RESULT}"):
        told = _read(path)
        if path.parent != search.folder and (told["corpus"], told["model"], told["from_step"] > 0) == wanted:
            found.append((told["score"], path.parent.name, told["params"]))
    space = {dimension.name: dimension for dimension in search.plan.space}
    bests: list[dict[str, Any]] = []
    for *_, params in sorted(found, key=lambda told: (-told[0], told[1])):
        known = {name: value for name, value in params.items() if name in space and space[name].holds(value)}
        if (tried := search.plan.own_values | known) not in bests:
            bests.append(tried)
    return bests[:MOST_EARLIER]
