"""Two pictures of a search: how its best score grew, and which settings mattered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from monitoring.report.study_state import Ending, ImportanceStory, TrialStory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: dict[Ending, str] = {
    "complete": "#1f6fb4",
    "ended early": "#b0b7bd",
    "no candidate": "#d9822b",
    "failed": "#c23030",
}
SURE, UNSURE = "#1f6fb4", "#d5d9dd"


def history_picture(trials: Sequence[TrialStory]) -> Figure:
    """Each trial's score, the best so far as a line, and the recipe as it was as a dashed one."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for ending, colour in COLOURS.items():
        those = [(t.number, t.score) for t in trials if t.ending == ending and t.score is not None]
        if those:
            axes.scatter(*zip(*those, strict=True), color=colour, label=ending, zorder=3)
    complete = [(t.number, t.score) for t in trials if t.ending == "complete" and t.score is not None]
    bests = list(accumulate((score for _, score in complete), max))
    places = [*(number for number, _ in complete), trials[-1].number]
    axes.step(places, [*bests, bests[-1]], where="post", color=SURE, label="the best so far")
    if trials and trials[0].number == 0 and trials[0].score is not None:
        axes.axhline(trials[0].score, color="#5c7080", linestyle="--", label="the recipe as it was")
    axes.set(xlabel="trial", ylabel="composite_tts_score")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")
    return figure


def importance_picture(importances: Sequence[ImportanceStory]) -> Figure:
    """The share of the differences that each setting explains by itself; pale where chance could do as much."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.28 * len(importances)), layout="constrained")
    axes = figure.subplots()
    shown = list(reversed(importances))
    colours = [SURE if importance.is_sure else UNSURE for importance in shown]
    axes.barh([importance.name for importance in shown], [importance.share for importance in shown], color=colours)
    axes.set(xlabel="share of the differences explained by it alone; pale: perhaps by chance", xlim=(0, 1))
    return figure
