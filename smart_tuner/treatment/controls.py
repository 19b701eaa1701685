"""What a training loop must offer to be steered; it satisfies this without importing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from smart_tuner.treatment.interventions import Order


class RunControls(Protocol):
    """A loop that says which actions it knows and carries them out between two steps; `turn` is the least."""

    @property
    def actions(self) -> Sequence[str]: ...
    def carry_out(self, order: Order) -> None: ...
