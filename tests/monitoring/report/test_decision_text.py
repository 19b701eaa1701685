"""Texts of decisions: titles, lines and one-line forms, with evidence, change, expected effect and result."""

from __future__ import annotations

from typing import Any

import pytest

from monitoring.journal.interventions import InterventionEntry
from monitoring.journal.journal_state import JournalState
from monitoring.language.english import ENGLISH
from monitoring.report.decision_text import decision_line, intervention_lines, intervention_title, verdict_text
from tests.monitoring.journals import FOLLOW_UP, INTERVENTION, RunFolder

EXPECTED = {"signal": "total_loss", "direction": "down", "by_step": 80, "forecast": 2.04, "noise": 0.05}
REMEDY: dict[str, Any] = {"ailment": "loss_spike", "severity": "critical", "remedy": "lower_learning_rate"}
TURN: dict[str, Any] = {"knob": "learning_rate_multiplier", "from": 1.0, "to": 0.25}
HEAD = "lower the learning rate (loss spike). "
TAIL = ". Expected by step 80: loss falls"


@pytest.mark.parametrize(
    ("kind", "record", "line"),
    [
        (
            "phase",
            {"from": "alignment", "to": "quality", "signals": {"free_diagonality": 0.9194}},
            "alignment → quality (free-running diagonality 0.919)",
        ),
        (
            "diagnosis",
            {"ailment": "loss_spike", "severity": "critical", "since": 31, "evidence": {"total_loss": 30.0, "n": None}},
            "loss spike (critical) since step 31: loss 30",
        ),
        (
            "diagnosis",
            {
                **{"ailment": "bad_utterance", "severity": "warning", "since": 1, "evidence": {}},
                "utterances": list("abcdefg"),
            },
            "a recording that does not fit the others (warning) since step 1. Recordings: a, b, c, d, e and 2 more",
        ),
        (
            "diagnosis",
            {"ailment": "process_died", "severity": "critical", "evidence": {"last_step": 7}, "by": "watchdog"},
            "the training process ended unexpectedly (critical): last step 7",
        ),
        (
            "intervention",
            {**REMEDY, **TURN, "expected": EXPECTED},
            f"{HEAD}Done: learning rate multiplier 1 → 0.25{TAIL}",
        ),
        (
            "intervention",
            {**REMEDY, **TURN, "expected": EXPECTED, "advice": True},
            f"{HEAD}Advised: learning rate multiplier 1 → 0.25{TAIL}",
        ),
        (
            "intervention",
            {**REMEDY, "action": "roll_back", "to_step": 60, "skip_since": 99, "expected": EXPECTED},
            f"{HEAD}Done: rollback to a checkpoint (step 60){TAIL}",
        ),
        (
            "intervention",
            {**REMEDY, "action": "restart", "knobs": {"a": 0.5}, "settings": {"b": 1e-6}, "expected": EXPECTED},
            f"{HEAD}Done: restart, with a 0.5, b 1.00e-06{TAIL}",
        ),
        (
            "intervention",
            {**REMEDY, "action": "quarantine", "besides": ["screen"], "utterances": ["a"], "expected": EXPECTED},
            f"{HEAD}Recordings: a. Done: quarantine, screening of all recordings{TAIL}",
        ),
        (
            "intervention",
            {**TURN, "to": 0.5, "on_the_way_to": 0.25},
            "learning rate multiplier 1 → 0.5 (on the way to 0.25)",
        ),
        ("intervention", {**TURN, "by": "person"}, "learning rate multiplier 1 → 0.25 (by a person)"),
        (
            "proposal",
            {**REMEDY, **TURN, "expected": EXPECTED, "number": 3},
            f"#3 {HEAD}Proposed: learning rate multiplier 1 → 0.25{TAIL}. Waits for /approve 3 or /reject 3",
        ),
        (
            "follow_up",
            {**REMEDY, "check": "race", "from_step": 60, "knob": "x", "n_steps": 30},
            f"{HEAD}Too close to call: trained 2 times from step 60, with the change and without it",
        ),
        (
            "follow_up",
            {**REMEDY, "verdict": "helped", "expected": EXPECTED, "value": 1.0, "gain": 0.7},
            f"{HEAD}Result: helped; loss is 1, without the change 2.04 was expected",
        ),
        (
            "follow_up",
            {**REMEDY, **TURN, "verdict": "harmful", "expected": EXPECTED, "value": 9.0, "reverted": True},
            f"{HEAD}Result: did harm; loss is 9, without the change 2.04 was expected; "
            "undone: learning rate multiplier 1 → 0.25",
        ),
        (
            "follow_up",
            {
                **{**REMEDY, "verdict": "no_effect", "value": None, "reverted": False},
                **{"expected": {**EXPECTED, "forecast": None}, "evidence": {"control": 2.0}},
            },
            f"{HEAD}Result: had no effect; without it 2",
        ),
        (
            "follow_up",
            {**REMEDY, "mechanism": "works", "value": 1.5, "judged_by": 200, "expected": EXPECTED},
            f"{HEAD}Works as intended so far: loss is 1.5; what the voice has of it is judged at step 200",
        ),
        (
            "follow_up",
            {
                **{**REMEDY, "verdict": "unknown", "value": None, "expected": EXPECTED},
                "evidence": {"outcomes": [{"signal": "val_mel_loss", "value": 1.0, "placebo": "usual"}]},
            },
            f"{HEAD}Result: healthy again; whether the remedy did it is not known; "
            "held-out mel loss 1, no more than this run changes by itself",
        ),
        (
            "follow_up",
            {
                **{**REMEDY, "verdict": "helped", "value": None, "expected": EXPECTED},
                "evidence": {"noise": 0.01, "winner": 3, "from_step": 600},
            },
            f"{HEAD}Result: helped; noise between equal runs 0.01, continued with 3, from step 600",
        ),
    ],
)
def test_a_decision_fits_into_one_line(kind: str, record: dict[str, Any], line: str) -> None:
    assert decision_line(kind, record, ENGLISH) == line


