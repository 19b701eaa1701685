"""Curves as SVG: small, sharp on a phone, with phases as background and marks to tap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from monitoring.journal.run_state import JournalState
from monitoring.language.base import Words
from monitoring.report.curves import PHASE_COLOURS, Points, have_logarithms, phase_ends
from monitoring.report.summary import judged

WIDTH, HEIGHT = 640, 290
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 52, 28
COLOURS = ("#1565c0", "#e65100", "#2e7d32", "#6a1b9a", "#00838f", "#ad1457", "#5d4037", "#455a64")
TICKS = 4


class Scale:
    """Values to places on an axis; a logarithmic one has no place for what is not positive."""

    def __init__(self, values: Sequence[float], *, is_logarithmic: bool) -> None:
        self._is_logarithmic = is_logarithmic and have_logarithms(values)
        known = [place for value in values if (place := self._position(value)) is not None]
        low, high = min(known, default=0.0), max(known, default=1.0)
        margin = 0.05 * (high - low) or 0.5 * (abs(high) or 1.0)
        self.low, self.high = low - margin, high + margin

    def _position(self, value: float) -> float | None:
        if not self._is_logarithmic:
            return value
        return math.log10(value) if value > 0 else None

    def y(self, value: float) -> float | None:
        position = self._position(value)
        return None if position is None else self._y(position)

    def _y(self, position: float) -> float:
        return TOP + (self.high - position) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def ticks(self) -> list[tuple[float, float]]:
        """Values and their places."""
        positions = [self.low + (i + 0.5) / TICKS * (self.high - self.low) for i in range(TICKS)]
        return [(10**place if self._is_logarithmic else place, self._y(place)) for place in positions]


def chart(title: str, curves: Mapping[str, Points], last_step: int, *, is_logarithmic: bool, inside: str = "") -> str:
    """One SVG; `inside` is drawn behind the curves, and may be made by `phases` and `marks`."""
    scale = Scale([value for points in curves.values() for _, value in points], is_logarithmic=is_logarithmic)
    lines = "".join(_curve(points, scale, last_step, colour) for points, colour in _coloured(curves))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{inside}'
        f"{_axes(scale, last_step)}{lines}{_legend(title, curves)}</svg>"
    )


def phases(state: JournalState, words: Words) -> str:
    """Coloured backgrounds, each saying which phase it is."""
    drawn = []
    for (begin, phase), end in zip(state.phases, phase_ends(state), strict=True):
        left, right = _x(begin, state.step), _x(end, state.step)
        name, colour = escape(words.phases.get(phase, phase)), PHASE_COLOURS.get(phase, "#eeeeee")
        drawn.append(
            f'<rect class="phase" x="{left:.1f}" y="{TOP}" width="{max(0.0, right - left):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}" fill="{colour}"><title>{name}</title></rect>'
        )
    return "".join(drawn)


def phase_key(state: JournalState, words: Words) -> str:
    """Which background is which phase."""
    seen = dict.fromkeys(phase for _, phase in state.phases)
    return "".join(
        f'<span class="phase" style="background:{PHASE_COLOURS.get(phase, "#eeeeee")}">'
        f"{escape(words.phases.get(phase, phase))}</span> "
        for phase in seen
    )


def marks(state: JournalState, words: Words) -> str:
    """Numbered lines at the interventions, each a link to its details."""
    return "".join(
        f'<a class="mark {entry.verdict or "open"}" href="#act-{entry.number}">'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<circle cx="{x:.1f}" cy="{TOP}" r="12"/><text x="{x:.1f}" y="{TOP + 5}">{entry.number}</text>'
        f"<title>{escape(judged(entry, words))}</title></a>"
        for entry in state.interventions
        for x in [_x(entry.step, state.step)]
    )


def _coloured(curves: Mapping[str, Points]) -> list[tuple[Points, str]]:
    return [(points, COLOURS[i % len(COLOURS)]) for i, points in enumerate(curves.values())]


def _x(step: int, last_step: int) -> float:
    return LEFT + min(step, last_step) / max(1, last_step) * (WIDTH - LEFT - RIGHT)


def _curve(points: Points, scale: Scale, last_step: int, colour: str) -> str:
    places = [(_x(step, last_step), y) for step, value in points if (y := scale.y(value)) is not None]
    if len(places) < 40:
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
    else:
        dots = ""
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"/>{dots}'


def _axes(scale: Scale, last_step: int) -> str:
    drawn = []
    for value, y in scale.ticks():
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 5:.1f}" text-anchor="end">{_tick(value)}</text>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        step = round(share * last_step)
        x, y = _x(step, last_step), HEIGHT - 6
        drawn.append(f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{step:,}</text>')
    return "".join(drawn)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def _legend(title: str, curves: Mapping[str, Points]) -> str:
    names = "".join(
        f'<tspan fill="{COLOURS[i % len(COLOURS)]}">● {escape(name)} </tspan>' for i, name in enumerate(curves)
    )
    return f'<text class="title" x="2" y="15">{escape(title)}</text><text class="legend" x="2" y="35">{names}</text>'
