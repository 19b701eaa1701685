"""Parts of a model's recipe that are not fields of HParams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SHORT_PLAN_SHARE = 0.25


@dataclass(frozen=True)
class Recipe:
    """Presets of a model by name, and the fields that its weights depend on.

    `reference_steps`: length of the training that the schedules of each preset are written for; `recording_steps`: of a
    training on recordings without a limit; `least_steps`: after which a voice of the preset speaks, the length of a
    base voice's training; `short_plans`: changes of the large presets, written for `least_steps`, for plans far shorter
    than their reference; `recordings`: changes of each preset for recordings of people; `dropout`: at least, in many
    passes over the same recordings; `layers_of_recordings`: beginnings of the names of weights that a voice takes from
    recordings alone, not from its base voice of espeak-ng.
    """

    presets: dict[str, dict[str, Any]]
    reference_steps: dict[str, int]
    recording_steps: dict[str, int]
    least_steps: dict[str, int]
    short_plans: dict[str, dict[str, Any]]
    recordings: dict[str, dict[str, Any]]
    dropout: dict[str, float]
    layers_of_recordings: tuple[str, ...]
    architecture_fields: tuple[str, ...]

    def short_plan_steps(self, preset: str) -> float:
        """Length of a plan below which `short_plans` apply."""
        return SHORT_PLAN_SHARE * self.reference_steps[preset] if preset in self.short_plans else 0


def short_plan(steps: int, *, learning_rate: float, **others: Any) -> dict[str, Any]:
    """Schedules of a training of so many steps: the shares of it that the demo presets have."""
    interval = steps // 12
    return {
        "learning_rate": learning_rate,
        "learning_rate_schedule": "halving",
        "warmup_steps": round(0.04 * steps),
        "decay_start_step": round(0.47 * steps),
        "decay_half_life_steps": round(0.107 * steps),
        "guide_anneal_start_step": round(0.25 * steps),
        "guide_anneal_steps": round(0.25 * steps),
        "alignment_patience_steps": round(0.3 * steps),
        "iters_per_checkpoint": interval,
        "iters_per_evaluation": interval,
        **others,
    }
