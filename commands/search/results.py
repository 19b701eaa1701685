"""Results of a study: the best settings as a file, pictures, a report, and lines for the terminal."""

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

from commands.run.job import preset_name
from commands.search.study_context import StudyContext
from files import write_atomically
from hparams import UserError, build_hparams
from monitoring.exporters.mlflow_study import MlflowStudy
from monitoring.report.plots import pixels, save_png
from monitoring.report.study_plots import history_picture, importance_picture
from monitoring.report.study_report import study_sentence, write_study_report
from monitoring.report.study_summary import StudySummary, TrialEnding, TrialSummary
from recipes import RECIPES
from smart_tuner.search.budget import full_recipe
from smart_tuner.search.importance import describe_importances, measure_importances
from smart_tuner.search.study import CREATED
from smart_tuner.search.trials import (
    FAILURE,
    find_best_trial,
    finished_trials,
    first_attempt_number,
    folder_number,
    is_feasible,
)
from smart_tuner.settings import DEFAULT_CONFIG

BEST_FILE, RESULT_FILE = "best_hparams.yaml", "study.json"
MAX_EARLIER_STUDIES = 3


def trial_line(trial: FrozenTrial, study: Study) -> str:
    """Line for the terminal about a finished trial."""
    name = f"trial {first_attempt_number(trial)}"
    if trial.state is TrialState.COMPLETE:
        best_trial = find_best_trial(study)
        note = " the best so far" if best_trial is not None and best_trial.number == trial.number else ""
        note = note if is_feasible(trial) else " beyond a limit, so no candidate"
        return f"{name}: {trial.value:.4f}{note}"
    if trial.state is TrialState.PRUNED:
        score = _last_score(trial)
        return f"{name}: ended early{'' if score is None else f' at {score:.4f}'}"
    return f"{name}: failed ({trial.user_attrs.get(FAILURE, 'its worker was killed each time')})"


def write_results(context: StudyContext, study: Study, console: Console) -> int:
    """Write the best settings, pictures and the report, and print the result; return the exit code."""
    best_trial = find_best_trial(study)
    if best_trial is None:
        raise UserError(no_candidate_message(context, study))
    write_best(context, best_trial)
    result = study_result(context, study, best_trial)
    save_png(pixels(history_picture(result.trials)), context.folder / "history.png")
    if result.importances:
        save_png(pixels(importance_picture(result.importances)), context.folder / "importance.png")
    report = write_study_report(context.folder, result)
    for trial in result.trials:
        if trial.number != result.best.number:
            (trial.folder / "voice.safetensors").unlink(missing_ok=True)
    console.print(study_sentence(result))
    for line in result.conclusions:
        console.print(line)
    console.print(f"report  {report}")
    console.print(f"train   {result.train_command}")
    record_in_mlflow(context, study, best_trial, console)
    return 0


def study_result(context: StudyContext, study: Study, best_trial: FrozenTrial) -> StudySummary:
    plan = context.plan
    trials = sorted((_trial_result(context, trial) for trial in finished_trials(study)), key=lambda trial: trial.number)
    ranking = measure_importances(study, plan.space, plan.budget.first_pruned)
    return StudySummary(
        name=context.folder.name,
        trials=trials,
        best=next(trial for trial in trials if trial.number == first_attempt_number(best_trial)),
        importances=ranking,
        conclusions=describe_importances(ranking, len(trials), len(plan.space)),
        train_command=train_command(context),
    )


def _trial_result(context: StudyContext, trial: FrozenTrial) -> TrialSummary:
    ending: TrialEnding = "failed"
    if trial.state is TrialState.COMPLETE:
        ending = "complete" if is_feasible(trial) else "no candidate"
    elif trial.state is TrialState.PRUNED:
        ending = "ended early"
    start, end = trial.datetime_start, trial.datetime_complete
    seconds = (end - start).total_seconds() if start is not None and end is not None else 0.0
    score = trial.value if trial.value is not None else _last_score(trial)
    folder = context.trial_folder(folder_number(trial))
    return TrialSummary(first_attempt_number(trial), ending, score, trial.params, seconds, folder)


def _last_score(trial: FrozenTrial) -> float | None:
    return None if trial.last_step is None else trial.intermediate_values[trial.last_step]


def train_command(context: StudyContext) -> str:
    """Command line of a full training with the best settings, from the checkpoint that the trials started from."""
    options, start = context.options, context.start_copy
    values = {
        "data": options.data,
        "data_format": None if options.data_format == "auto" else options.data_format,
        "output": None if options.output == Path("logs") else options.output,
        "config": None if options.config == DEFAULT_CONFIG else options.config,
        "warm_start": options.warm_start_path,
        "resume": start,
        "run_name": None if start is None else f"{context.folder.name.removeprefix('tune-')}-tuned",
    }
    words = ["python", "train_enhanced.py", "--mode", "train", "--hparams_file", str(context.folder / BEST_FILE)]
    words += [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]
    return shlex.join(words)


