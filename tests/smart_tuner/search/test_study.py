from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hparams import HParams, UserError
from smart_tuner.search.study import PLAN, open_study
from smart_tuner.search.trials import (
    ATTEMPT,
    CONTINUES,
    FAILED,
    FOLLOWS,
    PLACE,
    best,
    done,
    first_number,
    lost,
    put_back,
)
from tests.smart_tuner.search.some_study import BATCH, BUDGET, RATE, SIGMA, plan, storage, study


def test_it_begins_with_the_recipe_and_what_was_good_before(tmp_path: Path) -> None:
    good = plan().own_values | {"batch_size": 16}
    opened = open_study(plan(), storage(tmp_path), [plan().own_values, good])
    for expected in (plan().own_values, good):
        trial = opened.ask()
        assert {dimension.name: dimension.suggest(trial) for dimension in plan().space} == expected
    assert not opened.get_trials(states=(TrialState.WAITING,))


def test_who_joins_enqueues_nothing(tmp_path: Path) -> None:
    study(tmp_path)
    opened, _ = study(tmp_path)
    assert len(opened.trials) == 1


def test_a_study_of_a_version_with_fewer_settings_is_joined(tmp_path: Path) -> None:
    opened, _ = study(tmp_path)
    kept = dict(opened.user_attrs[PLAN])
    kept["recipe"] = {name: value for name, value in kept["recipe"].items() if name != "optimizer"}
    del kept["weights"]
    opened.set_user_attr(PLAN, kept)
    joined, _ = study(tmp_path, weights="c0ffee")
    assert len(joined.trials) == 1


def test_other_weights_to_begin_with_make_another_study(tmp_path: Path) -> None:
    study(tmp_path, weights="c0ffee")
    with pytest.raises(UserError, match="has another --warm_start or --resume"):
        study(tmp_path, weights="bad")


def test_one_who_died_while_it_began_the_study_is_succeeded(tmp_path: Path) -> None:
    optuna.create_study(storage=storage(tmp_path).storage, study_name=plan().name, direction="maximize")
    opened, _ = study(tmp_path)
    assert len(opened.trials) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": (RATE, SIGMA)}, r"another search space \(batch_size\)"),
        ({"space": (replace(RATE, low=1e-6), BATCH, SIGMA)}, r"another search space \(learning_rate\)"),
        ({"recipe": HParams(epochs=3)}, r"another recipe \(epochs\)"),
        ({"budget": replace(BUDGET, steps=90)}, r"another length of trials \(steps\)"),
        ({"corpus": "another"}, "another corpus; give the same again, or begin a new one with --run_name"),
    ],
)
def test_another_plan_is_another_study(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    study(tmp_path)
    with pytest.raises(UserError, match=message):
        study(tmp_path, **changes)
    study(tmp_path)


def test_a_trial_is_put_back_once_and_not_for_ever(tmp_path: Path) -> None:
    opened, _ = study(tmp_path)
    trial = opened.ask()
    RATE.suggest(trial)
    for _ in range(2):
        put_back(opened, opened.trials[0])
    assert len(opened.trials) == 2
    assert opened.trials[1].user_attrs == {CONTINUES: 0, PLACE: 0, FOLLOWS: 0, ATTEMPT: 2}
    put_back(opened, opened.trials[1])
    put_back(opened, opened.trials[2])
    assert [t.user_attrs.get(CONTINUES) for t in opened.trials] == [None, 0, 0]


def test_who_was_only_interrupted_may_go_on_as_often_as_needed(tmp_path: Path) -> None:
    opened, _ = study(tmp_path)
    for number in range(6):
        trial = opened.ask()
        assert trial.number == number and RATE.suggest(trial) == plan().own_values["learning_rate"]
        put_back(opened, opened.trials[number], was_killed=False)
        opened.tell(trial, state=TrialState.FAIL)
        assert not done(opened) and not lost(opened)
    trial = opened.ask()
    opened.tell(trial, 0.5)
    assert [t.number for t in done(opened)] == [6] and first_number(opened.trials[6]) == 0


def test_what_was_to_be_tried_is_known_before_it_is_begun(tmp_path: Path) -> None:
    opened, _ = study(tmp_path)
    opened.ask()  # and its worker dies before it has chosen anything
    put_back(opened, opened.trials[0])
    again = opened.ask()
    assert {dimension.name: dimension.suggest(again) for dimension in plan().space} == plan().own_values


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({}, "lost"), ({ATTEMPT: 2}, "lost"), ({ATTEMPT: 3}, "done"), ({FAILED: "why"}, "done")],
)
def test_a_failed_trial_is_done_when_nobody_tries_it_again(
    tmp_path: Path, attributes: dict[str, Any], expected: str
) -> None:
    opened, _ = study(tmp_path)
    opened.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs=attributes))
    assert (len(done(opened)), len(lost(opened))) == ((1, 0) if expected == "done" else (0, 1))
    for trial in lost(opened):
        put_back(opened, trial)
    assert not lost(opened)


