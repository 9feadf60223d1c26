"""What is handed in: entities that are put, enrichments that are wanted, verdicts on what was proposed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    Strict,
)

from kgservice.answers.records import EntityRecord
from kgservice.enrichment.plan import Plan
from kgservice.server.fields import Closed, K, Name, Names, Pairs, whole

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
    value: Text | None = Field(
        None,
        description="Instead of both, for a relation that links no entities: a number, a date, or a literal in quotes, as in "
        "N-Triples.",
        examples=["12000", "1999-01-01", '"NP-7"'],
    )
    qualifiers: Pairs = Field([])


class RecordBody(Closed):
    """What is put of an entity: names, texts, types, and statements that link it to entities of the release."""

    labels: dict[Code, Text] = Field({}, max_length=500, description="What people call it, by language.")
    descriptions: dict[Code, LongText] = Field({}, max_length=500, description="What it is, by language.")
    aliases: dict[Code, Annotated[list[Text], Field(max_length=100)]] = Field(
        {}, max_length=500, description="Other names, by language."
    )
    types: Names = Field([], description="Its types, of those that the release has.")
    statements: list[FactBody] = Field(
        [], max_length=1000, description="What links it to others; its numbers and dates."
    )

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
Most = Annotated[int, Strict(), Field(ge=1, le=10**9), BeforeValidator(whole)]


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
    count: Annotated[int, Strict(), Field(ge=1, le=100_000), BeforeValidator(whole)] = Field(
        100, description="How many of what it found."
    )
    audit: Annotated[float, Field(ge=0, le=1)] = Field(0.2, description="Share of them that is drawn at random.")
    seed: Annotated[int, Strict(), Field(ge=0, le=2**31), BeforeValidator(whole)] = Field(0, description="Of the draw.")


class VerdictBody(Closed):
    """What somebody says of a proposal."""

    verdict: Literal["accept", "reject", "unsure"] = Field(description="Whether the proposal is right.")
    reason: str = Field("", max_length=2000, description="Why.")
    reviewer: str = Field("", max_length=200, description="Who says so; the source of what goes into the next ingest.")