def only_entry(run: RunFolder) -> InterventionEntry:
    (entry,) = JournalState.load(run.path).interventions
    return entry


def test_an_intervention_has_a_line_for_evidence_change_expectation_and_result(run: RunFolder) -> None:
    run.journal.write("intervention", 40, **INTERVENTION, utterances=["a", "b"])
    run.journal.write("follow_up", 60, **FOLLOW_UP | TURN | {"verdict": "harmful", "reverted": True})
    assert intervention_lines(only_entry(run), ENGLISH) == [
        "Found: loss spike (warning): loss 9, before 2",
        "Recordings: a, b",
        "Done: learning rate multiplier 1 → 0.5",
        "Expected by step 60: loss falls",
        "Result: did harm; loss is 1.5, without the change 2 was expected; undone: learning rate multiplier 1 → 0.25",
    ]


def test_advice_is_not_called_done(run: RunFolder) -> None:
    run.journal.write("intervention", 40, **INTERVENTION, advice=True)
    entry = only_entry(run)
    assert "Advised: learning rate multiplier 1 → 0.5" in intervention_lines(entry, ENGLISH)
    assert verdict_text(entry, ENGLISH) == "advice only"


def test_a_rollback_names_its_step_and_settings(run: RunFolder) -> None:
    record = {name: value for name, value in INTERVENTION.items() if name not in ("knob", "from", "to")}
    record |= {"action": "roll_back", "to_step": 20, "knobs": {"learning_rate_multiplier": 0.5}}
    run.journal.write("intervention", 40, **record)
    line = "Done: rollback to a checkpoint (step 20), with learning rate multiplier 0.5"
    assert line in intervention_lines(only_entry(run), ENGLISH)


def test_a_race_is_reported_before_its_verdict(run: RunFolder) -> None:
    run.journal.write("intervention", 40, **INTERVENTION)
    names = {"ailment": "loss_spike", "remedy": "lower_learning_rate"}
    run.journal.write("follow_up", 50, **names, check="race", from_step=30, knob="x")
    entry = only_entry(run)
    assert entry.verdict is None
    race = "Too close to call: trained 2 times from step 30, with the change and without it"
    assert intervention_lines(entry, ENGLISH)[-1] == race


def test_the_evidence_of_a_follow_up_names_ailments(run: RunFolder) -> None:
    run.journal.write("intervention", 5, **INTERVENTION)
    run.journal.write("follow_up", 8, **FOLLOW_UP | {"verdict": "harmful", "evidence": {"then": "nonfinite_step"}})
    assert "then non-finite numbers in a step" in intervention_lines(only_entry(run), ENGLISH)[-1]


def test_an_intervention_of_the_watchdog_has_no_evidence(run: RunFolder) -> None:
    run.journal.write("intervention", 40, remedy="restart_process", from_checkpoint=20, by="watchdog")
    entry = only_entry(run)
    assert intervention_title(entry, ENGLISH) == "step 40: restart the training process"
    assert intervention_lines(entry, ENGLISH) == ["Done: restart the training process"]
