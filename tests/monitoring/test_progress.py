"""The lines of progress where the output is not a terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from monitoring.progress import ProgressDisplay
from tests.monitoring.test_signals import Step

RESTART: dict[str, Any] = {
    **{"ailment": "loss_spike", "remedy": "restart", "action": "restart"},
    "expected": {"signal": "total_loss", "direction": "down", "by_step": 9, "forecast": None},
}


def totals(*, most_steps: int | None = None, advice: bool = False, resumed_from: int = 0) -> str:
    """What a step says after a new start at step 30 of 100 planned ones."""
    file = io.StringIO()
    display = ProgressDisplay(Console(file=file, width=200), total_steps=100, every_seconds=0, most_steps=most_steps)
    if resumed_from:
        display.begin_anew(resumed_from)
    else:
        display.decision("intervention", 30, RESTART | ({"advice": True} if advice else {}))
    display.step(replace(Step(), step=31))
    return file.getvalue().splitlines()[-1].split(" ")[1]


def test_after_a_new_start_the_whole_way_lies_ahead_again() -> None:
    assert totals() == "31/130"
    assert totals(resumed_from=60) == "31/160"
    assert totals(most_steps=110) == "31/110"
    assert totals(advice=True) == "31/100"
