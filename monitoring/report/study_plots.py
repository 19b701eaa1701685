"""Pictures of a search: scores of the trials, and importance of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from monitoring.report.study_summary import SettingImportance, TrialEnding, TrialSummary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDING_COLOURS: dict[TrialEnding, str] = {
    "complete": "#1f6fb4",
    "ended early": "#b0b7bd",
    "no candidate": "#d9822b",
    "failed": "#c23030",
}
SURE_COLOUR, UNSURE_COLOUR = "#1f6fb4", "#d5d9dd"


def history_picture(trials: Sequence[TrialSummary]) -> Figure:
    """Score of each trial, the best score so far, and the score of the unchanged recipe as a dashed line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for ending, colour in ENDING_COLOURS.items():
        points = [(t.number, t.score) for t in trials if t.ending == ending and t.score is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), color=colour, label=ending, zorder=3)
    complete = [(t.number, t.score) for t in trials if t.ending == "complete" and t.score is not None]
    best_scores = list(accumulate((score for _, score in complete), max))
    numbers = [*(number for number, _ in complete), trials[-1].number]
    axes.step(numbers, [*best_scores, best_scores[-1]], where="post", color=SURE_COLOUR, label="best so far")
    if trials and trials[0].number == 0 and trials[0].score is not None:
        axes.axhline(trials[0].score, color="#5c7080", linestyle="--", label="unchanged recipe")
    axes.set(xlabel="trial", ylabel="score")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")
    return figure


def importance_picture(importances: Sequence[SettingImportance]) -> Figure:
    """Share of the differences that each setting explains by itself; pale where it may be chance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.28 * len(importances)), layout="constrained")
    axes = figure.subplots()
    rows = list(reversed(importances))
    colours = [SURE_COLOUR if row.is_significant else UNSURE_COLOUR for row in rows]
    axes.barh([row.name for row in rows], [row.share for row in rows], color=colours)
    axes.set(xlabel="share of the differences explained by this setting alone (pale: may be chance)", xlim=(0, 1))
    return figure
