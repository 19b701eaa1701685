"""Summary of a run: one sentence about the voice, and recommendations that fit the measurements."""

from __future__ import annotations

import pytest

from monitoring.journal.journal_state import JournalState
from monitoring.language import LANGUAGES
from monitoring.report.decision_text import verdict_text
from monitoring.report.summary import intervention_counts, recommendations, summary_sentence
from tests.monitoring.journals import INTERVENTION, RunFolder

ENGLISH = LANGUAGES["en"]
GOOD: dict[str, float | None] = {
    "composite_tts_score": 0.8,
    "free_diagonality": 0.9,
    "gate_accuracy": 0.95,
    "stop_rate": 1.0,
    "mel_distance": 0.6,
    "val_mel_loss": 1.0,
}


def evaluated(run: RunFolder, *changes: dict[str, float | None], status: str | None = "finished") -> JournalState:
    for i, change in enumerate(changes):
        run.evaluation(10 * (i + 1), signals=GOOD | change)
    if status is not None:
        run.finish(10 * len(changes), status, "the disk is full")
    return JournalState.load(run.path)


@pytest.mark.parametrize(
    ("signals", "text"),
    [
        ({}, "the voice speaks and stops at the end of a sentence (score"),
        ({"free_diagonality": 0.69}, "does not speak yet"),
        ({"free_diagonality": None, "composite_tts_score": None}, "does not speak yet"),
        ({"gate_accuracy": 0.79}, "does not stop at the end"),
        ({"stop_rate": 0.5}, "does not stop at the end"),
        ({"mel_distance": 0.95}, "still sounds rough"),
    ],
)
def test_the_sentence_describes_the_quality_of_the_voice(
    run: RunFolder, signals: dict[str, float | None], text: str
) -> None:
    assert text in summary_sentence(evaluated(run, signals), ENGLISH)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (None, "Still training:"),
        ("finished", "Finished:"),
        ("failed", "Failed:"),
        ("interrupted", "Interrupted and saved:"),
        ("stopped", "Stopped, no remedy is left:"),
    ],
)
def test_the_sentence_starts_with_the_status(run: RunFolder, status: str | None, text: str) -> None:
    assert summary_sentence(evaluated(run, {}, status=status), ENGLISH).startswith(text)


def test_a_run_without_evaluations_has_a_sentence(run: RunFolder) -> None:
    assert "nothing has been evaluated yet; no intervention was needed." in summary_sentence(
        JournalState.load(run.path), ENGLISH
    )


def test_the_quality_is_that_of_the_best_evaluation(run: RunFolder) -> None:
    state = evaluated(run, {"composite_tts_score": 0.9}, {"composite_tts_score": 0.1, "free_diagonality": 0.1})
    assert "speaks and stops at the end of a sentence (score 0.9 at step 10)" in summary_sentence(state, ENGLISH)


def scores(*values: float) -> list[dict[str, float | None]]:
    return [{"composite_tts_score": value} for value in values]


@pytest.mark.parametrize(
    ("signals", "status", "key"),
    [
        (scores(0.8), "finished", "advise_listen"),
        ([], "finished", "advise_longer"),
        ([{"free_diagonality": 0.2}], "finished", "advise_alignment"),
        ([{"stop_rate": 0.2}], "finished", "advise_stopping"),
        ([{"mel_distance": 1.2}], "finished", "advise_rough"),
        (scores(0.5, 0.6, 0.7, 0.8), "finished", "advise_continue"),
        (scores(0.8, 0.8, 0.8, 0.801), "finished", "advise_enough"),
        (scores(0.7, 0.8, 0.85, 0.849), "finished", "advise_listen"),
        (scores(0.7, 0.9, 0.6, 0.8), "finished", "advise_listen"),
        ([{"val_mel_loss": loss} for loss in (1.0, 0.8, 0.9, 1.0)], "finished", "advise_overfitting"),
        (
            [{"val_mel_loss": None, "val_nll_loss": loss} for loss in (0.2, -0.5, -0.45, -0.44)],
            "finished",
            "advise_overfitting",
        ),
        (scores(0.8), "failed", "advise_failed"),
        (scores(0.8), "interrupted", "advise_resume"),
        (scores(0.8), "stopped", "advise_hopeless"),
    ],
)
def test_advice_fits_the_measurements(
    run: RunFolder, signals: list[dict[str, float | None]], status: str, key: str
) -> None:
    (advice,) = recommendations(evaluated(run, *signals, status=status), ENGLISH)
    assert advice.split("{")[0].startswith(ENGLISH.texts[key].split("{")[0])


def test_a_run_without_problems_gets_no_advice(run: RunFolder) -> None:
    assert recommendations(evaluated(run, *scores(0.5, 0.6, 0.7, 0.8), status=None), ENGLISH) == []
    assert recommendations(JournalState.load(run.path), ENGLISH) == []


def test_quarantined_recordings_are_named(run: RunFolder) -> None:
    run.journal.write("quarantined", 3, utterances=[f"u{i}" for i in range(7)], reason="not finite")
    (advice,) = recommendations(JournalState.load(run.path), ENGLISH)
    assert "u0, u1, u2, u3, u4 and 2 more" in advice


def test_advice_is_not_counted_as_an_intervention(run: RunFolder) -> None:
    run.journal.write("intervention", 5, **INTERVENTION, advice=True)
    assert "no intervention was needed, advice only: 1." in summary_sentence(evaluated(run, {}), ENGLISH)


def test_changes_by_people_are_counted_apart_and_not_judged(run: RunFolder) -> None:
    run.journal.write("intervention", 5, by="person", knob="guide_sigma", **{"from": 0.4, "to": 0.3})
    run.journal.write("intervention", 6, **INTERVENTION)
    run.journal.write("intervention", 7, **INTERVENTION | {"remedy": "roll_back"})
    run.journal.write("follow_up", 8, ailment="loss_spike", remedy="roll_back", superseded_by="person")
    state = JournalState.load(run.path)
    verdicts = [verdict_text(entry, ENGLISH) for entry in state.interventions]
    assert verdicts == ["not judged", "not judged yet", "not judged"]
    counts = "interventions: 2 (helped: 0, did not help: 0, cause not known: 0), changes by people: 1"
    assert intervention_counts(state, ENGLISH) == counts
