"""Cache of tensors derived from a module's weights for synthesis, valid until a weight changes.

Deriving them (concatenating, converting, packing) takes as long as twenty decoder steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

Derived = TypeVar("Derived")
_cache: WeakKeyDictionary[nn.Module, tuple[object, Any]] = WeakKeyDictionary()


def weight_version(weight: Tensor) -> tuple[int | None, int]:
    """A value that differs after the weight has changed; weights made in inference mode cannot change."""
    return None if weight.is_inference() else weight._version, weight.data_ptr()


def cached_weights(module: nn.Module, layout: object, derive: Callable[[], Derived]) -> Derived:
    """Return `derive()`, computed again only when the layout or a parameter of the module has changed.

    One result is cached per module. torch does not count changes through `.data`; after those, call `drop_cached`.
    """
    version = layout, [weight_version(weight) for weight in module.parameters()]
    cached = _cache.get(module)
    if cached is None or cached[0] != version:
        cached = _cache[module] = version, derive()
    derived: Derived = cached[1]
    return derived


def drop_cached(module: nn.Module) -> None:
    """Free the module's cached tensors; they take as much memory as its weights."""
    _cache.pop(module, None)
