"""Detectors of training losses that jump (loss_spike), swing (oscillating_loss) or jump repeatedly (sawtooth_loss)."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

from smart_tuner.detectors.series import change_spread, measure_baseline
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import Points, RunView

# loss_spike
RECENT_LEVELS = 6
BASELINE_LEVELS, MIN_BASELINE_LEVELS = 30, 15  # more would compare with a loss that has fallen far since
EXTREME_DEVIATIONS = 5.0  # of a single level; the median of the recent ones strays half as far
MIN_SPREAD = 0.06
ENTER_RISE, LEAVE_RISE = math.log(1.5), math.log(1.2)

# oscillating_loss
N_SECTIONS, SECTION_LEVELS = 12, 5
ENTER_SWING, LEAVE_SWING = 0.25, 0.15  # in the loss's logarithm
TURNS_SHARE = 0.6
NOISE_SWING = 2.5  # of the noise of a section of one level; noise alone makes sections swing by about 0.85 of it

# sawtooth_loss
SAWTOOTH_LEVELS, MIN_SAWTOOTH_LEVELS = 200, 60
JUMP_LEVELS = 5
MIN_JUMP = 0.3  # nats per mel value
JUMP_NOISE_FACTOR = 6.0  # times the loss's noise from step to step
ENTER_JUMPS, LEAVE_JUMPS = 4, 1
MAX_FALL = 0.2  # nats: a loss that falls by more between the jumps makes progress


def detect_loss_spike(view: RunView) -> Diagnosis | None:
    """A loss that rose far above its baseline and has stayed there for some strides."""
    recent, before = _recent_and_before(view, "total_loss")
    if len(recent) < RECENT_LEVELS // 2 or len(before) < MIN_BASELINE_LEVELS:
        return None
    baseline = measure_baseline(before, least_spread=MIN_SPREAD)
    if baseline is None:
        return None
    level = statistics.median_low(value for _, value in recent)
    deviations = baseline.deviations(level)
    is_active = "loss_spike" in view.active
    if level < baseline.median + (LEAVE_RISE if is_active else ENTER_RISE):
        return None
    if not is_active and deviations < EXTREME_DEVIATIONS:
        return None
    if _only_weights_changed(view):
        return None
    first = next(point for point in recent if point[1] >= baseline.median + LEAVE_RISE)
    since = view.active.get("loss_spike", view.first_step_of(first))
    evidence = view.facts.measured_values("total_loss", total_loss=level, before=baseline.median)
    evidence |= {"deviations": deviations}
    return Diagnosis("loss_spike", "critical", view.step, since, evidence)


def _recent_and_before(view: RunView, loss: str) -> tuple[Points, list[float]]:
    """Logarithms of the recent levels, and of those before them and before the spike."""
    before = view.log_levels_before("loss_spike", loss, BASELINE_LEVELS, recent=RECENT_LEVELS)
    return view.log_levels(loss, RECENT_LEVELS), [value for _, value in before]


def _only_weights_changed(view: RunView) -> bool:
    """Whether the spectrum loss did not rise too: its weight is no knob, so another term was given more weight."""
    recent, before = _recent_and_before(view, view.facts.spectrum_loss)
    return bool(recent and before) and statistics.median(v for _, v in recent) < statistics.median(before) + LEAVE_RISE


def detect_oscillating_loss(view: RunView) -> Diagnosis | None:
    """A loss that swings up and down by more than its noise without falling."""
    points = view.log_levels("total_loss", N_SECTIONS * SECTION_LEVELS)
    if len(points) < N_SECTIONS * SECTION_LEVELS * 3 // 4:
        return None
    size = len(points) // N_SECTIONS
    sections = [statistics.median(v for _, v in points[i * size : (i + 1) * size]) for i in range(N_SECTIONS)]
    changes = [later - earlier for earlier, later in pairwise(sections)]
    turns_share = sum(first * second < 0 for first, second in pairwise(changes)) / (len(changes) - 1)
    swing = statistics.median(abs(change) for change in changes)
    net_fall = statistics.fmean(sections[: N_SECTIONS // 3]) - statistics.fmean(sections[-N_SECTIONS // 3 :])
    limit = LEAVE_SWING if "oscillating_loss" in view.active else ENTER_SWING
    limit = max(limit, NOISE_SWING * change_spread([value for _, value in points]) / math.sqrt(size))
    if swing < limit or turns_share < TURNS_SHARE or net_fall > swing:
        return None
    evidence = {"swing": swing, "turns_share": turns_share, "net_fall": net_fall}
    return Diagnosis("oscillating_loss", "warning", view.step, points[0][0], evidence)


def detect_sawtooth_loss(view: RunView) -> Diagnosis | None:
    """A flow's loss that jumps up again and again: each time the model loses the progress since the last jump."""
    is_active = "sawtooth_loss" in view.active  # then only the time after the remedy counts
    points = view.levels("nll_loss", MIN_SAWTOOTH_LEVELS if is_active else SAWTOOTH_LEVELS)
    if not is_active and len(points) < MIN_SAWTOOTH_LEVELS:
        return None
    jumps = _find_jumps(points)
    if len(jumps) < (LEAVE_JUMPS if is_active else ENTER_JUMPS):
        return None
    fall = _lower_quartile(points[: len(points) // 3]) - _lower_quartile(points[-len(points) // 3 :])
    if fall > MAX_FALL:
        return None
    height = statistics.median(height for _, height in jumps)
    evidence = {"teeth": float(len(jumps)), "height": height, "net_fall": fall}
    return Diagnosis("sawtooth_loss", "critical", view.step, view.active.get("sawtooth_loss", jumps[0][0]), evidence)


def _find_jumps(points: Points) -> list[tuple[int, float]]:
    """(step, height) of each rise far above the levels before it; a jump that lasts several levels counts once."""
    values = [value for _, value in points]
    least = max(MIN_JUMP, JUMP_NOISE_FACTOR * change_spread(values))
    jumps: dict[int, tuple[int, float]] = {}
    for i in range(JUMP_LEVELS, len(points)):
        height = values[i] - statistics.median(values[i - JUMP_LEVELS : i])
        if height >= least and not any(i - JUMP_LEVELS <= j for j in jumps):
            jumps[i] = points[i][0], height
    return list(jumps.values())


def _lower_quartile(points: Points) -> float:
    return statistics.quantiles([value for _, value in points], n=4)[0]
