"""Progress as plain lines where the output is not a terminal, as a panel where it is."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from monitoring.terminal.panel import ProgressPanel
from monitoring.terminal.progress import ProgressDisplay
from tests.monitoring.measures.sample_reports import make_step

RESTART: dict[str, Any] = {
    **{"ailment": "loss_spike", "remedy": "restart", "action": "restart", "phase": "quality"},
    "expected": {"signal": "total_loss", "direction": "down", "by_step": 9, "forecast": None},
}


def make_display(console: Console, *, max_steps: int | None = None) -> ProgressDisplay:
    return ProgressDisplay(console, name="my run", last_step=100, plan_steps=100, line_seconds=0, max_steps=max_steps)


def step_after_restart(*, max_steps: int | None = None, advice: bool = False) -> str:
    """Return `step/last step` in the line after a restart at step 30 of 100 planned ones."""
    file = io.StringIO()
    display = make_display(Console(file=file, width=200), max_steps=max_steps)
    display.on_decision("intervention", 30, RESTART | ({"advice": True} if advice else {}))
    display.on_step(make_step(step=31))
    return file.getvalue().splitlines()[-1].split(" ")[1]


def test_a_restart_begins_the_whole_plan_again() -> None:
    assert step_after_restart() == "31/130"
    assert step_after_restart(max_steps=110) == "31/110"
    assert step_after_restart(advice=True) == "31/100"


EVALUATION = {"free_diagonality": 0.95, "gate_accuracy": 1.0, "composite_tts_score": 0.5, "val_total_loss": 2.0}


def output_of_short_run(*, is_terminal: bool, quiet: bool = False, term: str = "xterm") -> str:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=is_terminal, width=120, quiet=quiet, _environ={"TERM": term}, legacy_windows=False
    )
    display = make_display(console)
    display.set_phase("pre_alignment")
    for step in range(1, 4):
        display.on_step(make_step(step=step, total_loss=1.0 / step))
    display.on_evaluation(3, dict(EVALUATION))
    display.on_decision("intervention", 3, RESTART)
    display.on_request(3, {"order": "pause", "by": "user 7", "result": "refused", "reason": "[bold]why"})
    display.close()
    return file.getvalue()


@pytest.mark.parametrize("options", [{"is_terminal": False}, {"is_terminal": True, "term": "dumb"}])
def test_without_a_terminal_there_are_only_plain_lines(options: dict[str, Any]) -> None:
    text = output_of_short_run(**options)
    assert "\x1b" not in text and "\r" not in text
    lines = text.splitlines()
    assert lines[0].startswith("step 1/100 · epoch 2 · loss 1, gradient norm 3 ") and lines[0].endswith(" left")
    assert lines[3] == "evaluation at step 3: free-running diagonality 0.95, gate accuracy 1, score 0.5"
    assert lines[4].startswith("intervention at step 3: restart with safer settings (loss spike)")
    assert lines[5] == "pause at step 3, asked for by user 7: refused ([bold]why)"


def test_a_quiet_console_shows_nothing() -> None:
    assert output_of_short_run(is_terminal=True, quiet=True) == output_of_short_run(is_terminal=False, quiet=True) == ""


def test_a_terminal_shows_a_panel_and_the_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.terminal.progress.REDRAW_SECONDS", 0.0)
    text = output_of_short_run(is_terminal=True)
    assert "\x1b" in text and "evaluation at step 3" in text and "step 1/100 · epoch" not in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is back"


def draw(panel: ProgressPanel) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=160).print(panel)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_the_panel_shows_run_phase_and_progress() -> None:
    panel = ProgressPanel("my [red]run")
    panel.set_phase("fine_tuning")
    panel.on_step(make_step(step=250), last_step=1000, time_left="1:02")
    (head, _) = draw(panel)
    for part in ("my [red]run", "fine-tuning", "step 250/1,000", "25%", "1:02 left"):
        assert part in head


def test_the_five_signals_have_trends() -> None:
    panel = ProgressPanel("run")
    for step in range(1, 101):
        panel.on_step(make_step(step=step, total_loss=10.0 / step, gradient_norm=1.0), last_step=1000, time_left="")
    for score in (0.5, 0.9):
        panel.on_evaluation({"composite_tts_score": score, "free_diagonality": 1 - score, "gate_accuracy": 1.0})
    panel.on_evaluation({"composite_tts_score": None})
    signals = draw(panel)[1].split("   ")
    names = ["loss", "gradient norm", "free-running diagonality", "gate accuracy", "score"]
    assert [signal.rsplit(" ", 2)[0] for signal in signals] == names
    assert [signal[-1] for signal in signals] == ["↓", "→", "↓", "→", "↑"]


def test_a_model_without_a_gate_shows_lengths_instead() -> None:
    panel = ProgressPanel("run")
    panel.on_evaluation({"composite_tts_score": 0.5, "free_diagonality": 0.9, "length_accuracy": 1.0})
    assert "length accuracy 1" in draw(panel)[1] and "gate" not in draw(panel)[1]


def test_a_missing_value_is_a_dash() -> None:
    panel = ProgressPanel("run")
    panel.on_step(make_step(step=1, total_loss=None, gradient_norm=None), last_step=10, time_left="")
    assert draw(panel)[1].startswith("loss –     gradient norm –")


def test_the_last_intervention_stays_on_the_panel() -> None:
    panel = ProgressPanel("run")
    panel.on_decision("intervention", 30, RESTART)
    panel.on_decision("diagnosis", 31, {"phase": "quality"})
    assert draw(panel)[2].startswith("step 30: restart with safer settings (loss spike)")


def test_a_pause_does_not_count_for_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    file = io.StringIO()
    display = make_display(Console(file=file, width=200))
    for step in (1, 2, 3):
        now = float(step)
        display.on_step(make_step(step=step))
    request = {"by": "user 7", "result": "done"}
    display.on_request(3, {"order": "pause", **request})
    now = 1000.0
    display.on_request(3, {"order": "resume", **request})
    now = 1001.0
    display.on_step(make_step(step=4))
    assert file.getvalue().splitlines()[-1].endswith("1:12 left")


def test_after_training_goes_back_the_time_left_is_never_negative() -> None:
    file = io.StringIO()
    display = make_display(Console(file=file, width=200))
    for step in (50, 51, 49, 50, 40, 41):
        display.on_step(make_step(step=step))
    times = [line.split(" · ")[-1] for line in file.getvalue().splitlines()]
    assert len(times) == 6 and not any("-" in time for time in times)


def test_the_time_left_is_that_of_a_nearer_limit() -> None:
    file = io.StringIO()
    options: dict[str, Any] = {"name": "run", "last_step": 10**9, "plan_steps": 10**9, "line_seconds": 0}
    display = ProgressDisplay(Console(file=file, width=200), **options, seconds_left=lambda: 83.0)
    for step in (1, 2):
        display.on_step(make_step(step=step))
    first, second = file.getvalue().splitlines()
    assert first.endswith("? left") and second.endswith("1:23 left")
