"""What is said of a run: one honest sentence, and advice that fits what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitoring.journal.run_state import JournalState
from monitoring.language.base import words_of
from monitoring.report.summary import act_story, act_title, interventions, judged, recommendations, verdict
from tests.monitoring.journals import FOLLOW_UP, INTERVENTION, RunFolder

ENGLISH = words_of("en")
GOOD: dict[str, float | None] = {
    "composite_tts_score": 0.8,
    "free_diagonality": 0.9,
    "gate_accuracy": 0.95,
    "stop_rate": 1.0,
    "mel_distance": 0.6,
    "val_mel_loss": 1.0,
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.start()
    return run


def evaluated(run: RunFolder, *changes: dict[str, float | None], status: str | None = "finished") -> JournalState:
    for i, change in enumerate(changes):
        run.evaluation(10 * (i + 1), signals=GOOD | change)
    if status is not None:
        run.finish(10 * len(changes), status, "the disk is full")
    return JournalState.load(run.path)


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ({}, "the voice speaks and ends its sentences (score"),
        ({"free_diagonality": 0.69}, "does not speak yet"),
        ({"free_diagonality": None, "composite_tts_score": None}, "does not speak yet"),
        ({"gate_accuracy": 0.79}, "does not end its sentences"),
        ({"stop_rate": 0.5}, "does not end its sentences"),
        ({"mel_distance": 0.95}, "still rough"),
    ],
)
def test_the_verdict_says_how_good_the_voice_is(run: RunFolder, signals: dict[str, float | None], said: str) -> None:
    assert said in verdict(evaluated(run, signals), ENGLISH)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "Still training:"),
        ("finished", "Finished:"),
        ("failed", "Failed:"),
        ("interrupted", "Interrupted, saved:"),
        ("stopped", "Stopped, no remedy is left:"),
    ],
)
def test_the_verdict_says_how_it_ended(run: RunFolder, status: str | None, said: str) -> None:
    assert verdict(evaluated(run, {}, status=status), ENGLISH).startswith(said)


def test_a_verdict_needs_no_evaluation(run: RunFolder) -> None:
    assert "nothing has been evaluated yet; nothing had to be done." in verdict(JournalState.load(run.path), ENGLISH)


def test_the_best_evaluation_counts_not_the_last(run: RunFolder) -> None:
    state = evaluated(run, {"composite_tts_score": 0.9}, {"composite_tts_score": 0.1, "free_diagonality": 0.1})
    assert "speaks and ends its sentences (score 0.9 at step 10)" in verdict(state, ENGLISH)


def scores(*values: float) -> list[dict[str, float | None]]:
    return [{"composite_tts_score": value} for value in values]


@pytest.mark.parametrize(
    ("signals", "status", "key"),
    [
        (scores(0.8), "finished", "advise_listen"),
        ([], "finished", "advise_longer"),
        ([{"free_diagonality": 0.2}], "finished", "advise_alignment"),
        ([{"stop_rate": 0.2}], "finished", "advise_ends"),
        ([{"mel_distance": 1.2}], "finished", "advise_rough"),
        (scores(0.5, 0.6, 0.7, 0.8), "finished", "advise_go_on"),
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
def test_advice_fits_what_was_measured(
    run: RunFolder, signals: list[dict[str, float | None]], status: str, key: str
) -> None:
    (advice,) = recommendations(evaluated(run, *signals, status=status), ENGLISH)
    assert advice.split("{")[0].startswith(ENGLISH.texts[key].split("{")[0])


def test_while_all_goes_well_there_is_nothing_to_advise(run: RunFolder) -> None:
    assert recommendations(evaluated(run, *scores(0.5, 0.6, 0.7, 0.8), status=None), ENGLISH) == []
    assert recommendations(JournalState.load(run.path), ENGLISH) == []


def test_quarantined_recordings_are_named(run: RunFolder) -> None:
    run.journal.write("quarantined", 3, utterances=[f"u{i}" for i in range(7)], reason="not finite")
    (advice,) = recommendations(JournalState.load(run.path), ENGLISH)
    assert "u0, u1, u2, u3, u4 and 2 more" in advice


def told(run: RunFolder, follow_up: dict[str, Any] | None = None, **changes: Any) -> tuple[str, list[str]]:
    run.journal.write("intervention", 40, **INTERVENTION | changes)
    if follow_up:
        run.journal.write("follow_up", 60, **FOLLOW_UP | follow_up)
    (entry,) = JournalState.load(run.path).interventions
    return act_title(entry, ENGLISH), act_story(entry, ENGLISH)


def test_what_did_not_help_was_undone(run: RunFolder) -> None:
    _, lines = told(run, {"verdict": "harmful", "reverted": True})
    assert lines[-1] == "Came: it did harm: loss is 1.5, without it 2 was to be expected; undone"


def test_what_was_only_advised_is_said_so(run: RunFolder) -> None:
    assert "Would do: learning-rate multiplier 1 → 0.5" in told(run, advice=True)[1]


def test_a_rollback_says_where_to_and_with_what(run: RunFolder) -> None:
    run.journal.write(
        "intervention",
        40,
        **{name: value for name, value in INTERVENTION.items() if name not in ("knob", "from", "to")},
        action="roll_back",
        to_step=20,
        knobs={"learning_rate_multiplier": 0.5},
    )
    (entry,) = JournalState.load(run.path).interventions
    assert "Done: back to a checkpoint, step 20, with learning-rate multiplier 0.5" in act_story(entry, ENGLISH)


def test_a_race_is_told_before_its_verdict(run: RunFolder) -> None:
    run.journal.write("intervention", 40, **INTERVENTION)
    run.journal.write(
        "follow_up", 50, ailment="loss_spike", remedy="lower_learning_rate", check="race", from_step=30, knob="x"
    )
    (entry,) = JournalState.load(run.path).interventions
    assert entry.verdict is None
    assert act_story(entry, ENGLISH)[-1] == "Too close to call: trained with and without it from step 30"


def test_the_watchdog_tells_its_own(run: RunFolder) -> None:
    run.journal.write("intervention", 40, remedy="restart_process", from_checkpoint=20, by="watchdog")
    (entry,) = JournalState.load(run.path).interventions
    assert act_title(entry, ENGLISH) == "step 40: start the process again"
    assert act_story(entry, ENGLISH) == ["Done: start the process again"]


def test_what_was_only_advised_is_not_called_done(run: RunFolder) -> None:
    run.journal.write("intervention", 5, **INTERVENTION, advice=True)
    state = evaluated(run, {})
    assert "nothing had to be done, advice: 1." in verdict(state, ENGLISH)
    assert judged(state.interventions[0], ENGLISH) == "advised only"


def test_what_a_person_does_is_nobodys_to_judge(run: RunFolder) -> None:
    run.journal.write("intervention", 5, by="person", knob="guide_sigma", **{"from": 0.4, "to": 0.3})
    run.journal.write("intervention", 6, **INTERVENTION)
    run.journal.write("intervention", 7, **INTERVENTION | {"remedy": "roll_back"})
    superseded = {"ailment": "loss_spike", "remedy": "roll_back", "superseded_by": "person"}
    run.journal.write("follow_up", 8, **superseded)
    state = JournalState.load(run.path)
    assert [judged(entry, ENGLISH) for entry in state.interventions] == ["not judged", "not judged yet", "not judged"]
    assert interventions(state, ENGLISH) == "interventions: 2, of which helped: 0, did not: 0, changes by people: 1"


def test_an_ailment_is_named_in_what_came_of_another(run: RunFolder) -> None:
    run.journal.write("intervention", 5, **INTERVENTION)
    run.journal.write("follow_up", 8, **FOLLOW_UP | {"verdict": "harmful", "evidence": {"then": "nonfinite_step"}})
    (entry,) = JournalState.load(run.path).interventions
    assert "(then a step was not finite)" in act_story(entry, ENGLISH)[-1]
