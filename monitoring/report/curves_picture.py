"""Picture of a run's curves: phases as background, interventions as numbered lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from monitoring.journal.interventions import InterventionEntry
from monitoring.journal.journal_state import JournalState
from monitoring.language.base import Language
from monitoring.report.plots import FONT, WIDTH_INCHES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[int, float]]


class CurveChart(NamedTuple):
    """Signals that share a chart; `title` is a key of the language's texts."""

    title: str
    signals: tuple[str, ...]
    is_logarithmic: bool = False

    def curves(self, state: JournalState, language: Language) -> dict[str, Points]:
        """Steps and values of the signals that were measured, keyed by their names."""
        return {language.name(name): state.series[name].points() for name in self.signals if name in state.series}


CHARTS = (
    CurveChart("chart_loss", ("total_loss", "val_total_loss"), is_logarithmic=True),
    CurveChart(
        "chart_speech",
        ("composite_tts_score", "free_diagonality", "gate_accuracy", "length_accuracy", "stop_rate", "plain_stop_rate"),
    ),
    CurveChart("chart_gradient", ("gradient_norm",), is_logarithmic=True),
    CurveChart("chart_rate", ("learning_rate",), is_logarithmic=True),
)
PANEL_INCHES = 2.2
PHASE_COLOURS = {"pre_alignment": "#f4e3d7", "alignment": "#fdf6d8", "quality": "#e2f0d9", "fine_tuning": "#dbe9f6"}
UNKNOWN_PHASE_COLOUR = "#eeeeee"
VERDICT_COLOURS = {
    "helped": "#2e7d32",
    "unknown": "#00838f",
    "no_effect": "#757575",
    "harmful": "#c62828",
    None: "#1565c0",
}


def curves_picture(state: JournalState, language: Language) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, PANEL_INCHES * len(CHARTS)), dpi=100, layout="constrained")
    panels = figure.subplots(len(CHARTS), 1, sharex=True, squeeze=False)[:, 0]
    for axes, chart in zip(panels, CHARTS, strict=True):
        _draw_phases(axes, state)
        _draw_curves(axes, chart.curves(state, language), is_logarithmic=chart.is_logarithmic)
        _draw_interventions(axes, state)
        axes.set_title(language.text(chart.title), fontsize=10, loc="left", fontfamily=FONT)
        axes.grid(alpha=0.3)
    _number_interventions(panels[0], state)
    panels[-1].set(xlabel=language.text("step", step="").strip(), xlim=(0, max(1, state.step)))
    return figure


def has_log_scale(values: Sequence[float]) -> bool:
    """Whether values can be drawn logarithmically; a negative log-likelihood below zero cannot."""
    return max(values, default=0) > 0 and min(values) >= 0


def phase_colour(phase: str) -> str:
    return PHASE_COLOURS.get(phase, UNKNOWN_PHASE_COLOUR)


def phase_ends(state: JournalState) -> list[int]:
    """Last step of each phase; of the current one, the latest step."""
    return [begin for begin, _ in state.phases[1:]] + [state.step][: len(state.phases)]


def _draw_curves(axes: Axes, curves: Mapping[str, Points], *, is_logarithmic: bool) -> None:
    curves = {name: points for name, points in curves.items() if points}
    values = [value for points in curves.values() for _, value in points]
    if is_logarithmic and has_log_scale(values):
        axes.set_yscale("log", nonpositive="mask")
    elif not is_logarithmic:
        axes.set_ylim(-0.02, 1.02)
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1.2, marker="." if len(points) < 40 else None)
    if curves:
        axes.legend(fontsize=8, loc="best")


def _draw_phases(axes: Axes, state: JournalState) -> None:
    for (begin, phase), end in zip(state.phases, phase_ends(state), strict=True):
        axes.axvspan(begin, end, color=phase_colour(phase), zorder=0, linewidth=0)


def _draw_interventions(axes: Axes, state: JournalState) -> None:
    for entry in state.interventions:
        axes.axvline(_x(entry, state), color=VERDICT_COLOURS[entry.verdict], linewidth=1.0, linestyle="--")


def _number_interventions(axes: Axes, state: JournalState) -> None:
    transform = axes.get_xaxis_transform()
    for entry in state.interventions:
        axes.text(_x(entry, state), 1.0, str(entry.number), transform=transform, fontsize=8, ha="center", va="bottom")


def _x(entry: InterventionEntry, state: JournalState) -> int:
    """An intervention of steps that a rollback has undone stands at the latest step."""
    return min(entry.step, state.step)
