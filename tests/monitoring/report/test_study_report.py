from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitoring.report.plots import pixels, save_png
from monitoring.report.study_plots import history_picture, importance_picture
from monitoring.report.study_report import verdict, write_study_report
from monitoring.report.study_state import Ending, ImportanceStory, StudyStory, TrialStory


def trial(number: int, score: float | None, ending: Ending = "complete", folder: Path = Path("absent")) -> TrialStory:
    params = {"learning_rate": 10 ** -(number + 2), "optimizer": "<script>alert(1)</script>"}
    return TrialStory(number, ending, score, params, 12.3, folder)


def story(*trials: TrialStory, best: int) -> StudyStory:
    return StudyStory(
        name="tune-<b>demo</b>",
        trials=trials,
        best=next(trial for trial in trials if trial.number == best),
        importances=[ImportanceStory("learning_rate", 0.6, True), ImportanceStory("optimizer", 0.1, False)],
        conclusions=["learning_rate mattered & more."],
        train_command="python train_enhanced.py --hparams_file 'a b.yaml'",
    )


WHOLE = story(trial(0, 0.5), trial(1, 0.3, "ended early"), trial(2, 0.7), trial(3, None, "failed"), best=2)


def test_the_verdict_compares_with_the_recipe_as_it_was() -> None:
    assert verdict(WHOLE) == "Of 4 trials (1 ended early) number 2 is the best: 0.7; the recipe as it was came to 0.5."


def test_it_says_when_nothing_better_was_found() -> None:
    told = verdict(story(trial(0, 0.5), trial(1, 0.3), best=0))
    assert told.endswith("That is the recipe as it was: nothing better was found.")


def test_without_a_score_of_the_recipe_nothing_is_compared() -> None:
    assert verdict(story(trial(0, None, "failed"), trial(1, 0.3), best=1)).endswith("number 1 is the best: 0.3.")


def test_the_page_has_all_of_it_and_runs_nothing_from_outside(tmp_path: Path) -> None:
    for name, picture in (
        ("history.png", history_picture(WHOLE.trials)),
        ("importance.png", importance_picture(WHOLE.importances)),
    ):
        save_png(pixels(picture), tmp_path / name)
    page = write_study_report(tmp_path, WHOLE).read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "<script>alert" not in page and "<b>demo" not in page
    assert "learning_rate mattered &amp; more." in page and "trial 3: –, failed, 12 s" in page
    assert "&#x27;a b.yaml&#x27;" in page


@pytest.mark.parametrize("trials", [WHOLE.trials, WHOLE.trials[2:3], [trial(4, 0.2), trial(9, None, "failed")]])
def test_a_history_is_drawn_of_any_trials(trials: list[TrialStory]) -> None:
    picture = pixels(history_picture(trials))
    assert picture.ndim == 3 and len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 10


def test_what_is_sure_is_drawn_in_another_colour() -> None:
    sure = pixels(importance_picture([ImportanceStory("a", 0.5, True)]))
    unsure = pixels(importance_picture([ImportanceStory("a", 0.5, False)]))
    assert (sure != unsure).any()
