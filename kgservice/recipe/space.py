"""What `kgservice tune` may change of a model: ranges and choices, each of a setting that its validation depends on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kgservice.recipe.settings import Settings, TrainingSettings


class Range(Settings):
    """What one setting may be while `kgservice tune` searches: from `low` to `high`, or one of `choices`."""

    low: int | float | None = Field(None, description="The smallest value; a whole number where the setting is one.")
    high: int | float | None = Field(None, description="The largest value, itself allowed.")
    log: bool = Field(False, description="Search orders of magnitude evenly.")
    step: int = Field(1, ge=1, description="Between whole numbers, such as 2 for a width of pairs.")
    choices: tuple[bool | int | float | str, ...] = Field((), description="The only values.")

    @model_validator(mode="before")
    @classmethod
    def _list_of_choices(cls, given: Any) -> Any:
        return {"choices": given} if isinstance(given, (list, tuple)) else given

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.step > 1:
                raise ValueError("give either a list of choices or low and high")
        elif self.low is None or self.high is None or not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                "expected a list of choices, or {low = …, high = …} with low < high, and 0 < low where log = true"
            )
        elif self.log and self.step > 1:
            raise ValueError("give either log = true or a step")
        return self


class SearchSpace(BaseModel):
    """What `kgservice tune --model NAME` may change: `width = [100, 200]` or `width = {low = 100, high = 200, step = 2}`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Range] = Field(init=False)

    @model_validator(mode="before")
    @classmethod
    def _dotted(cls, given: Any) -> Any:
        return dict(_flat(given, ())) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _of_settings(self) -> SearchSpace:
        for name in self.ranges:
            if name not in TUNABLE:
                close = difflib.get_close_matches(name, TUNABLE, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}" if close else f"known: {', '.join(TUNABLE)}"
                raise ValueError(f"{name} cannot be searched; {hint}")
        return self

    @property
    def ranges(self) -> dict[str, Range]:
        """By the name of the setting."""
        return dict(self.__pydantic_extra__ or {})


def _flat(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """An unquoted `training.learning_rate = …` is nested tables in TOML: as one dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value and not value.keys() & Range.model_fields.keys():
            yield from _flat(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


TUNABLE = (
    "width",
    "initial_scale",
    "reciprocal",
    "scorer",
    *(
        f"training.{name}"
        for name, field in TrainingSettings.model_fields.items()
        if name not in {"device", "evaluate_every", "objective", "patience", "seed", "splits", "validation_limit"}
        and not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
    ),
)
"""Settings of a model that its validation depends on; not the protocol of the training or of the validation."""
