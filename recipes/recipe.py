"""Parts of a model's recipe that are not fields of HParams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Presets of a model by name, and the fields that its weights depend on.

    `reference_steps`: length of the training that the schedules of each preset are written for; `recording_steps`: of a
    training on recordings without a limit; `least_steps`: after which a voice of the preset speaks, the length of a
    base voice's training; `recordings`: changes of each preset for recordings of people; `dropout`: at least, in many
    passes over the same recordings.
    """

    presets: dict[str, dict[str, Any]]
    reference_steps: dict[str, int]
    recording_steps: dict[str, int]
    least_steps: dict[str, int]
    recordings: dict[str, dict[str, Any]]
    dropout: dict[str, float]
    architecture_fields: tuple[str, ...]
