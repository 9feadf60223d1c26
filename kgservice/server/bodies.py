"""What is asked with POST: questions, statements, and how to answer them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
)

from kgservice.answers import Described, Question, Statement
from kgservice.explain import MAX_SHOWN
from kgservice.server.fields import TYPE_HELP, Closed, Filters, Flag, K, Language, Model, Name, Names, Pairs, whole

_PARTS = ("subject", "relation", "object")
_GIVEN = {part: {"type": "string"} if part == "relation" else {"type": ["string", "object"]} for part in _PARTS}
_ONE_MISSING = [
    {
        "title": f"{hole} is asked for",
        "required": [part for part in _PARTS if part != hole],
        "properties": {part: {"type": "null"} if part == hole else _GIVEN[part] for part in _PARTS},
    }
    for hole in _PARTS
] + [
    {
        "title": "a qualifier's value is asked for",
        "required": [*_PARTS, "qualifiers"],
        "properties": {part: {"type": "string"} for part in _PARTS},
    }
]
"""For readers of the OpenAPI document; the engine is the one who checks it."""


class DescribedBody(Closed):
    """An entity that the release need not hold, by what is written of it; answered for by a model that reads texts."""

    label: str = Field("", max_length=2048, description="What people call it.")
    description: str = Field("", max_length=20_000, description="What it is.")
    types: list[Annotated[str, Field(max_length=2048)]] = Field([], max_length=100, description="Its types, in words.")
    aliases: list[Annotated[str, Field(max_length=2048)]] = Field([], max_length=100, description="Other names.")

    def described(self) -> Described:
        """As the engine takes it."""
        return Described(self.label, self.description, tuple(self.types), tuple(self.aliases))


Entity = Annotated[
    Annotated[Name, Tag("named")] | Annotated[DescribedBody, Tag("described")],
    Discriminator(lambda entity: "described" if isinstance(entity, dict | DescribedBody) else "named"),
]


class QuestionBody(Closed):
    """A statement with exactly one part left out: an IRI, a CURIE or an id in each of the others."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _ONE_MISSING})  # type: ignore[dict-item]

    subject: Entity | None = Field(None, description="The entity that the statement is about.")
    relation: Name | None = Field(None, description="What links the two.")
    object: Entity | None = Field(None, description="The entity that the subject is linked to.")
    qualifiers: Pairs = Field([])

    def question(self) -> Question:
        """As the engine takes it."""
        subject, object = (
            part.described() if isinstance(part, DescribedBody) else part for part in (self.subject, self.object)
        )
        return Question(subject, self.relation, object, tuple(pair.pair() for pair in self.qualifiers))


class CompleteOptions(Closed):
    """How to answer."""

    k: K = 10
    types: Names = Field([], description=TYPE_HELP)
    filters: Filters = Field([])
    exclude_known: Flag = Field(True, description="Leave out what the graph states already; else it is marked `known`.")
    model: Model = None
    fuse: Flag = Field(
        False,
        description="Have all calibrated models answer together, by what was learnt on validation questions of whom to believe.",
    )
    language: Language = "en"


class CompleteOne(CompleteOptions, QuestionBody):
    """One question."""


class CompleteMany(CompleteOptions):
    """Many questions with the same options."""

    questions: list[QuestionBody] = Field(min_length=1, description="Answered in this order.")


class TripleBody(Closed):
    """A statement without what holds beside it."""

    subject: Name = Field(description="The entity that the statement is about.")
    relation: Name = Field(description="What links the two.")
    object: Name = Field(description="The entity that the subject is linked to.")


class StatementBody(TripleBody):
    """A whole statement: an IRI, a CURIE or an id in each part."""

    qualifiers: Pairs = Field([])

    def statement(self) -> Statement:
        """As the engine takes it."""
        return Statement(self.subject, self.relation, self.object, tuple(pair.pair() for pair in self.qualifiers))


class ClassifyOptions(Closed):
    """How to answer."""

    model: Model = None
    language: Language = "en"


class ClassifyOne(ClassifyOptions, StatementBody):
    """One statement."""


class ClassifyMany(ClassifyOptions):
    """Many statements with the same options."""

    statements: list[StatementBody] = Field(min_length=1, description="Judged in this order.")


ShownK = Annotated[
    int,
    Strict(),
    Field(ge=1, le=MAX_SHOWN, description="Paths, rules, entities and facts shown."),
    BeforeValidator(whole),
]


class ExplainQuery(TripleBody):
    """The query of `GET /v1/explain`."""

    k: int = Field(5, ge=1, le=MAX_SHOWN, description="Paths, rules, entities and facts shown.")
    model: Model = None
    language: Language = "en"
    format: Literal["json", "svg"] = Field("json", description="JSON, or a picture.")


class ExplainOptions(ClassifyOptions):
    """How to explain."""

    k: ShownK = 5


class ExplainOne(ExplainOptions, StatementBody):
    """One statement."""


class ExplainMany(ExplainOptions):
    """Many statements with the same options."""

    statements: list[StatementBody] = Field(min_length=1, description="Explained in this order.")


def _many_if(field: str) -> Discriminator:
    return Discriminator(lambda body: "many" if isinstance(body, dict) and field in body else "one")


CompleteBody = Annotated[
    Annotated[CompleteOne, Tag("one")] | Annotated[CompleteMany, Tag("many")], _many_if("questions")
]
ClassifyBody = Annotated[
    Annotated[ClassifyOne, Tag("one")] | Annotated[ClassifyMany, Tag("many")], _many_if("statements")
]
ExplainBody = Annotated[Annotated[ExplainOne, Tag("one")] | Annotated[ExplainMany, Tag("many")], _many_if("statements")]
