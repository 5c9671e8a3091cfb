"""What a search may choose among: settings of the model that is trained, each with its range or its choices.

    search:
      trials: 20
      space:
        lr: {low: 1.0e-4, high: 1.0e-2, log: true}
        dim: [64, 128, 256]
        steps: {low: 100, high: 400, step: 100}

A name is a setting of `pretrain.with`; `objective.clip` reaches into a mapping. Whole numbers at both ends make whole
numbers. On the command line `lr=1e-4..1e-2:log`, `dim=64,128,256` and `steps=100..400:100` say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Field, StrictFloat, StrictInt, model_validator

from pairwright.components.errors import InvalidRecipe
from pairwright.components.settings import Settings

Number = StrictInt | StrictFloat


class Dimension(Settings):
    """One setting: a range with both ends in it, or choices."""

    low: Number | None = None
    high: Number | None = None
    log: bool = Field(False, description="drawn evenly over its logarithm")
    step: Number | None = Field(None, description="multiples above `low`; not with `log`")
    choices: tuple[Any, ...] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.step) != (None, None, None) or self.log or not self.choices:
                raise ValueError("say choices, one at least, or low and high, not both")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("a range needs low and high, low below high; or say choices")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range begins above 0 and has no step")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError("step is above 0 and no more than high less low")
        return self

    @property
    def whole(self) -> bool:
        """Whether it is drawn in whole numbers."""
        return all(value is None or isinstance(value, int) for value in (self.low, self.high, self.step))

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that must each be one the setting may have: every choice, or both ends."""
        return self.choices if self.choices is not None else (self.low, self.high)


def _listed(value: Any) -> Any:
    return {"choices": value} if isinstance(value, (list, tuple)) else value


Space = dict[str, Annotated[Dimension, BeforeValidator(_listed)]]


class SearchSection(Settings):
    """A search for the settings of `pretrain` that do best on `dev`."""

    space: Space = Field(min_length=1)
    trials: int = Field(20, ge=1)
    metric: str | None = Field(None, description="benchmark.metric on dev; release.promote's if not said")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="each trial is the mean over them")


def dimension_of(said: str) -> tuple[str, dict[str, Any]]:
    """`lr=1e-4..1e-2:log` as a setting's name and its mapping.

    Raises:
        InvalidRecipe: it is not written so.
    """
    name, equals, values = said.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise InvalidRecipe(f'--vary "{said}" is not NAME=LOW..HIGH or NAME=A,B,C, e.g. lr=1e-4..1e-2:log')
    if ".." not in values:
        return name.strip(), {"choices": [_value(part) for part in values.split(",")]}
    ends, _, how = values.partition(":")
    low, _, high = ends.partition("..")
    found: dict[str, Any] = {"low": _value(low), "high": _value(high)}
    if how == "log":
        found["log"] = True
    elif how:
        found["step"] = _value(how)
    return name.strip(), found


def _value(text: str) -> Any:
    """As YAML has it; and 1e-4, which YAML takes for a word."""
    try:
        return float(text) if "e" in text.lower() and not text.strip().isalpha() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a `with` in which each named setting has its value; `a.b` reaches into the mapping `a`.

    Raises:
        InvalidRecipe: the setting before a dot is no mapping.
    """
    changed = deepcopy(dict(settings))
    for name, value in values.items():
        *before, last = name.split(".")
        place: Any = changed
        for part in before:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise InvalidRecipe(f'search.space names "{name}", but "{".".join(before)}" is no mapping')
        place[last] = value
    return changed
