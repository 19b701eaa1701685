"""What was made of a module's weights for speaking, kept for as long as they stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

from models.kernels.packed_linear import state_of

Made = TypeVar("Made")
_kept: WeakKeyDictionary[nn.Module, tuple[object, Any]] = WeakKeyDictionary()


def kept(module: nn.Module, layout: object, make: Callable[[], Made]) -> Made:
    """The last that was made is kept; it takes as long as twenty steps of speaking.

    Who changes weights so that torch does not count it (through `.data`) calls `forget`.
    """
    state = layout, [state_of(weight) for weight in module.parameters()]
    found = _kept.get(module)
    if found is None or found[0] != state:
        found = _kept[module] = state, make()
    made: Made = found[1]
    return made


def forget(module: nn.Module) -> None:
    """Who goes on learning needs its memory, which is that of the weights."""
    _kept.pop(module, None)
