"""Parts of a model's recipe that are not fields of HParams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Presets of a model by name, and the fields that its weights depend on."""

    presets: dict[str, dict[str, Any]]
    architecture_fields: tuple[str, ...]
