"""What a study leaves: settings that say all that was found, and words on why there are none."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import yaml
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from commands.options import TrainOptions
from commands.search.plan import Search
from commands.search.results import BEST, earlier_bests, why_none, write_best
from hparams import HParams
from recipes import RECIPES
from smart_tuner.search.budget import Budget
from smart_tuner.search.space import Dimension
from smart_tuner.search.trials import MOST_ATTEMPTS
from tests.smart_tuner.search.some_study import BUDGET, plan

TINY = RECIPES["tacotron2"].presets["tiny"]
R = Dimension("n_frames_per_step", "int", 1, 5)
FROM_A_CHECKPOINT = Budget(steps=60, course_steps=120, evaluations=6, first_pruned=3, from_step=500)


def search_in(folder: Path, hparams: dict[str, Any], budget: Budget = BUDGET) -> Search:
    """As far as results need it; its preset is tiny."""
    recipe = HParams(**{**TINY, **hparams})
    options = TrainOptions(preset="tiny")
    bench = SimpleNamespace(options=options, settings=SimpleNamespace(hparams=hparams), source=None, folder=folder)
    folder.mkdir(exist_ok=True)
    return Search(plan(recipe=recipe, space=(R,), budget=budget), cast(Any, bench), None)


def trial_with(r: int, state: TrialState = TrialState.COMPLETE, **attributes: Any) -> FrozenTrial:
    value = 0.5 if state is TrialState.COMPLETE else None
    distributions: dict[str, BaseDistribution] = {R.name: IntDistribution(1, 5)}
    return create_trial(
        params={R.name: r}, distributions=distributions, value=value, state=state, user_attrs=attributes
    )


def test_a_setting_found_is_said_even_where_it_is_that_of_the_preset(tmp_path: Path) -> None:
    """Else another value that the person's settings have would be trained with."""
    write_best(search_in(tmp_path, {R.name: 2}), trial_with(TINY[R.name]))
    kept = yaml.safe_load((tmp_path / BEST).read_text())
    assert kept == {"preset": "tiny", "model": "tacotron2", R.name: TINY[R.name]}


def left_by_a_study(folder: Path, *, from_step: int, r: int, score: float) -> None:
    folder.mkdir(parents=True)
    told = {"corpus": "c0ffee", "model": "tacotron2", "from_step": from_step, "params": {R.name: r}, "score": score}
    (folder / "study.json").write_text(json.dumps(told))


def test_what_was_good_for_trained_models_is_not_tried_on_fresh_ones(tmp_path: Path) -> None:
    for i in range(3):
        left_by_a_study(tmp_path / f"fork-{i}", from_step=5000 + i, r=1 + i, score=0.95)
    left_by_a_study(tmp_path / "fresh", from_step=0, r=5, score=0.7)
    assert earlier_bests(search_in(tmp_path / "new", {})) == [{R.name: 5}]
    of_a_fork = search_in(tmp_path / "fork", {}, FROM_A_CHECKPOINT)
    assert [tried[R.name] for tried in earlier_bests(of_a_fork)] == [1, 2, 3]


def test_why_there_is_no_best_counts_what_was_killed_as_failed(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(trial_with(2, TrialState.FAIL, attempt=MOST_ATTEMPTS))
    study.add_trial(trial_with(2, TrialState.FAIL, failed="ValueError: no"))
    study.add_trial(trial_with(3, TrialState.PRUNED))
    why = why_none(search_in(tmp_path, {}), study)
    assert "none of 3 trials is a candidate: 1 were ended early, 0 are beyond search.limits, 2 failed" in why
    assert "the last failure: ValueError: no" in why