def test_the_best_is_the_best_within_the_limits(tmp_path: Path) -> None:
    opened, _ = study(tmp_path)
    assert best(opened) is None
    for score, beyond in ((0.5, -1.0), (0.9, 2.0), (0.7, 0.0), (0.7, -3.0)):
        trial = opened.ask()
        trial.set_constraint("memory_gb", beyond)
        opened.tell(trial, score)
    pruned = opened.ask()
    pruned.report(0.95, 3)
    opened.tell(pruned, state=TrialState.PRUNED)
    leader = best(opened)
    assert leader is not None and leader.number == 2
    assert len(done(opened)) == 5


class Trials:
    """Reports scores of one trial after the other and says at which evaluation the pruner ends it."""

    def __init__(self, folder: Path) -> None:
        self.study, _ = study(folder)

    def ended_at(self, *scores: float) -> int | None:
        trial = self.study.ask()
        for evaluation, score in enumerate(scores, 1):
            trial.report(score, evaluation)
            if trial.should_prune():
                self.study.tell(trial, state=TrialState.PRUNED)
                return evaluation
        self.study.tell(trial, scores[-1])
        return None


def test_nothing_is_ended_before_attention_could_have_formed(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    for _ in range(3):
        assert trials.ended_at(0.5, 0.6, 0.7, 0.8, 0.8, 0.9) is None
    assert trials.ended_at(0.0, 0.0, 0.0) == BUDGET.first_pruned
    assert trials.ended_at(0.0, 0.0, 0.9, 0.9, 0.9, 0.9) is None


def test_who_has_come_to_the_last_evaluation_is_not_ended_early_any_more(tmp_path: Path) -> None:
    opened, _ = study(tmp_path, budget=replace(BUDGET, evaluations=3))
    for score in (0.9, 0.8, 0.7, 0.1):
        trial = opened.ask()
        for evaluation in (1, 2, 3):
            trial.report(score, evaluation)
            assert not trial.should_prune()
        opened.tell(trial, score)


def test_the_recipe_as_it_is_runs_to_its_end_and_the_others_have_to_beat_it(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    assert trials.ended_at(0.5, 0.6, 0.7, 0.1, 0.0, 0.1) is None
    assert trials.ended_at(0.5, 0.6, 0.69) == 3
    opened, _ = study(tmp_path / "late")
    late = Trials(tmp_path / "late")
    first = late.study.ask()  # the recipe, still under way
    for _ in range(2):
        late.ended_at(0.9, 0.9, 0.9, 0.9, 0.9, 0.9)
    for evaluation in (1, 2, 3):
        first.report(0.1, evaluation)
        assert not first.should_prune()
    opened.tell(first.number, state=TrialState.FAIL)
    put_back(opened, opened.trials[first.number])
    again = late.study.ask()
    assert again.user_attrs[CONTINUES] == first.number
    for evaluation in (1, 2, 3):
        again.report(0.1, evaluation)
        assert not again.should_prune()
