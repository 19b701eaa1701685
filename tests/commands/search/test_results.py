"""Results of a study: the file with the best settings, and the message when there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import optuna
import torch
import yaml
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from commands.options import TrainOptions
from commands.run.corpus import PreparedCorpus
from commands.search.results import BEST_FILE, best_of_earlier_studies, no_candidate_message, write_best
from commands.search.study_context import StudyContext
from hparams import HParams
from recipes import RECIPES
from smart_tuner.search.budget import TrialBudget
from smart_tuner.search.dimensions import Dimension
from smart_tuner.search.trials import MAX_ATTEMPTS
from smart_tuner.settings import Settings
from tests.smart_tuner.search.small_study import BUDGET, make_plan
from training.run_state import RunLimits

TINY = RECIPES["tacotron2"].presets["tiny"]
R = Dimension("n_frames_per_step", "int", 1, 5)
BUDGET_FROM_CHECKPOINT = TrialBudget(steps=60, full_steps=120, evaluations=6, first_pruned=3, from_step=500)


def context_in(folder: Path, hparams: dict[str, Any], budget: TrialBudget = BUDGET) -> StudyContext:
    """Context of a study with preset tiny, with the fields that results use."""
    recipe = HParams(**{**TINY, **hparams})
    folder.mkdir(exist_ok=True)
    return StudyContext(
        options=TrainOptions(preset="tiny"),
        settings=Settings(hparams=hparams),
        plan=make_plan(recipe=recipe, space=(R,), budget=budget),
        corpus=cast(PreparedCorpus, None),
        folder=folder,
        device=torch.device("cpu"),
        limits=RunLimits(),
    )


def trial_with(r: int, state: TrialState = TrialState.COMPLETE, **attributes: Any) -> FrozenTrial:
    value = 0.5 if state is TrialState.COMPLETE else None
    distributions: dict[str, BaseDistribution] = {R.name: IntDistribution(1, 5)}
    return create_trial(
        params={R.name: r}, distributions=distributions, value=value, state=state, user_attrs=attributes
    )


def test_a_setting_found_is_written_even_if_the_preset_has_the_same_value(tmp_path: Path) -> None:
    """Otherwise a different value in the person's settings would take its place."""
    write_best(context_in(tmp_path, {R.name: 2}), trial_with(TINY[R.name]))
    saved = yaml.safe_load((tmp_path / BEST_FILE).read_text())
    assert saved == {"preset": "tiny", "model": "tacotron2", R.name: TINY[R.name]}


def write_study_result(folder: Path, *, from_step: int, r: int, score: float) -> None:
    folder.mkdir(parents=True)
    result = {"corpus": "c0ffee", "model": "tacotron2", "from_step": from_step, "params": {R.name: r}, "score": score}
    (folder / "study.json").write_text(json.dumps(result))


def test_results_from_checkpoints_and_from_fresh_models_are_kept_apart(tmp_path: Path) -> None:
    for i in range(3):
        write_study_result(tmp_path / f"fork-{i}", from_step=5000 + i, r=1 + i, score=0.95)
    write_study_result(tmp_path / "fresh", from_step=0, r=5, score=0.7)
    assert best_of_earlier_studies(context_in(tmp_path / "new", {})) == [{R.name: 5}]
    context = context_in(tmp_path / "fork", {}, BUDGET_FROM_CHECKPOINT)
    assert [params[R.name] for params in best_of_earlier_studies(context)] == [1, 2, 3]


def test_the_message_without_a_candidate_counts_killed_trials_as_failed(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(trial_with(2, TrialState.FAIL, attempt=MAX_ATTEMPTS))
    study.add_trial(trial_with(2, TrialState.FAIL, failed="ValueError: no"))
    study.add_trial(trial_with(3, TrialState.PRUNED))
    message = no_candidate_message(context_in(tmp_path, {}), study)
    assert "none of 3 trials is a candidate: 1 were ended early, 0 are beyond search.limits, 2 failed" in message
    assert "the last failure: ValueError: no" in message