def record_in_mlflow(context: StudyContext, study: Study, best_trial: FrozenTrial, console: Console) -> None:
    """Send the result to MLflow; if it cannot be reached, the next session of the study sends it."""
    settings = context.settings.mlflow
    if not settings.enabled:
        return
    files = [context.folder / name for name in (BEST_FILE, "report.html", "history.png", "importance.png")]
    files = [path for path in files if path.is_file()]
    params = {name: str(value) for name, value in best_trial.params.items()}
    try:
        mlflow_study(context, study).finish(settings, score=best_trial.value or 0.0, params=params, files=files)
    except ConnectionError as error:
        console.print(f"note: the result was not sent to MLflow ({error}); the same command sends it")


def mlflow_study(context: StudyContext, study: Study) -> MlflowStudy:
    return MlflowStudy(context.folder, study.user_attrs[CREATED])


def no_candidate_message(context: StudyContext, study: Study) -> str:
    trials = finished_trials(study)
    if not trials:
        return f"{context.folder}: no trial was completed in this time; the same command continues the study"
    states = [trial.state for trial in trials]
    n_pruned, n_failed = states.count(TrialState.PRUNED), states.count(TrialState.FAIL)
    reason = last_failure(study)
    return (
        f"{context.folder}: none of {len(trials)} trials is a candidate: {n_pruned} were ended early, "
        f"{len(trials) - n_pruned - n_failed} are beyond search.limits, {n_failed} failed"
        f"{f'; the last failure: {reason}' if reason else ''}; run more of them (--n_trials)"
    )


def last_failure(study: Study) -> str | None:
    failures = [trial.user_attrs[FAILURE] for trial in finished_trials(study) if FAILURE in trial.user_attrs]
    return failures[-1] if failures else None


def write_best(context: StudyContext, best_trial: FrozenTrial) -> None:
    """Write the best recipe as --hparams_file reads it (the preset and the differences), and study.json."""
    plan, preset = context.plan, preset_name(context.options)
    recipe = full_recipe(plan.recipe, best_trial.params)
    preset_values = build_hparams(RECIPES[recipe.model].presets[preset]).model_dump(mode="json")
    if context.start_copy is not None:  # its epochs may be over
        recipe = build_hparams(recipe.model_dump(), {"epochs": 2 * recipe.epochs})
    # Values found or set are written also where they equal the preset's: the person's settings may have others.
    always_written = {"model", *best_trial.params, *context.settings.hparams}
    values = {
        name: value
        for name, value in recipe.model_dump(mode="json").items()
        if value != preset_values[name] or name in always_written
    }
    number, n_settings = first_attempt_number(best_trial), len(best_trial.params)
    head = f"# The best of {n_settings} settings searched: trial {number}, {best_trial.value:.4f}.\n"
    content = yaml.safe_dump({"preset": preset, **values}, sort_keys=False, allow_unicode=True)
    write_atomically(context.folder / BEST_FILE, (head + content).encode())
    result = {
        "corpus": plan.corpus,
        "model": plan.recipe.model,
        "from_step": plan.budget.from_step,
        "params": best_trial.params,
        "score": best_trial.value,
        "trial": best_trial.number,
    }
    write_atomically(context.folder / RESULT_FILE, (json.dumps(result, indent=1) + "\n").encode())


def best_of_earlier_studies(context: StudyContext) -> Sequence[Mapping[str, Any]]:
    """Best settings of other studies of the same corpus and model, the best first, as far as this space has them.

    Studies that start from a checkpoint and studies of fresh models are not compared with each other.
    """
    plan, results = context.plan, []
    wanted = (plan.corpus, plan.recipe.model, plan.budget.from_step > 0)
    for path in context.folder.parent.glob(f"*/{RESULT_FILE}"):
        result = _read_result(path)
        if path.parent != context.folder and (result["corpus"], result["model"], result["from_step"] > 0) == wanted:
            results.append((result["score"], path.parent.name, result["params"]))
    space = {dimension.name: dimension for dimension in plan.space}
    candidates: list[dict[str, Any]] = []
    for *_, params in sorted(results, key=lambda result: (-result[0], result[1])):
        known = {name: value for name, value in params.items() if name in space and space[name].contains(value)}
        if (candidate := plan.recipe_values | known) not in candidates:
            candidates.append(candidate)
    return candidates[:MAX_EARLIER_STUDIES]


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return {
            "corpus": result["corpus"],
            "model": result["model"],
            "from_step": int(result["from_step"]),
            "params": dict(result["params"]),
            "score": float(result["score"]),
        }
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}); remove it") from error
