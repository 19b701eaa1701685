"""One line for a person: every kind of decision says what, why and what is expected or came of it."""

from __future__ import annotations

from typing import Any

import pytest

from monitoring.language.decisions_in_words import in_words

EXPECTED = {"signal": "total_loss", "direction": "down", "by_step": 80, "forecast": 2.04, "noise": 0.05}
TRIED: dict[str, Any] = {"ailment": "loss_spike", "severity": "critical", "remedy": "lower_learning_rate"}
TURNED: dict[str, Any] = {"knob": "learning_rate_multiplier", "from": 1.0, "to": 0.25}


@pytest.mark.parametrize(
    ("kind", "fields", "line"),
    [
        (
            "phase",
            {"from": "alignment", "to": "quality", "signals": {"free_diagonality": 0.9194}},
            "alignment → quality (free_diagonality 0.919)",
        ),
        (
            "diagnosis",
            {"ailment": "loss_spike", "severity": "critical", "since": 31, "evidence": {"total_loss": 30.0, "n": None}},
            "loss_spike (critical) since step 31: total_loss 30, n unknown",
        ),
        (
            "diagnosis",
            {
                "ailment": "bad_utterance",
                "severity": "warning",
                "since": 1,
                "evidence": {},
                "utterances": list("abcde"),
            },
            "bad_utterance (warning) since step 1:  [a, b, c and 2 more]",
        ),
        (
            "intervention",
            {**TRIED, **TURNED, "expected": EXPECTED},
            "lower_learning_rate for loss_spike: learning_rate_multiplier 1 → 0.25; "
            "total_loss is to go down by step 80",
        ),
        (
            "intervention",
            {**TRIED, **TURNED, "expected": EXPECTED, "advice": True},
            "would try lower_learning_rate for loss_spike: learning_rate_multiplier 1 → 0.25; "
            "total_loss is to go down by step 80",
        ),
        (
            "intervention",
            {**TRIED, "action": "roll_back", "to_step": 60, "skip_since": 99, "expected": EXPECTED},
            "lower_learning_rate for loss_spike: roll_back to step 60; total_loss is to go down by step 80",
        ),
        (
            "intervention",
            {**TRIED, "action": "restart", "knobs": {"a": 0.5}, "settings": {"b": 1e-6}, "expected": EXPECTED},
            "lower_learning_rate for loss_spike: restart with a 0.5, b 1e-06; total_loss is to go down by step 80",
        ),
        (
            "intervention",
            {**TRIED, "action": "quarantine", "besides": ["screen"], "utterances": ["a"], "expected": EXPECTED},
            "lower_learning_rate for loss_spike: quarantine and screen [a]; total_loss is to go down by step 80",
        ),
        (
            "intervention",
            {**TURNED, "to": 0.5, "on_the_way_to": 0.25},
            "learning_rate_multiplier 1 → 0.5 on the way to 0.25",
        ),
        (
            "follow_up",
            {**TRIED, "check": "race", "from_step": 60, "knob": "x", "n_steps": 30},
            "lower_learning_rate for loss_spike: too close to call, trained with and without it from step 60",
        ),
        (
            "follow_up",
            {**TRIED, "verdict": "helped", "expected": EXPECTED, "value": 1.0, "gain": 0.7},
            "lower_learning_rate for loss_spike helped: total_loss is 1, without it 2.04 was to be expected",
        ),
        (
            "follow_up",
            {**TRIED, **TURNED, "verdict": "harmful", "expected": EXPECTED, "value": 9.0, "reverted": True},
            "lower_learning_rate for loss_spike did harm: total_loss is 9, without it 2.04 was to be expected; "
            "undone: learning_rate_multiplier 1 → 0.25",
        ),
        (
            "follow_up",
            {
                **{**TRIED, "verdict": "no_effect", "value": None, "reverted": False},
                **{"expected": {**EXPECTED, "forecast": None}, "evidence": {"control": 2.0}},
            },
            "lower_learning_rate for loss_spike had no effect: total_loss is unknown (control 2)",
        ),
    ],
)
def test_decisions_in_words(kind: str, fields: dict[str, Any], line: str) -> None:
    assert in_words(kind, fields) == line
