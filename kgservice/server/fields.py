"""Fields that many bodies and queries have, and the closed model that all of them are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from kgservice.answers import MAX_K, MAX_PAIRS, Pair


class Closed(BaseModel):
    """A body or a query that names no field it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_field(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise PydanticCustomError("not_an_object", "expected an object with named fields")
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [str(name) for name in values if name not in known]
        if unknown:
            name = unknown[0] if len(unknown[0]) <= 80 else unknown[0][:80] + "…"
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}"
            # As context, since a template would read braces in what the client sent.
            text = f"{name!r} is not a field here. {hint}"
            raise PydanticCustomError("unknown_field", "not a field here", {"text": text, "closest": close})
        return values


def whole(value: Any) -> Any:
    """JSON knows one kind of number: 10.0 is the integer 10."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Flag = Annotated[bool, Strict()]
Name = Annotated[str, Field(min_length=1, max_length=2048)]
Names = Annotated[list[Name], Field(max_length=100)]
Language = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9-]{1,35}$", description="Of labels and descriptions; others stand in where it lacks."),
]
Model = Annotated[
    Annotated[str, Field(min_length=1, max_length=64)] | None,
    Field(description="A model of the release; by default the best by validation."),
]
K = Annotated[int, Strict(), Field(ge=1, le=MAX_K, description="How many, the best first."), BeforeValidator(whole)]
TYPE_HELP = "Only entities of at least one of these types."


class PairBody(Closed):
    """A qualifier: what holds beside the statement."""

    relation: Name = Field(description="The relation that qualifies.")
    value: Name | None = Field(
        None,
        description="An entity, a number, a year (`1960`), a date (`1960-02-29`) or a literal in N-Triples form; left out "
        "where it is what the question asks for.",
    )

    def pair(self) -> Pair:
        """As the engine takes it."""
        return Pair(self.relation, self.value)


Pairs = Annotated[list[PairBody], Field(max_length=MAX_PAIRS, description="What holds beside the statement.")]
FILTER_HELP = "Only entities that are the subject of such a statement; of all, where there are several."


class FilterBody(Closed):
    """A statement without its subject."""

    relation: Name = Field(description="What links the two.")
    object: Name = Field(description="The entity that answers are linked to.")

    def pair(self) -> tuple[str, str]:
        """As the engine takes it."""
        return self.relation, self.object


Filter = Annotated[
    Annotated[Name, Tag("text")] | Annotated[FilterBody, Tag("parts")],
    Discriminator(lambda filter: "parts" if isinstance(filter, dict | FilterBody) else "text"),
]
Filters = Annotated[
    list[Filter], Field(max_length=20, description=f"{FILTER_HELP} `RELATION=OBJECT`, or an object with the two.")
]


def filters_of(given: Sequence[str | FilterBody]) -> tuple[str | tuple[str, str], ...]:
    """As the engine takes them."""
    return tuple(one if isinstance(one, str) else one.pair() for one in given)
