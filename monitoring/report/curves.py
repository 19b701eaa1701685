"""A run's curves in one picture: phases as background, interventions as numbered marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from monitoring.journal.interventions import InterventionEntry
from monitoring.journal.run_state import JournalState
from monitoring.language.base import Words
from monitoring.report.plots import FONT, WIDTH_INCHES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[int, float]]

PANEL_INCHES = 2.2
CHARTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "chart_loss": (("total_loss", "val_total_loss"), True),
    "chart_speech": (
        ("composite_tts_score", "free_diagonality", "gate_accuracy", "length_accuracy", "stop_rate"),
        False,
    ),
    "chart_gradient": (("gradient_norm",), True),
    "chart_rate": (("learning_rate",), True),
}
"""Title, as words have it → signals, and whether the axis is logarithmic."""
PHASE_COLOURS = {"pre_alignment": "#f4e3d7", "alignment": "#fdf6d8", "quality": "#e2f0d9", "fine_tuning": "#dbe9f6"}
MARK_COLOURS = {"helped": "#2e7d32", "no_effect": "#757575", "harmful": "#c62828", None: "#1565c0"}


def curves_picture(state: JournalState, words: Words) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, PANEL_INCHES * len(CHARTS)), dpi=100, layout="constrained")
    panels = figure.subplots(len(CHARTS), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, (names, is_logarithmic)) in zip(panels, CHARTS.items(), strict=True):
        _draw_phases(axes, state)
        curves = {words.name(name): state.series[name].points() for name in names if name in state.series}
        _draw_curves(axes, curves, is_logarithmic=is_logarithmic)
        _draw_marks(axes, state)
        axes.set_title(words.say(title), fontsize=10, loc="left", fontfamily=FONT)
        axes.grid(alpha=0.3)
    _number_marks(panels[0], state)
    panels[-1].set(xlabel=words.say("step", step="").strip(), xlim=(0, max(1, state.step)))
    return figure


def have_logarithms(values: Sequence[float]) -> bool:
    """A likelihood's loss, which goes below zero, has none."""
    return max(values, default=0) > 0 and min(values) >= 0


def _draw_curves(axes: Axes, curves: Mapping[str, Points], *, is_logarithmic: bool) -> None:
    drawn = [(name, points) for name, points in curves.items() if points]
    values = [value for _, points in drawn for _, value in points]
    if is_logarithmic and have_logarithms(values):
        axes.set_yscale("log", nonpositive="mask")
    elif not is_logarithmic:
        axes.set_ylim(-0.02, 1.02)
    for name, points in drawn:
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1.2, marker="." if len(points) < 40 else None)
    if drawn:
        axes.legend(fontsize=8, loc="best")


def _draw_phases(axes: Axes, state: JournalState) -> None:
    for (begin, phase), end in zip(state.phases, phase_ends(state), strict=True):
        axes.axvspan(begin, end, color=PHASE_COLOURS.get(phase, "#eeeeee"), zorder=0, linewidth=0)


def phase_ends(state: JournalState) -> list[int]:
    """Where each phase ended or, if it has not, where training is."""
    return [begin for begin, _ in state.phases[1:]] + [state.step][: len(state.phases)]


def _draw_marks(axes: Axes, state: JournalState) -> None:
    for entry in state.interventions:
        axes.axvline(_place(entry, state), color=MARK_COLOURS[entry.verdict], linewidth=1.0, linestyle="--")


def _number_marks(axes: Axes, state: JournalState) -> None:
    place = axes.get_xaxis_transform()
    for entry in state.interventions:
        axes.text(_place(entry, state), 1.0, str(entry.number), transform=place, fontsize=8, ha="center", va="bottom")


def _place(entry: InterventionEntry, state: JournalState) -> int:
    """What was done before training went back stands at the end."""
    return min(entry.step, state.step)
