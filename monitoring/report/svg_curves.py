"""Curves as SVG, with phases as background and a link at each intervention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from monitoring.journal.interventions import InterventionEntry
from monitoring.journal.journal_state import JournalState
from monitoring.language.base import Language
from monitoring.report.curves_picture import Points, has_log_scale, phase_colour, phase_ends
from monitoring.report.decision_text import verdict_text

WIDTH, HEIGHT = 640, 290
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 52, 28
COLOURS = ("#1565c0", "#e65100", "#2e7d32", "#6a1b9a", "#00838f", "#ad1457", "#5d4037", "#455a64")
TICKS = 4
NO_SVG = Markup()
MAX_DOTS = 40  # curves of fewer points show each point

# Markup.format escapes every value that is put in.
_CHART = Markup('<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{content}</svg>')
_PHASE = Markup(
    '<rect class="phase" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{height}" fill="{colour}">'
    "<title>{name}</title></rect>"
)
_MARK = Markup(
    '<a class="mark {kind}" href="#act-{number}"><line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
    '<circle cx="{x:.1f}" cy="{top}" r="12"/><text x="{x:.1f}" y="{text_y}">{number}</text><title>{verdict}</title></a>'
)
_DOT = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>')
_CURVE = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.8"/>{}')
_GRID_LINE = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
_TICK = Markup('<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>')
_LEGEND = Markup('<text class="title" x="2" y="15">{}</text><text class="legend" x="2" y="35">{}</text>')
_LEGEND_NAME = Markup('<tspan fill="{}">● {} </tspan>')


class Scale:
    """Vertical scale of a chart; on a logarithmic one, values that are not positive have no place."""

    def __init__(self, values: Sequence[float], *, is_logarithmic: bool) -> None:
        self._is_logarithmic = is_logarithmic and has_log_scale(values)
        positions = [position for value in values if (position := self._position(value)) is not None]
        low, high = min(positions, default=0.0), max(positions, default=1.0)
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
        """Values of the ticks and their y."""
        positions = [self.low + (i + 0.5) / TICKS * (self.high - self.low) for i in range(TICKS)]
        return [(10**position if self._is_logarithmic else position, self._y(position)) for position in positions]


def draw_chart(
    title: str, curves: Mapping[str, Points], last_step: int, *, is_logarithmic: bool, background: Markup = NO_SVG
) -> Markup:
    """Draw named curves over steps 0 to `last_step`, in front of `background`, which is SVG too."""
    scale = Scale([value for points in curves.values() for _, value in points], is_logarithmic=is_logarithmic)
    lines = _join(_draw_curve(points, scale, last_step, _colour(i)) for i, points in enumerate(curves.values()))
    legend = _LEGEND.format(title, _join(_LEGEND_NAME.format(_colour(i), name) for i, name in enumerate(curves)))
    content = background + _draw_axes(scale, last_step) + lines + legend
    return _CHART.format(width=WIDTH, height=HEIGHT, title=title, content=content)


def draw_background(state: JournalState, language: Language) -> Markup:
    """Draw phases as coloured areas, and interventions as numbered lines that link to their details."""
    phases = [
        _draw_phase(phase, _x(begin, state.step), _x(end, state.step), language)
        for (begin, phase), end in zip(state.phases, phase_ends(state), strict=True)
    ]
    marks = [_draw_mark(entry, _x(entry.step, state.step), language) for entry in state.interventions]
    return _join([*phases, *marks])


def _draw_phase(phase: str, left: float, right: float, language: Language) -> Markup:
    return _PHASE.format(
        left=left,
        top=TOP,
        width=max(0.0, right - left),
        height=HEIGHT - TOP - BOTTOM,
        colour=phase_colour(phase),
        name=language.name(phase),
    )


def _draw_mark(entry: InterventionEntry, x: float, language: Language) -> Markup:
    return _MARK.format(
        kind=entry.verdict or "open",
        number=entry.number,
        x=x,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        text_y=TOP + 5,
        verdict=verdict_text(entry, language),
    )


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _x(step: int, last_step: int) -> float:
    return LEFT + min(step, last_step) / max(1, last_step) * (WIDTH - LEFT - RIGHT)


def _draw_curve(points: Points, scale: Scale, last_step: int, colour: str) -> Markup:
    drawn = [(_x(step, last_step), y) for step, value in points if (y := scale.y(value)) is not None]
    dots = [_DOT.format(x, y, colour) for x, y in drawn] if len(drawn) < MAX_DOTS else []
    return _CURVE.format(" ".join(f"{x:.1f},{y:.1f}" for x, y in drawn), colour, _join(dots))


def _draw_axes(scale: Scale, last_step: int) -> Markup:
    parts = []
    for value, y in scale.ticks():
        parts.append(_GRID_LINE.format(LEFT, WIDTH - RIGHT, y, y))
        parts.append(_TICK.format(x=LEFT - 6, y=y + 5, anchor="end", text=_tick_text(value)))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        step = round(share * last_step)
        parts.append(_TICK.format(x=_x(step, last_step), y=HEIGHT - 6, anchor=anchor, text=f"{step:,}"))
    return _join(parts)


def _tick_text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"
