"""Dimensions of a search: the space's ranges, typed like a recipe's fields, with its own values inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from hparams import HParams, UserError, build_hparams
from smart_tuner.search.space import MID_RUN_FIELDS, SearchRange

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Value = float | int | str | bool
MAX_CHECKED_VALUES = 1000  # of a range of whole numbers


@dataclass(frozen=True)
class Dimension:
    """One setting with its bounds, or with its choices (the bounds are 0 then)."""

    name: str
    kind: str  # float, int or choice
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()

    def suggest(self, trial: BaseTrial) -> Value:
        if self.kind == "choice":
            return cast(Value, trial.suggest_categorical(self.name, self.choices))
        if self.kind == "int":
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: Value) -> bool:
        if self.kind == "choice":
            return value in self.choices
        if not isinstance(value, int | float):
            return False
        is_on_grid = self.step is None or abs((value - self.low) / self.step % 1 - 0.5) > 0.5 - 1e-9
        return self.low <= value <= self.high and is_on_grid

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"choices": list(self.choices)}

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"one of {', '.join(map(str, self.choices))}"
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


def build_space(ranges: Mapping[str, SearchRange], recipe: HParams, *, mid_run: bool) -> tuple[Dimension, ...]:
    """Dimensions of the recipe's model; in mid-run only of settings that a trained model does not depend on."""
    applicable = {
        name: search_range
        for name, search_range in ranges.items()
        if (search_range.models is None or recipe.model in search_range.models)
        and not (mid_run and name not in MID_RUN_FIELDS)
        and not (search_range.times is not None and getattr(recipe, name) == 0)  # switched off, and stays so
    }
    if not applicable:
        condition = "that may change in mid-run " if mid_run else ""
        raise UserError(
            f"search.space: names no setting {condition}of {recipe.model}; config.yaml shows which there are"
        )
    space = tuple(_build_dimension(name, r, getattr(recipe, name)) for name, r in applicable.items())
    for dimension in space:
        _require_valid(dimension, recipe)
    return space


def _build_dimension(name: str, search_range: SearchRange, own: Value) -> Dimension:
    """The range, widened to the recipe's own value, which is tried first."""
    step = search_range.step
    if search_range.choices is not None:
        choices = search_range.choices if own in search_range.choices else (*search_range.choices, own)
        return Dimension(name, "choice", choices=tuple(choices))
    if isinstance(own, bool | str):
        raise UserError(f"search.space.{name}: is not a number; give its choices")
    if search_range.times is not None:
        least, most = search_range.times
        low, high, log = own * min(1.0, least), own * max(1.0, most), True
    else:
        assert search_range.low is not None and search_range.high is not None
        low, high = min(search_range.low, own), max(search_range.high, own)
        log = search_range.log and low > 0
    if step is not None and isinstance(own, int) and step % 1:
        raise UserError(f"search.space.{name}: step: expected a whole number, got {step:g}")
    if isinstance(own, int):
        low, high = max(1, round(low)) if log else round(low), round(high)
    dimension = Dimension(name, "int" if isinstance(own, int) else "float", low, high, log, step)
    if not dimension.contains(own):
        raise UserError(f"search.space.{name}: the recipe's {own} is not among {low:g}, {low + (step or 0):g}, …")
    return dimension


def _require_valid(dimension: Dimension, recipe: HParams) -> None:
    """Refuse a dimension with values that the recipe may not have."""
    values: Sequence[Value] = dimension.choices or (dimension.low, dimension.high)
    if dimension.kind == "int":
        step = 1 if dimension.step is None else int(dimension.step)
        values = range(int(dimension.low), int(dimension.high) + 1, step)[:MAX_CHECKED_VALUES]
    for value in values:
        try:
            build_hparams(recipe.model_dump(), {dimension.name: value})
        except UserError as error:
            raise UserError(f"search.space.{dimension.name}: {error}") from error
