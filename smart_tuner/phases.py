"""pre-alignment → alignment → quality → fine-tuning: which stage a run is in, by its signals."""

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
LEAST_GAIN = 0.01  # of the validation loss


@dataclass(frozen=True)
class PhaseChange:
    """To which phase, and which values say so."""

    phase: str
    why: Mapping[str, float]


def next_phase(view: RunView, phases: Phases) -> PhaseChange | None:
    """At an evaluation: forwards by its signals or at its latest epoch, back to the start when alignment is lost."""
    diagonality = view.points("free_diagonality")
    latest = diagonality[-1][1] if diagonality else None
    names = list(type(phases).model_fields)
    place, epoch = names.index(view.phase), view.steps_done / view.facts.steps_per_epoch
    first_bound = phases.of(FIRST_PHASE).latest_epoch
    may_go_back = place > 0 and (first_bound is None or epoch < first_bound)  # else it would go to and fro for ever
    if may_go_back and latest is not None and latest < view.quality.attention_diagonality_threshold:
        return PhaseChange(FIRST_PHASE, {"free_diagonality": latest})
    if place + 1 == len(names):
        return None
    why = (_alignment_began, _alignment_stable, _refined)[place](view)
    bound = phases.of(view.phase).latest_epoch
    if why is None and bound is not None and epoch >= bound:
        why = {"epoch": epoch, "latest_epoch": float(bound)}
    return None if why is None else PhaseChange(names[place + 1], why)


def _alignment_began(view: RunView) -> Mapping[str, float] | None:
    points = view.points("free_diagonality")
    if not points or points[-1][1] < view.quality.attention_diagonality_threshold:
        return None
    return {"free_diagonality": points[-1][1]}


def _alignment_stable(view: RunView) -> Mapping[str, float] | None:
    recent = view.values("free_diagonality")[-STABLE_EVALUATIONS:]
    if len(recent) < STABLE_EVALUATIONS or min(recent) < view.quality.attention_diagonality_target:
        return None
    return {"free_diagonality": recent[-1], "before": recent[0]}


def _refined(view: RunView) -> Mapping[str, float] | None:
    """Stops where it should, gradients are calm, and the validation loss has reached its target and falls no more."""
    ending = "gate_accuracy" if view.values("gate_accuracy") else "length_accuracy"
    gates, norms = view.values(ending), view.values("gradient_norm", view.facts.window_steps)
    losses = [value for _, value in view.log_points("val_total_loss")]
    if not gates or not norms or len(losses) <= PLATEAU_EVALUATIONS:
        return None
    before, since = min(losses[:-PLATEAU_EVALUATIONS]), min(losses[-PLATEAU_EVALUATIONS:])
    norm, gain = statistics.median(norms), -math.expm1(since - before)
    quality = view.quality
    if gates[-1] < quality.gate_accuracy_target or norm > quality.gradient_norm_target:
        return None
    if losses[-1] > math.log(quality.loss_target) or gain > LEAST_GAIN:
        return None
    told = view.facts.as_told("val_total_loss", val_total_loss=losses[-1])
    return {ending: gates[-1], "gradient_norm": norm, **told, "gain": gain}
