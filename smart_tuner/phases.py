"""Phases of training (pre-alignment → alignment → quality → fine-tuning), and the conditions to change them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import Phases

FIRST_PHASE = "pre_alignment"
STABLE_EVALUATIONS = 2
PLATEAU_EVALUATIONS = 3
MIN_GAIN = 0.01  # of the validation loss
MAX_LOG_RISE = 700.0  # exp() of more overflows


@dataclass(frozen=True)
class PhaseChange:
    """The phase that begins, and the signal values that are the reason."""

    phase: str
    evidence: Mapping[str, float]


def next_phase(view: RunView, phases: Phases) -> PhaseChange | None:
    """The change due at an evaluation: forwards by signals or at the latest epoch, back if alignment is lost."""
    diagonality = view.points("free_diagonality")
    latest = diagonality[-1][1] if diagonality else None
    names = list(type(phases).model_fields)
    number, epoch = names.index(view.phase), view.attempt_steps / view.facts.steps_per_epoch
    first_bound = phases.of(FIRST_PHASE).latest_epoch
    # After the first phase's latest epoch, going back would only alternate between two phases.
    may_go_back = number > 0 and (first_bound is None or epoch < first_bound)
    if may_go_back and latest is not None and latest < view.failing_diagonality:
        return PhaseChange(FIRST_PHASE, {"free_diagonality": latest})
    if number + 1 == len(names):
        return None
    evidence = (_alignment_begins, _alignment_is_stable, _quality_is_reached)[number](view)
    bound = phases.of(view.phase).latest_epoch
    if evidence is None and bound is not None and epoch >= bound:
        evidence = {"epoch": epoch, "latest_epoch": float(bound)}
    return None if evidence is None else PhaseChange(names[number + 1], evidence)


def _alignment_begins(view: RunView) -> Mapping[str, float] | None:
    points = view.points("free_diagonality")
    if not points or points[-1][1] < view.failing_diagonality:
        return None
    return {"free_diagonality": points[-1][1]}


def _alignment_is_stable(view: RunView) -> Mapping[str, float] | None:
    recent = view.values("free_diagonality")[-STABLE_EVALUATIONS:]
    if len(recent) < STABLE_EVALUATIONS or min(recent) < view.healthy_diagonality:
        return None
    return {"free_diagonality": recent[-1], "before": recent[0]}


def _quality_is_reached(view: RunView) -> Mapping[str, float] | None:
    """Speech ends correctly, gradients are moderate, the validation loss is at its target and no longer falls."""
    end_signal = "gate_accuracy" if view.values("gate_accuracy") else "length_accuracy"
    accuracies, norms = view.values(end_signal), view.values("gradient_norm", view.facts.window_steps)
    losses = [value for _, value in view.log_points("val_total_loss")]
    if not accuracies or not norms or len(losses) <= PLATEAU_EVALUATIONS:
        return None
    before, recent = min(losses[:-PLATEAU_EVALUATIONS]), min(losses[-PLATEAU_EVALUATIONS:])
    norm, gain = statistics.median(norms), -math.expm1(min(recent - before, MAX_LOG_RISE))
    quality = view.quality
    if accuracies[-1] < quality.gate_accuracy_target or norm > quality.gradient_norm_target:
        return None
    if losses[-1] > math.log(quality.loss_target) or gain > MIN_GAIN:
        return None
    loss = view.facts.measured_values("val_total_loss", val_total_loss=losses[-1])
    return {end_signal: accuracies[-1], "gradient_norm": norm, **loss, "gain": gain}
