"""Report of a search: summary, comparison with the unchanged recipe, pictures, escaped values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitoring.report.plots import pixels, save_png
from monitoring.report.study_plots import history_picture, importance_picture
from monitoring.report.study_report import study_sentence, write_study_report
from monitoring.report.study_summary import SettingImportance, StudySummary, TrialEnding, TrialSummary


def trial(number: int, score: float | None, ending: TrialEnding = "complete") -> TrialSummary:
    params = {"learning_rate": 10 ** -(number + 2), "optimizer": "<script>alert(1)</script>"}
    return TrialSummary(number, ending, score, params, 12.3, Path("absent"))


def study_of(*trials: TrialSummary, best: int) -> StudySummary:
    return StudySummary(
        name="tune-<b>demo</b>",
        trials=trials,
        best=next(trial for trial in trials if trial.number == best),
        importances=[SettingImportance("learning_rate", 0.6, True), SettingImportance("optimizer", 0.1, False)],
        conclusions=["learning_rate mattered & more."],
        train_command="python train_enhanced.py --hparams_file 'a b.yaml'",
    )


STUDY = study_of(trial(0, 0.5), trial(1, 0.3, "ended early"), trial(2, 0.7), trial(3, None, "failed"), best=2)


def test_the_summary_compares_with_the_unchanged_recipe() -> None:
    assert study_sentence(STUDY) == (
        "Best of 4 trials (1 ended early): trial 2 with a score of 0.7; the unchanged recipe reached 0.5."
    )


def test_the_summary_admits_that_nothing_better_was_found() -> None:
    sentence = study_sentence(study_of(trial(0, 0.5), trial(1, 0.3), best=0))
    assert sentence.endswith("That is the unchanged recipe: nothing better was found.")


def test_without_a_score_of_the_unchanged_recipe_nothing_is_compared() -> None:
    sentence = study_sentence(study_of(trial(0, None, "failed"), trial(1, 0.3), best=1))
    assert sentence.endswith("trial 1 with a score of 0.3.")


def test_the_page_is_complete_and_escaped(tmp_path: Path) -> None:
    save_png(pixels(history_picture(STUDY.trials)), tmp_path / "history.png")
    save_png(pixels(importance_picture(STUDY.importances)), tmp_path / "importance.png")
    page = write_study_report(tmp_path, STUDY).read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "<script>alert" not in page and "<b>demo" not in page
    assert "learning_rate mattered &amp; more." in page and "trial 3: –, failed, 12 s" in page
    assert "&#39;a b.yaml&#39;" in page


@pytest.mark.parametrize("trials", [STUDY.trials, STUDY.trials[2:3], [trial(4, 0.2), trial(9, None, "failed")]])
def test_a_history_can_be_drawn_of_any_trials(trials: list[TrialSummary]) -> None:
    picture = pixels(history_picture(trials))
    assert picture.ndim == 3 and len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 10


def test_a_sure_importance_has_another_colour() -> None:
    sure = pixels(importance_picture([SettingImportance("a", 0.5, True)]))
    unsure = pixels(importance_picture([SettingImportance("a", 0.5, False)]))
    assert (sure != unsure).any()
