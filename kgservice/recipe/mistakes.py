"""What is wrong with a recipe, one line a mistake: where, what was expected, and the closest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from kgservice.recipe.space import Range


def mistakes(root: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """A sentence for each."""
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        name = ".".join(place)
        if problem["type"] == "extra_forbidden":
            known = _settings_beside(root, place)
            close = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
            prefix = ".".join(place[:-1])
            hint = (
                f"Did you mean {'.'.join(filter(None, (prefix, close[0])))}?"
                if close
                else f"Known: {', '.join(known)}."
            )
            yield f"{name} is not a setting. {hint}"
        elif problem["type"] == "missing":
            yield f"{name} is missing."
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
            yield f"{name or 'recipe'}: {message}{given}."


def _settings_beside(root: type[BaseModel], place: Sequence[str]) -> list[str]:
    """The names of the settings in the table that holds the last part of `place`."""
    model: Any = root
    for part in place[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation if part in model.model_fields else Range
            continue
        model = get_args(model)[1]  # a dict of tables: its value type
    return list(model.model_fields)
