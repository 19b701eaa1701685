"""Progress as plain lines where the output is not a terminal, as a panel where it is."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from monitoring.terminal.panel import Panel
from monitoring.terminal.progress import ProgressDisplay
from tests.monitoring.measures.test_signals import Step

RESTART: dict[str, Any] = {
    **{"ailment": "loss_spike", "remedy": "restart", "action": "restart", "phase": "quality"},
    "expected": {"signal": "total_loss", "direction": "down", "by_step": 9, "forecast": None},
}


def displayed(console: Console, *, most_steps: int | None = None) -> ProgressDisplay:
    return ProgressDisplay(
        console, name="my run", last_step=100, course_steps=100, every_seconds=0, most_steps=most_steps
    )


def totals(*, most_steps: int | None = None, advice: bool = False) -> str:
    """What a step says after a new start at step 30 of 100 planned ones."""
    file = io.StringIO()
    display = displayed(Console(file=file, width=200), most_steps=most_steps)
    display.decision("intervention", 30, RESTART | ({"advice": True} if advice else {}))
    display.step(replace(Step(), step=31))
    return file.getvalue().splitlines()[-1].split(" ")[1]


def test_after_a_new_start_the_whole_way_lies_ahead_again() -> None:
    assert totals() == "31/130"
    assert totals(most_steps=110) == "31/110"
    assert totals(advice=True) == "31/100"


EVALUATION = {"free_diagonality": 0.95, "gate_accuracy": 1.0, "composite_tts_score": 0.5, "val_total_loss": 2.0}


def said(*, is_terminal: bool, quiet: bool = False, term: str = "xterm") -> str:
    """All that is written in a short run."""
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=is_terminal, width=120, quiet=quiet, _environ={"TERM": term}, legacy_windows=False
    )
    display = displayed(console)
    display.enter_phase("pre_alignment")
    for step in range(1, 4):
        display.step(replace(Step(), step=step, total_loss=1.0 / step))
    display.evaluation(3, dict(EVALUATION))
    display.decision("intervention", 3, RESTART)
    display.order(3, {"order": "pause", "by": "user 7", "result": "refused", "reason": "[bold]why"})
    display.close()
    return file.getvalue()


@pytest.mark.parametrize("options", [{"is_terminal": False}, {"is_terminal": True, "term": "dumb"}])
def test_without_a_terminal_there_are_only_plain_lines(options: dict[str, Any]) -> None:
    text = said(**options)
    assert "\x1b" not in text and "\r" not in text
    lines = text.splitlines()
    assert lines[0].startswith("step 1/100 · epoch") and lines[0].endswith(" left")
    assert lines[3].startswith("evaluation at step 3: free_diagonality 0.95")
    assert lines[4].startswith("intervention at step 3: restart for loss_spike")
    assert lines[5] == "pause at step 3, asked for by user 7: refused ([bold]why)"


def test_quiet_is_quiet() -> None:
    assert said(is_terminal=True, quiet=True) == said(is_terminal=False, quiet=True) == ""


def test_a_terminal_shows_a_panel_and_the_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.terminal.progress.REDRAWN_EVERY_SECONDS", 0.0)
    text = said(is_terminal=True)
    assert "\x1b" in text and "evaluation at step 3" in text and "step 1/100 · epoch" not in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is back"


def drawn(panel: Panel) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=160).print(panel)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_the_panel_says_where_training_is() -> None:
    panel = Panel("my [red]run")
    panel.enter_phase("fine_tuning")
    panel.step(replace(Step(), step=250), total=1000, left="1:02")
    (head, _) = drawn(panel)
    for said in ("my [red]run", "fine tuning", "step 250/1,000", "25%", "1:02 left"):
        assert said in head


def test_the_five_signals_have_trends() -> None:
    panel = Panel("run")
    for step in range(1, 101):
        panel.step(replace(Step(), step=step, total_loss=10.0 / step, gradient_norm=1.0), total=1000, left="")
    for score in (0.5, 0.9):
        panel.evaluation({"composite_tts_score": score, "free_diagonality": 1 - score, "gate_accuracy": 1.0})
    panel.evaluation({"composite_tts_score": None})
    signals = drawn(panel)[1].split("   ")
    assert [signal.split(" ")[0] for signal in signals] == ["loss", "gradient", "diagonality", "gate", "score"]
    assert [signal[-1] for signal in signals] == ["↓", "→", "↓", "→", "↑"]


def test_a_model_without_a_gate_shows_lengths_instead() -> None:
    panel = Panel("run")
    panel.evaluation({"composite_tts_score": 0.5, "free_diagonality": 0.9, "length_accuracy": 1.0})
    assert "length 1" in drawn(panel)[1] and "gate" not in drawn(panel)[1]


def test_what_was_not_measured_is_a_dash() -> None:
    panel = Panel("run")
    panel.step(replace(Step(), step=1, total_loss=None, gradient_norm=None), total=10, left="")
    assert drawn(panel)[1].startswith("loss –     gradient –")


def test_the_last_intervention_stays_on_the_panel() -> None:
    panel = Panel("run")
    panel.decision("intervention", 30, RESTART)
    panel.decision("diagnosis", 31, {"phase": "quality"})
    assert drawn(panel)[2].startswith("step 30: restart for loss_spike")


def test_a_pause_does_not_belong_to_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    file = io.StringIO()
    display = displayed(Console(file=file, width=200))
    for step in (1, 2, 3):
        now = float(step)
        display.step(replace(Step(), step=step))
    order = {"by": "user 7", "result": "done"}
    display.order(3, {"order": "pause", **order})
    now = 1000.0
    display.order(3, {"order": "resume", **order})
    now = 1001.0
    display.step(replace(Step(), step=4))
    assert file.getvalue().splitlines()[-1].endswith("1:12 left")


def test_training_that_goes_back_still_has_time_left() -> None:
    file = io.StringIO()
    display = displayed(Console(file=file, width=200))
    for step in (50, 51, 49, 50, 40, 41):
        display.step(replace(Step(), step=step))
    times = [line.split(" · ")[-1] for line in file.getvalue().splitlines()]
    assert len(times) == 6 and not any("-" in time for time in times)
