"""What clients send: closed models of bodies and queries, and strict reading of JSON."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from kgservice.answers import MAX_K, MAX_PAIRS, MAX_STATEMENTS, Described, Pair, Question, Statement
from kgservice.answers.records import EntityRecord
from kgservice.engine.differences import MAX_QUESTIONS
from kgservice.enrichment.plan import Plan
from kgservice.explain import MAX_SHOWN
from kgservice.server.problems import RequestProblem


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


def _whole(value: Any) -> Any:
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
K = Annotated[int, Strict(), Field(ge=1, le=MAX_K, description="How many, the best first."), BeforeValidator(_whole)]
TYPE_HELP = "Only entities of at least one of these types."


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
    qualifiers: Pairs = []

    def question(self) -> Question:
        """As the engine takes it."""
        subject, object = (
            part.described() if isinstance(part, DescribedBody) else part for part in (self.subject, self.object)
        )
        return Question(subject, self.relation, object, tuple(pair.pair() for pair in self.qualifiers))


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


class CompleteOptions(Closed):
    """How to answer."""

    k: K = 10
    types: Names = Field([], description=TYPE_HELP)
    filters: Filters = []
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


class StatementBody(Closed):
    """A whole statement: an IRI, a CURIE or an id in each part."""

    subject: Name = Field(description="The entity that the statement is about.")
    relation: Name = Field(description="What links the two.")
    object: Name = Field(description="The entity that the subject is linked to.")
    qualifiers: Pairs = []

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
    BeforeValidator(_whole),
]


class ExplainQuery(Closed):
    """The query of `GET /v1/explain`."""

    subject: Name = Field(description="The entity that the statement is about.")
    relation: Name = Field(description="What links the two.")
    object: Name = Field(description="The entity that the subject is linked to.")
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


Text = Annotated[str, Field(min_length=1, max_length=2048)]
LongText = Annotated[str, Field(min_length=1, max_length=20_000)]
Code = Annotated[str, Field(pattern=r"^([A-Za-z0-9-]{1,35})?$")]
Id = Annotated[
    Name, Field(pattern=r"^[^\s<>\"{}|\\^`\x00-\x1f]+$", description="An IRI, a CURIE or an id, without blanks.")
]


class FactBody(Closed):
    """A statement about the entity that is put: `object` where that is its subject, `subject` where it is its object."""

    subject: Name | None = Field(None, description="The entity that is linked to the one put.")
    relation: Name = Field(description="What links the two.")
    object: Name | None = Field(None, description="The entity that the one put is linked to.")
    qualifiers: Pairs = []


class RecordBody(Closed):
    """What is put of an entity: names, texts, types, and statements that link it to entities of the release."""

    labels: dict[Code, Text] = Field({}, max_length=500, description="What people call it, by language.")
    descriptions: dict[Code, LongText] = Field({}, max_length=500, description="What it is, by language.")
    aliases: dict[Code, Annotated[list[Text], Field(max_length=100)]] = Field(
        {}, max_length=500, description="Other names, by language."
    )
    types: Names = Field([], description="Its types, of those that the release has.")
    statements: list[FactBody] = Field([], max_length=1000, description="What links it to others.")

    def record(self, id: str) -> EntityRecord:
        """As the engine takes it."""
        return EntityRecord.of_json({"id": id, **self.model_dump(exclude={"id"})})


class NamedRecordBody(RecordBody):
    """The same, with its name."""

    id: Id


class RecordsBody(Closed):
    """Many entities."""

    entities: list[NamedRecordBody] = Field(min_length=1, description="All of them are put, or none.")


Share = Annotated[float, Field(gt=0, lt=1)]
Most = Annotated[int, Strict(), Field(ge=1, le=10**9), BeforeValidator(_whole)]


class EnrichmentBody(Closed):
    """What is to be found in the whole graph."""

    kind: Literal["links", "errors"] = Field(
        "links", description="Links that are missing, or statements that are wrong."
    )
    models: Names = Field([], description="Models that are asked and fused; all by default.")
    relations: Names = Field([], description="Only of these; of all by default.")
    types: Names = Field([], description="Only about subjects of at least one of these types.")
    since: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="Only about entities that this release did not hold."
    )
    threshold: Share | None = Field(None, description="Least probability; 0.5 where no `precision` is given.")
    precision: Share | None = Field(None, description="Share of right ones wanted, reached by each relation.")
    completeness: Share = Field(0.9, description="Share of what is true that the graph is believed to state.")
    k: K = 10
    per_relation: Most | None = Field(None, description="At most so many of a relation.")
    per_entity: Most | None = Field(None, description="At most so many about a subject.")
    total: Most | None = Field(None, description="At most so many.")

    def plan(self, release: str) -> Plan:
        """As a run takes it.

        Raises:
            InvalidQuestion: parts that do not go together.
        """
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.model_dump().items()
        }
        return Plan(release, **given)


class QueueBody(Closed):
    """What is to be reviewed."""

    enrichment: str = Field(min_length=1, max_length=64, description="What found it.")
    count: Annotated[int, Strict(), Field(ge=1, le=100_000), BeforeValidator(_whole)] = Field(
        100, description="How many of what it found."
    )
    audit: Annotated[float, Field(ge=0, le=1)] = Field(0.2, description="Share of them that is drawn at random.")
    seed: Annotated[int, Strict(), Field(ge=0, le=2**31), BeforeValidator(_whole)] = Field(
        0, description="Of the draw."
    )


class VerdictBody(Closed):
    """What somebody says of a proposal."""

    verdict: Literal["accept", "reject", "unsure"] = Field(description="Whether the proposal is right.")
    reason: str = Field("", max_length=2000, description="Why.")
    reviewer: str = Field("", max_length=200, description="Who says so; the source of what goes into the next ingest.")


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
    filters: Filters = []
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


class SuggestQuery(Closed):
    """The query of `GET /v1/suggest`."""

    prefix: Sought
    k: int = Field(10, ge=1, le=MAX_K, description="How many, the best first.")
    type: list[str] = Field([], max_length=100, description=f"{TYPE_HELP} Repeatable.")
    language: Language = "en"


class NoQuery(Closed):
    """Takes no parameter."""


class JsonRequest(Request):
    """A request whose JSON is read strictly: UTF-8, no NaN, no text after the document, no depth without end."""

    async def json(self) -> Any:
        """The document.

        Raises:
            RequestProblem: it is not JSON; names line and column.
        """
        try:
            return orjson.loads(await self.body())
        except orjson.JSONDecodeError as error:
            raise RequestProblem(
                "malformed-json", f"The body is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
            ) from None


class JsonRoute(APIRoute):
    """A route that takes its body as `application/json` alone, or in the forms that `OTHER_FORMS` has for it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler over a `JsonRequest`."""
        handler, takes_body = super().get_route_handler(), self.body_field is not None

        async def handle(request: Request) -> Response:
            if takes_body:
                given = request.headers.get("content-type", "")
                media = given.partition(";")[0].strip().lower()
                others = OTHER_FORMS.get(self.operation_id or "", {})
                if media in others:
                    return await others[media](request)
                if media != "application/json":
                    expected = ", ".join(["application/json", *others])
                    raise RequestProblem(
                        "unsupported-media-type",
                        f"Expected Content-Type: {expected}, found {given[:100]!r}.",
                        {"Accept-Post": expected},
                    )
            request = JsonRequest(request.scope, request.receive)
            if self.operation_id in SHORT_CUTS:
                adapter, answer = SHORT_CUTS[self.operation_id]
                body = None
                with contextlib.suppress(orjson.JSONDecodeError, ValidationError):
                    body = adapter.validate_python(orjson.loads(await request.body()))
                if body is not None:
                    return await answer(body, request)
            return await handler(request)

        return handle


Answering = Callable[[Request], Coroutine[Any, Any, Response]]

OTHER_FORMS: dict[str, dict[str, Answering]] = {}
"""By operation id and media type: who answers a body that is no JSON document. Route modules add theirs."""

SHORT_CUTS: dict[str, tuple[TypeAdapter[Any], Callable[[Any, Request], Coroutine[Any, Any, Response]]]] = {}
"""By operation id: how a sound body is read and answered without FastAPI's solving of dependencies, which takes as long as the
answer; what is not sound goes its way, and is explained."""
