"""What is asked of names, entities, types and releases, by GET or in bulk."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
)

from kgservice.answers import MAX_K, MAX_STATEMENTS, Described
from kgservice.engine.differences import MAX_QUESTIONS
from kgservice.server.fields import FILTER_HELP, TYPE_HELP, Closed, Filters, Flag, K, Language, Model, Name, Names

Sought = Annotated[
    str,
    Field(min_length=1, max_length=512, description="A name, its beginning, a misspelt one, an id, or a description."),
]
Mode = Annotated[
    Literal["auto", "lexical", "dense"],
    Field(description="`lexical` by words, `dense` by meaning, `auto` both, names first."),
]
HIGHLIGHT_HELP = (
    "Tell where the words of the query stand in the matched name and the description, as parts of the text."
)
FACETS_HELP = "Count the types of the best 1,000 matches."
FACET_HELP = "A relation whose objects are counted among the best 1,000 matches."


class SearchQuery(Closed):
    """The query of `/v1/search`."""

    q: Sought
    cursor: str | None = Field(None, max_length=512, description="The `next` of a result, for the page behind it.")
    k: int = Field(10, ge=1, le=MAX_K, description="How many, the best first.")
    type: list[str] = Field([], max_length=100, description=f"{TYPE_HELP} Repeatable.")
    filter: list[str] = Field([], max_length=20, description=f"RELATION=OBJECT. {FILTER_HELP} Repeatable.")
    language: Language = "en"
    mode: Mode = "auto"
    facets: bool = Field(False, description=FACETS_HELP)
    facet: list[str] = Field([], max_length=20, description=f"{FACET_HELP} Repeatable.")
    highlight: bool = Field(False, description=HIGHLIGHT_HELP)


class SearchOptions(Closed):
    """How to search."""

    k: K = 10
    types: Names = Field([], description=TYPE_HELP)
    filters: Filters = Field([])
    language: Language = "en"
    mode: Mode = "auto"
    facets: Flag = Field(False, description=FACETS_HELP)
    facet_by: Annotated[list[Name], Field(max_length=20)] = Field(
        [], description="Relations whose objects are counted among the best 1,000 matches."
    )
    highlight: Flag = Field(False, description=HIGHLIGHT_HELP)


class SearchOne(SearchOptions):
    """One query, as a line."""

    query: Sought


class SearchBody(SearchOptions):
    """The body of `/v1/search`: many queries with the same options."""

    queries: list[Sought] = Field(min_length=1, description="Answered in this order.")


class EntityQuery(Closed):
    """The query of `/v1/entities/{id}`."""

    language: Language = "en"
    limit: int = Field(100, ge=0, le=MAX_STATEMENTS, description="Statements shown.")


class RelationsQuery(Closed):
    """The query of `/v1/relations`."""

    q: str | None = Field(None, max_length=512, description="Words of a label or an id.")
    k: int = Field(100, ge=1, le=MAX_K, description="How many, the most used first.")
    language: Language = "en"


class MapQuery(Closed):
    """The query of `/v1/map`."""

    n: int | None = Field(
        None,
        ge=3,
        le=100_000,
        description="Entities at most, the best-connected; 1,000 by default, or the server's limit.",
    )
    model: Model = None
    language: Language = "en"


class TypeBody(Closed):
    """A type that no entity need have, by what is written of it."""

    label: str = Field("", max_length=2048, description="What people call it.")
    description: str = Field("", max_length=20_000, description="What it is.")

    def described(self) -> Described:
        """As the engine takes it."""
        return Described(self.label, self.description)


Type = Annotated[
    Annotated[Name, Tag("named")] | Annotated[TypeBody, Tag("described")],
    Discriminator(lambda type: "described" if isinstance(type, dict | TypeBody) else "named"),
]


class SimilarQuery(Closed):
    """The query of `/v1/entities/{id}/similar`."""

    k: int = Field(10, ge=1, le=MAX_K, description="How many, the most alike first.")
    model: str | None = Field(None, description="A model of the release; by default the best by validation.")
    type: list[str] = Field([], max_length=100, description=f"{TYPE_HELP} Repeatable.")
    language: Language = "en"


class TypesOptions(Closed):
    """How to tell types."""

    k: int = Field(10, ge=1, le=MAX_K, description="Types at most.")
    model: str | None = Field(None, description="A model of the release; by default the one that tells types best.")
    exclude_known: bool = Field(False, description="Leave out what the graph states.")
    language: Language = "en"


class TypesQuery(TypesOptions):
    """The query of `/v1/entities/{id}/types`."""

    type: list[str] = Field([], max_length=100, description="Choose among these types alone. Repeatable.")


class TypesBody(TypesOptions):
    """The body of `/v1/types`."""

    entities: Annotated[list[str], Field(min_length=1, description="Ids, CURIEs or IRIs.")]
    types: Annotated[list[Type], Field(max_length=100)] = Field(
        [],
        description="Choose among these alone, of the release by name or described by label and description; those that no "
        "entity was known to have are told by their texts.",
    )


class DiffQuery(Closed):
    """The query of `GET /v1/releases/{before}/diff/{after}`."""

    k: int = Field(10, ge=1, le=MAX_K, description="Answers compared of each question.")
    questions: int = Field(200, ge=1, le=MAX_QUESTIONS, description="How many are asked.")
    language: Language = "en"


class SuggestQuery(Closed):
    """The query of `GET /v1/suggest`."""

    prefix: Sought
    k: int = Field(10, ge=1, le=MAX_K, description="How many, the best first.")
    type: list[str] = Field([], max_length=100, description=f"{TYPE_HELP} Repeatable.")
    language: Language = "en"
