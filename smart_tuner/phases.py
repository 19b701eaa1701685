"""Phases of training (pre-alignment → alignment → quality → fine-tuning), and the conditions to change them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import Phases

FIRST_PHASE = "pre_alignment"
STABLE_EVALUATIONS = 2
PLATEAU_EVALUATIONS, PLATEAU_SHARE = 3, 0.1  # of the plan; the longer of both counts
MIN_GAIN, MAX_RISE = 0.01, 0.05  # of the validation loss; more of a rise is trouble
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
    """Speech ends correctly, and the validation loss no longer falls."""
    end_signal = "gate_accuracy" if view.values("gate_accuracy") else "length_accuracy"
    accuracies, losses = view.values(end_signal), [value for _, value in view.log_points("val_total_loss")]
    plateau_steps = PLATEAU_SHARE * view.facts.planned_steps
    n = max(PLATEAU_EVALUATIONS, math.ceil(plateau_steps / view.facts.steps_per_evaluation))
    if not accuracies or len(losses) <= n or accuracies[-1] < view.quality.gate_accuracy_target:
        return None
    gain = -math.expm1(min(min(losses[-n:]) - min(losses[:-n]), MAX_LOG_RISE))
    if not -MAX_RISE <= gain <= MIN_GAIN:
        return None
    loss = view.facts.measured_values("val_total_loss", val_total_loss=losses[-1])
    return {end_signal: accuracies[-1], **loss, "gain": gain}
