"""The benchmark `rescue`: its jobs, the runs that count as rescued, and the scorecard."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from benchmarks.reporting import wilson_interval
from benchmarks.robustness.faults.lists import FAULT_GROUPS, MAIN_FAULTS, faults_of, few_utterances, wrong_transcripts
from benchmarks.robustness.faulty_run import obvious_remedies, random_remedies
from benchmarks.robustness.rescue import digest_of, plan_jobs, settings_of
from benchmarks.robustness.scorecard import (
    POLICIES,
    clean_run,
    difference_interval,
    is_rescued,
    print_scorecard,
)
from hparams import ModelName, build_hparams
from recipes import RECIPES
from smart_tuner.treatment import selection
from smart_tuner.treatment.remedy_order import REMEDIES_BY_AILMENT
from tests.smart_tuner.simulated_runs import simulate


def result(fault: str = "weights_perturbed", policy: str = "supervised", **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"model": "tacotron2", "fault": fault, "policy": policy, "seed": 1, "exit": 0}
    record |= {"score": 0.8, "scores": [0.1, 0.8], "work": 220, "aligned_step": 60}
    record |= {"diagnosis": None, "steps_to_diagnosis": None, "interventions": [], "verdicts": []}
    return record | changes


CLEAN = {"score": 0.8, "work": 220}


@pytest.mark.parametrize(
    ("changes", "rescued"),
    [
        ({}, True),
        ({"score": 0.721}, True),
        ({"score": 0.71}, False),
        ({"score": None}, False),
        ({"exit": 1}, False),
        ({"exit": 3}, False),
        ({"work": 440}, True),
        ({"work": 441}, False),
    ],
)
def test_a_run_is_rescued_if_it_is_near_the_clean_score_within_twice_its_steps(
    changes: dict[str, Any], rescued: bool
) -> None:
    assert is_rescued(result(**changes), CLEAN) is rescued


def test_an_overfitting_run_is_compared_with_its_own_best() -> None:
    assert is_rescued(result("overfitting", score=0.5, scores=[0.5, 0.55], work=9999), CLEAN)
    assert not is_rescued(result("overfitting", score=0.4, scores=[0.5, 0.55]), CLEAN)


def test_the_clean_run_is_the_median_of_the_unsupervised_ones() -> None:
    runs = [result("none", "nothing", score=score, work=work) for score, work in ((0.7, 210), (0.8, 220), (0.9, 230))]
    assert clean_run([*runs, result("none", "supervised", score=0.1)]) == {"score": 0.8, "work": 220}


def scorecard(results: list[dict[str, Any]]) -> str:
    lines: list[str] = []
    print_scorecard(results, lines.append)
    return "".join(lines)


def test_the_scorecard_counts_rescues_and_false_interventions() -> None:
    table = scorecard([
        *(result("none", policy) for policy in ("nothing", "supervised")),
        result(policy="nothing", score=0.1),
        result(diagnosis="loss_spike", steps_to_diagnosis=7, interventions=["roll_back"], verdicts=["helped"]),
        result("healthy", interventions=["prayer"], verdicts=["harmful"], deciding_ms=0.5, step_ms=80, replays=True),
        result("healthy", "nothing", score=0.9),
    ])  # fmt: skip
    assert "| weights_perturbed | 0/1 (0.10) | – | – | 1/1 (0.80) | loss_spike | 7 | 1.0 |" in table
    assert "| all | 0/1 | – | – | 1/1 |" in table
    assert "the first kinds: 1 of 1 rescued, 100% [21%, 100%], at least 95% ok" in table
    assert "false interventions: 1 in 2 healthy runs MISSED" in table
    assert "healthy 1: ['prayer'], score with and without: 0.800 and 0.900" in table
    assert "supervised, 1 rescued runs: 1 helped; helped 100% [21%, 100%]" in table
    assert "cures said to have been helped: 1 of 1, 100% [21%, 100%] ok" in table
    assert "cures said to have been harmful: 0 of 1, 0% [0%, 79%] ok" in table
    assert "deciding: 0.50 ms of a step of 80 ms (0.62%)" in table
    assert "the same in 1 of 1 supervised runs" in table


def test_late_kinds_count_where_nothing_fails_and_policies_are_compared_in_pairs() -> None:
    late = ("adam_forgets", "heavy_dropout", "noisy_clips", "reversed_clips")
    results = [result("none", policy) for policy in ("nothing", "supervised")]
    results += [result(fault, "nothing", score=0.1) for fault in late[:3]] + [result(late[3], "nothing")]
    results += [result(fault) for fault in late[:2]] + [result(fault, score=0.2) for fault in late[2:]]
    results += [result(fault, "obvious", score=0.1) for fault in late]
    table = scorecard(results)
    assert "late and new kinds that fail by themselves: 2 of 3 rescued, 67%" in table
    assert "ended worse than left alone by more than 0.06: 1 of 4 MISSED\n  reversed_clips 1: by 0.60" in table
    assert "rescued more than obvious: +67% [+0%, +100%] MISSED" in table


def test_a_wilson_interval_holds_the_share_and_never_leaves_the_unit() -> None:
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.278), abs=1e-3)
    assert wilson_interval(57, 57) == pytest.approx((0.937, 1.0), abs=1e-3)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_kinds_are_drawn_whole_in_the_interval_of_a_difference() -> None:
    assert difference_interval([[1.0, 1.0], [1.0, 1.0]]) == (1.0, 1.0)
    low, high = difference_interval([[1.0, 1.0]] * 5 + [[0.0, 0.0]] * 5)
    assert low == pytest.approx(0.2, abs=0.1) and high == pytest.approx(0.8, abs=0.1)


def test_a_result_belongs_to_the_source_it_was_made_with() -> None:
    assert digest_of("supervised") == digest_of("random") != digest_of("nothing")
    assert len(digest_of("nothing")) == 12


@pytest.mark.parametrize("model", FAULT_GROUPS)
def test_every_fault_is_planned_with_every_policy_and_clean_runs_come_first(model: ModelName) -> None:
    faults = faults_of(model)
    planned = list(plan_jobs(model, [*faults, "healthy"], [1, 2], POLICIES))
    assert [job.fault for job in planned[:4]] == ["none"] * 4
    compared = {job.fault for job in planned if job.policy in ("random", "obvious")}
    assert compared == set(faults) - set(MAIN_FAULTS)
    for policy in ("nothing", "supervised"):
        assert {job.fault for job in planned if job.policy == policy} >= set(faults)
    assert sum(job.fault == "healthy" for job in planned) == 32
    assert len({job.name for job in planned}) == len(planned)
    for job in planned:
        build_hparams(RECIPES[model].presets["tiny"], settings_of(job))


def test_a_tenth_of_the_transcripts_are_exchanged_and_none_is_lost() -> None:
    rows = [(Path(f"{i}.wav"), f"text {i}") for i in range(100)]
    damaged = wrong_transcripts(rows, np.random.default_rng(0))
    assert sum(before != after for before, after in zip(rows, damaged, strict=True)) == 10
    assert sorted(text for _, text in damaged) == sorted(text for _, text in rows)
    assert len(few_utterances(rows, np.random.default_rng(0))) == 20


def test_random_repair_draws_from_all_remedies_and_is_the_same_for_a_seed() -> None:
    drawn = random_remedies(3)
    assert drawn.keys() == REMEDIES_BY_AILMENT.keys()
    treatable = [remedies for ailment, remedies in REMEDIES_BY_AILMENT.items() if ailment != "hopeless_run"]
    n_remedies = len({remedy for remedies in treatable for remedy in remedies.values()})
    assert len(set(drawn["plateau"].values())) == n_remedies
    assert list(random_remedies(3)["plateau"]) == list(drawn["plateau"]) != list(random_remedies(4)["plateau"])
    assert drawn["hopeless_run"] == REMEDIES_BY_AILMENT["hopeless_run"]


def test_the_obvious_repair_goes_back_once_and_restarts_once() -> None:
    remedies = obvious_remedies()
    assert remedies.keys() == REMEDIES_BY_AILMENT.keys()
    assert all(list(r) == ["roll_back", "restart"] for ailment, r in remedies.items() if ailment != "hopeless_run")
    with patch.object(selection, "REMEDIES_BY_AILMENT", remedies):
        loop = simulate(lambda step, work: ({"total_loss": 30.0, "mel_loss": 30.0} if work >= 130 else {}, {}, {}))
    steering = [record["remedy"] for record in loop.decisions("intervention") if record["remedy"] != "stop"]
    assert steering == ["roll_back", "restart"][: len(steering)] and steering[0] == "roll_back"


def test_a_healthy_run_is_listed_if_its_unsupervised_score_is_known_and_differs() -> None:
    lines: list[str] = []
    results = [result("none", "nothing"), result("healthy", seed=2), result("healthy", seed=3)]
    print_scorecard([*results, result("healthy", "nothing", seed=3, score=None)], lines.append)
    shown = [line for line in lines if line.startswith("  healthy")]
    assert shown == ["  healthy 3: [], score with and without: 0.800 and –\n"]
