"""Settings of a search: its trials and its search space; config.yaml lists the defaults."""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import Field, field_validator

from smart_tuner.search.space import DEFAULT_SPACE, SEARCHABLE_FIELDS, SearchRange
from smart_tuner.settings_section import SettingsSection


class SearchLimits(SettingsSection):
    """Limits beyond which a trial is not a candidate, whatever its score."""

    gradient_norm: float = Field(1000.0, gt=0)
    nonfinite_share: float = Field(0.01, ge=0, le=1)
    memory_gb: float | None = Field(None, gt=0)


class SearchSettings(SettingsSection):
    """Length and number of evaluations of a trial, sampler, pruning, limits and search space."""

    trial_steps: int | None = Field(None, ge=1)
    fork_steps: int | None = Field(None, ge=1)
    evaluations: int = Field(5, ge=1)
    sampler: Literal["tpe", "random"] = "tpe"
    prune: bool = True
    heartbeat_seconds: int = Field(30, ge=1)
    limits: SearchLimits = SearchLimits()
    space: dict[str, SearchRange] = DEFAULT_SPACE

    @field_validator("space")
    @classmethod
    def _require_known_names(cls, space: dict[str, SearchRange]) -> dict[str, SearchRange]:
        for name in space:
            if name not in SEARCHABLE_FIELDS:
                near = difflib.get_close_matches(name, SEARCHABLE_FIELDS, n=1, cutoff=0.0)[0]
                raise ValueError(f"{name!r} cannot be searched; the nearest that can is {near!r}")
        return space
