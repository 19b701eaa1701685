"""The search space of one recipe: the settings' ranges, typed as the recipe is, with its own values inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from hparams import HParams, UserError, build_hparams
from smart_tuner.search.settings import MID_RUN_FIELDS, Range

Value = float | int | str | bool
MOST_CHECKED = 1000  # whole numbers of a range


class Suggesting(Protocol):
    """An Optuna trial, as far as it matters here."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...
    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Dimension:
    """One setting and where it may lie; with choices the bounds are 0."""

    name: str
    kind: str  # float, int or choice
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()

    def suggest(self, trial: Suggesting) -> Value:
        if self.kind == "choice":
            chosen: Value = trial.suggest_categorical(self.name, self.choices)
            return chosen
        if self.kind == "int":
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def holds(self, value: Value) -> bool:
        if self.kind == "choice":
            return value in self.choices
        if not isinstance(value, int | float):
            return False
        on_grid = self.step is None or abs((value - self.low) / self.step % 1 - 0.5) > 0.5 - 1e-9
        return self.low <= value <= self.high and on_grid

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"choices": list(self.choices)}

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"one of {', '.join(map(str, self.choices))}"
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


def space_of(ranges: Mapping[str, Range], recipe: HParams, *, mid_run: bool) -> tuple[Dimension, ...]:
    """What may be searched around a recipe; in mid-run only what a trained model does not depend on."""
    wanted = {
        name: given
        for name, given in ranges.items()
        if (given.models is None or recipe.model in given.models)
        and not (mid_run and name not in MID_RUN_FIELDS)
        and not (given.times is not None and getattr(recipe, name) == 0)  # switched off, and stays so
    }
    if not wanted:
        what = "that may change in mid-run " if mid_run else ""
        raise UserError(f"search.space: names no setting {what}of {recipe.model}; config.yaml shows which there are")
    space = tuple(_dimension(name, given, getattr(recipe, name)) for name, given in wanted.items())
    for dimension in space:
        _require_valid(dimension, recipe)
    return space


def _dimension(name: str, given: Range, own: Value) -> Dimension:
    """Widened to the recipe's own value, which is the first to be tried."""
    if given.choices is not None:
        choices = given.choices if own in given.choices else (*given.choices, own)
        return Dimension(name, "choice", choices=tuple(choices))
    if isinstance(own, bool | str):
        raise UserError(f"search.space.{name}: is not a number; give its choices")
    if given.times is not None:
        low, high, log = own * min(1.0, given.times[0]), own * max(1.0, given.times[1]), True
    else:
        assert given.low is not None and given.high is not None
        low, high, log = min(given.low, own), max(given.high, own), given.log and min(given.low, own) > 0
    if given.step is not None and isinstance(own, int) and given.step % 1:
        raise UserError(f"search.space.{name}: step: expected a whole number, got {given.step:g}")
    if isinstance(own, int):
        low, high = max(1, round(low)) if log else round(low), round(high)
    dimension = Dimension(name, "int" if isinstance(own, int) else "float", low, high, log, given.step)
    if not dimension.holds(own):
        raise UserError(f"search.space.{name}: the recipe's {own} is not among {low:g}, {low + (given.step or 0):g}, …")
    return dimension


def _require_valid(dimension: Dimension, recipe: HParams) -> None:
    """Every value that may come is one that the recipe may have."""
    values: Sequence[Value] = dimension.choices or (dimension.low, dimension.high)
    if dimension.kind == "int":
        step = 1 if dimension.step is None else int(dimension.step)
        values = range(int(dimension.low), int(dimension.high) + 1, step)[:MOST_CHECKED]
    for value in values:
        try:
            build_hparams(recipe.model_dump(), {dimension.name: value})
        except UserError as error:
            raise UserError(f"search.space.{dimension.name}: {error}") from error
