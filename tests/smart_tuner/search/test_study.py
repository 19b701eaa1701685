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
    FAILURE,
    FIRST_ATTEMPT,
    FOLDER_NUMBER,
    REPLACES,
    find_best_trial,
    finished_trials,
    first_attempt_number,
    lost_trials,
    requeue,
)
from tests.smart_tuner.search.small_study import BATCH, BUDGET, RATE, SIGMA, make_plan, make_storage, make_study


def test_a_study_starts_with_the_recipe_and_earlier_good_parameters(tmp_path: Path) -> None:
    good = make_plan().recipe_values | {"batch_size": 16}
    study = open_study(make_plan(), make_storage(tmp_path), [make_plan().recipe_values, good])
    for expected in (make_plan().recipe_values, good):
        trial = study.ask()
        assert {dimension.name: dimension.suggest(trial) for dimension in make_plan().space} == expected
    assert not study.get_trials(states=(TrialState.WAITING,))


def test_joining_a_study_queues_nothing(tmp_path: Path) -> None:
    make_study(tmp_path)
    study, _ = make_study(tmp_path)
    assert len(study.trials) == 1


def test_a_study_of_a_version_with_fewer_settings_is_joined(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path)
    stored = dict(study.user_attrs[PLAN])
    stored["recipe"] = {name: value for name, value in stored["recipe"].items() if name != "optimizer"}
    del stored["weights"]
    study.set_user_attr(PLAN, stored)
    joined, _ = make_study(tmp_path, weights="c0ffee")
    assert len(joined.trials) == 1


def test_other_initial_weights_are_refused(tmp_path: Path) -> None:
    make_study(tmp_path, weights="c0ffee")
    with pytest.raises(UserError, match="has another --warm_start or --resume"):
        make_study(tmp_path, weights="bad")


def test_a_study_without_a_plan_is_completed(tmp_path: Path) -> None:
    optuna.create_study(storage=make_storage(tmp_path).backend, study_name=make_plan().name, direction="maximize")
    study, _ = make_study(tmp_path)
    assert len(study.trials) == 1


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
def test_another_plan_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    make_study(tmp_path)
    with pytest.raises(UserError, match=message):
        make_study(tmp_path, **changes)
    make_study(tmp_path)


def test_a_trial_is_requeued_once_and_three_times_at_most(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path)
    trial = study.ask()
    RATE.suggest(trial)
    for _ in range(2):
        requeue(study, study.trials[0])
    assert len(study.trials) == 2
    assert study.trials[1].user_attrs == {FIRST_ATTEMPT: 0, FOLDER_NUMBER: 0, REPLACES: 0, ATTEMPT: 2}
    requeue(study, study.trials[1])
    requeue(study, study.trials[2])
    assert [t.user_attrs.get(FIRST_ATTEMPT) for t in study.trials] == [None, 0, 0]


def test_an_interrupted_trial_is_requeued_any_number_of_times(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path)
    for number in range(6):
        trial = study.ask()
        assert trial.number == number and RATE.suggest(trial) == make_plan().recipe_values["learning_rate"]
        requeue(study, study.trials[number], was_killed=False)
        study.tell(trial, state=TrialState.FAIL)
        assert not finished_trials(study) and not lost_trials(study)
    trial = study.ask()
    study.tell(trial, 0.5)
    assert [t.number for t in finished_trials(study)] == [6] and first_attempt_number(study.trials[6]) == 0


def test_a_requeued_trial_keeps_parameters_it_had_not_used_yet(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path)
    study.ask()  # its worker dies before it uses any parameter
    requeue(study, study.trials[0])
    again = study.ask()
    assert {dimension.name: dimension.suggest(again) for dimension in make_plan().space} == make_plan().recipe_values


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({}, "lost"), ({ATTEMPT: 2}, "lost"), ({ATTEMPT: 3}, "finished"), ({FAILURE: "why"}, "finished")],
)
def test_a_failed_trial_is_finished_or_lost(tmp_path: Path, attributes: dict[str, Any], expected: str) -> None:
    study, _ = make_study(tmp_path)
    study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs=attributes))
    assert (len(finished_trials(study)), len(lost_trials(study))) == ((1, 0) if expected == "finished" else (0, 1))
    for trial in lost_trials(study):
        requeue(study, trial)
    assert not lost_trials(study)


def test_the_best_trial_is_within_the_limits(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path)
    assert find_best_trial(study) is None
    for score, excess in ((0.5, -1.0), (0.9, 2.0), (0.7, 0.0), (0.7, -3.0)):
        trial = study.ask()
        trial.set_constraint("memory_gb", excess)
        study.tell(trial, score)
    pruned = study.ask()
    pruned.report(0.95, 3)
    study.tell(pruned, state=TrialState.PRUNED)
    leader = find_best_trial(study)
    assert leader is not None and leader.number == 2
    assert len(finished_trials(study)) == 5


class TrialRunner:
    """Runs one trial after another with given scores, and returns the evaluation at which each is pruned."""

    def __init__(self, folder: Path) -> None:
        self.study, _ = make_study(folder)

    def pruned_at(self, *scores: float) -> int | None:
        trial = self.study.ask()
        for evaluation, score in enumerate(scores, 1):
            trial.report(score, evaluation)
            if trial.should_prune():
                self.study.tell(trial, state=TrialState.PRUNED)
                return evaluation
        self.study.tell(trial, scores[-1])
        return None


def test_no_trial_is_pruned_before_attention_can_have_formed(tmp_path: Path) -> None:
    trials = TrialRunner(tmp_path)
    for _ in range(3):
        assert trials.pruned_at(0.5, 0.6, 0.7, 0.8, 0.8, 0.9) is None
    assert trials.pruned_at(0.0, 0.0, 0.0) == BUDGET.first_pruned
    assert trials.pruned_at(0.0, 0.0, 0.9, 0.9, 0.9, 0.9) is None


def test_no_trial_is_pruned_at_its_last_evaluation(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path, budget=replace(BUDGET, evaluations=3))
    for score in (0.9, 0.8, 0.7, 0.1):
        trial = study.ask()
        for evaluation in (1, 2, 3):
            trial.report(score, evaluation)
            assert not trial.should_prune()
        study.tell(trial, score)


def test_the_recipes_own_trial_is_never_pruned_but_others_are_compared_with_it(tmp_path: Path) -> None:
    trials = TrialRunner(tmp_path)
    assert trials.pruned_at(0.5, 0.6, 0.7, 0.1, 0.0, 0.1) is None
    assert trials.pruned_at(0.5, 0.6, 0.69) == 3
    study, _ = make_study(tmp_path / "late")
    late = TrialRunner(tmp_path / "late")
    first = late.study.ask()  # the recipe's own, still running
    for _ in range(2):
        late.pruned_at(0.9, 0.9, 0.9, 0.9, 0.9, 0.9)
    for evaluation in (1, 2, 3):
        first.report(0.1, evaluation)
        assert not first.should_prune()
    study.tell(first.number, state=TrialState.FAIL)
    requeue(study, study.trials[first.number])
    again = late.study.ask()
    assert again.user_attrs[FIRST_ATTEMPT] == first.number
    for evaluation in (1, 2, 3):
        again.report(0.1, evaluation)
        assert not again.should_prune()
