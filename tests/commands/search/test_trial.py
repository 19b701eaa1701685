"""Outcome of a trial: its best score, and whether it is a candidate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from commands.search.trial import PRUNED, TrialOutcome, delete_weights, outcome_of, save_outcome, score_of
from smart_tuner.search.settings import SearchLimits
from smart_tuner.search.trials import is_feasible


def finish(trial: optuna.Trial, outcome: TrialOutcome) -> float:
    save_outcome(trial, outcome)
    return score_of(outcome)


def trial_folder(
    folder: Path, *, scores: list[float | None], norms: list[float | None], nonfinite: int = 0, **summary: Any
) -> Path:
    """Write the journal and summary of a finished trial."""
    head = {"schema_version": 1, "time": "2026-11-22T00:00:00+00:00", "phase": None}
    signals = {
        "gradient_norm": norms,
        "nonfinite_steps": [float(nonfinite)] * len(norms),
        "memory_bytes": [2e9] * len(norms),
    }
    records = [
        {**head, "kind": "steps", "step": len(norms), "steps": list(range(1, len(norms) + 1)), "signals": signals}
    ]
    records += [
        {**head, "kind": "evaluation", "step": len(norms) + i, "signals": {"composite_tts_score": score}}
        for i, score in enumerate(scores)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "summary.json").write_text(json.dumps({"reason": "max_steps", "status": "finished"} | summary))
    return folder


def test_the_score_is_that_of_the_best_evaluation(tmp_path: Path) -> None:
    outcome = outcome_of(trial_folder(tmp_path, scores=[0.2, 0.6, None, 0.5], norms=[1.0] * 20), SearchLimits())
    assert outcome.score == 0.6 and outcome.signals == {"composite_tts_score": 0.6}
    assert not outcome.is_cut_short


@pytest.mark.parametrize(
    ("norms", "nonfinite", "limits", "beyond"),
    [
        ([1.0] * 100, 0, {}, set()),
        ([1.0] * 40 + [1e9] * 60, 0, {}, {"gradient_norm"}),
        ([1.0] * 60 + [1e9] * 40, 0, {}, set()),
        ([1.0] * 100, 1, {}, set()),
        ([1.0] * 100, 3, {}, {"nonfinite_share"}),
        ([None] * 100, 100, {}, {"nonfinite_share"}),
        ([1.0] * 100, 0, {"memory_gb": 1.5}, {"memory_gb"}),
        ([1.0] * 100, 0, {"memory_gb": 2.5}, set()),
        ([5.0] * 100, 0, {"gradient_norm": 4.0}, {"gradient_norm"}),
    ],
)
def test_a_trial_beyond_a_limit_is_no_candidate(
    tmp_path: Path, norms: list[float | None], nonfinite: int, limits: dict[str, float], beyond: set[str]
) -> None:
    folder = trial_folder(tmp_path, scores=[0.5], norms=norms, nonfinite=nonfinite)
    outcome = outcome_of(folder, SearchLimits(**limits))
    assert {name for name, value in outcome.constraints.items() if value > 0} == beyond
    study = optuna.create_study(direction="maximize")
    study.optimize(lambda trial: finish(trial, outcome), n_trials=1)
    assert is_feasible(study.trials[0]) is not bool(beyond)
    assert study.trials[0].user_attrs["reason"] == "max_steps"


def test_steps_before_the_start_checkpoint_do_not_count(tmp_path: Path) -> None:
    folder = trial_folder(tmp_path, scores=[0.5], norms=[1.0] * 100, nonfinite=40)
    for before, is_beyond in ((40.0, False), (30.0, True)):
        outcome = outcome_of(folder, SearchLimits(), from_step=50, nonfinite_before=before)
        assert (outcome.constraints["nonfinite_share"] > 0) is is_beyond


@pytest.mark.parametrize("summary", [{"reason": PRUNED}, {"status": "stopped", "reason": "hopeless: …"}])
def test_a_trial_that_was_cut_short_counts_as_pruned(tmp_path: Path, summary: dict[str, Any]) -> None:
    outcome = outcome_of(trial_folder(tmp_path, scores=[0.9], norms=[1.0] * 20, **summary), SearchLimits())
    study = optuna.create_study(direction="maximize")
    study.optimize(lambda trial: finish(trial, outcome), n_trials=1)
    assert study.trials[0].state.name == "PRUNED"


def test_a_trial_without_a_score_has_failed() -> None:
    study = optuna.create_study(direction="maximize")
    outcome = TrialOutcome(score=None, reason="max_steps", is_cut_short=False, signals={}, constraints={})
    with pytest.raises(ValueError, match="none of its evaluations has a score"):
        study.optimize(lambda trial: finish(trial, outcome), n_trials=1)


def test_only_the_best_trial_keeps_its_voice(tmp_path: Path) -> None:
    for name in ("best", "other"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "voice.safetensors").touch()
        delete_weights(tmp_path / name, keep_voice=name == "best")
    assert [path.name for path in tmp_path.rglob("*") if path.parent != tmp_path] == ["voice.safetensors"]
    assert (tmp_path / "best" / "voice.safetensors").exists()
