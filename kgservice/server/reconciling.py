"""The reconciliation protocol's shapes, of version 0.2 and of the draft of 1.0: what clients send, and what they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kgservice import __version__
from kgservice.answers import Named
from kgservice.engine import Engine
from kgservice.reconciliation.agreement import Condition, Given, Quantifier
from kgservice.reconciliation.extending import Row
from kgservice.reconciliation.matching import Candidate, Query, TypeRule
from kgservice.server.problems import RequestProblem

LIMIT = 5
"""Candidates where a query names no limit."""
WIDTH, HEIGHT = 400, 180
"""Pixels of a preview."""
BATCH = 50
"""Queries that a client is asked to send at once."""
_DEFAULT_TYPES = 20
LIMIT_HELP = "How many values at most; 0 for all."

Text = Annotated[str, Field(max_length=2048)]


class Sent(BaseModel):
    """What a client sends; members that later versions add are left."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Reconciled(Sent):
    """A cell that is reconciled already."""

    id: Text


Cell = Reconciled | bool | float | Text
Cells = Cell | Annotated[list[Cell], Field(max_length=100)]
Types = Text | Annotated[list[Text], Field(max_length=100)]


class PropertyBody(Sent):
    """Version 0.2: what a row says beside the name."""

    pid: Text
    v: Cells

    def condition(self) -> Condition:
        """As it is compared."""
        return _condition(self.pid, self.v)


class QueryBody(Sent):
    """Version 0.2: a query."""

    query: Text = ""
    type: Types = []
    type_strict: TypeRule = "any"
    limit: Annotated[int, Field(ge=1, le=1000)] = LIMIT
    properties: Annotated[list[PropertyBody], Field(max_length=100)] = []

    def asked(self) -> Query:
        """As it is matched."""
        types = (self.type,) if isinstance(self.type, str) else tuple(self.type)
        conditions = tuple(one.condition() for one in self.properties)
        return Query(self.query, "", types, self.type_strict, conditions, self.limit)


class ConditionBody(Sent):
    """The draft: one condition of a query."""

    matchType: Literal["name", "id", "property"]
    propertyId: Text | None = None
    propertyValue: Cells
    required: bool = False
    matchQuantifier: Quantifier = "any"


class MatchQueryBody(Sent):
    """The draft: a query."""

    conditions: Annotated[list[ConditionBody], Field(min_length=1, max_length=100)]
    type: Text | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = LIMIT

    def asked(self) -> Query:
        """As it is matched; the first name and the first id count."""

        def first(kind: str) -> str:
            values = [text for one in self.conditions if one.matchType == kind for text in _texts(one.propertyValue)]
            return values[0] if values else ""

        conditions = tuple(
            _condition(one.propertyId or "", one.propertyValue, one.required, one.matchQuantifier)
            for one in self.conditions
            if one.matchType == "property"
        )
        return Query(first("name"), first("id"), (self.type,) if self.type else (), "any", conditions, self.limit)


class MatchBody(Sent):
    """The draft: a batch of queries."""

    queries: list[MatchQueryBody]


class Settings(Sent):
    """How a property's values are fetched."""

    limit: Annotated[int, Field(ge=0)] = 0


class WantedBody(Sent):
    """A property whose values are fetched."""

    id: Text
    settings: Settings = Settings()


class ExtendBody(Sent):
    """Which entities' values of which properties are fetched, in both versions."""

    ids: list[Text]
    properties: Annotated[list[WantedBody], Field(max_length=100)]

    def wanted(self) -> list[tuple[str, int]]:
        """Relations, each with how many values at most."""
        return [(one.id, one.settings.limit) for one in self.properties]


QUERIES: TypeAdapter[dict[str, QueryBody]] = TypeAdapter(dict[str, QueryBody])
EXTEND: TypeAdapter[ExtendBody] = TypeAdapter(ExtendBody)


def read(adapter: TypeAdapter[Any], text: str, name: str) -> Any:
    """A JSON document that came as a parameter.

    Raises:
        RequestProblem: it is no JSON, or not of the form that the protocol gives it.
    """
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (name, *first["loc"]))
        raise RequestProblem("invalid-request", f"{where[:200]}: {first['msg']}.") from None


def manifest(base: str, engine: Engine, language: str) -> dict[str, Any]:
    """Version 0.2's description of the service at `base`."""
    here = f"{base}/reconcile"

    def suggested(kind: str) -> dict[str, str]:
        return {
            "service_url": here,
            "service_path": f"/suggest/{kind}",
            "flyout_service_url": here,
            "flyout_service_path": f"/flyout/{kind}?id=${{id}}",
        }

    return {
        "versions": ["0.2"],
        "name": _title(engine),
        "identifierSpace": f"{base}/v1/entities/",
        "schemaSpace": "urn:kgservice:",
        "serviceVersion": __version__,
        "defaultTypes": _default_types(engine, language),
        "view": {"url": f"{base}/v1/entities/{{{{id}}}}"},
        "preview": {"url": f"{here}/preview?id={{{{id}}}}", "width": WIDTH, "height": HEIGHT},
        "suggest": {kind: suggested(kind) for kind in ("entity", "type", "property")},
        "extend": {
            "propose_properties": {"service_url": here, "service_path": "/extend/propose"},
            "property_settings": [
                {"name": "limit", "label": "Limit", "type": "number", "default": 0, "help_text": LIMIT_HELP}
            ],
        },
        "batchSize": BATCH,
    }


def draft_manifest(base: str, engine: Engine, language: str) -> dict[str, Any]:
    """The draft's description; the parts of the service lie where the draft says."""
    return {
        "versions": ["1.0-draft"],
        "name": _title(engine),
        "serviceVersion": __version__,
        "defaultTypes": _default_types(engine, language),
        "view": {"url": f"{base}/v1/entities/{{id}}"},
        "preview": {"width": WIDTH, "height": HEIGHT},
        "suggest": {"entity": True, "type": True, "property": True},
        "extend": {
            "proposeProperties": True,
            "propertySettings": [
                {"id": "limit", "name": "Limit", "type": "number", "default": 0, "helpText": LIMIT_HELP}
            ],
        },
        "standardizedScore": True,
    }


def candidates(found: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Candidates as both versions show them."""
    return [
        {
            "id": one.id,
            "name": one.name,
            **({"description": one.description} if one.description else {}),
            "type": [named(type) for type in one.types],
            "score": one.score,
            "match": one.match,
            "features": [{"id": part.id, "name": part.name, "value": part.value} for part in one.features],
        }
        for one in found
    ]


def named(one: Named) -> dict[str, str]:
    """An id and a name, and a description where there is one."""
    described = {"description": one.description} if one.description else {}
    return {"id": one.id, "name": one.label or one.id, **described}


def extended(rows: Sequence[tuple[str, Row]], meta: Sequence[Named]) -> dict[str, Any]:
    """Values as version 0.2 shows them."""
    return {"meta": [named(one) for one in meta], "rows": dict(rows)}


def draft_extended(rows: Sequence[tuple[str, Row]], meta: Sequence[Named]) -> dict[str, Any]:
    """Values as the draft shows them."""
    return {
        "meta": [named(one) for one in meta],
        "rows": [
            {"id": id, "properties": [{"id": name, "values": values} for name, values in row.items()]}
            for id, row in rows
        ],
    }


def _condition(relation: str, cells: Any, required: bool = False, quantifier: Quantifier = "any") -> Condition:
    listed = cells if isinstance(cells, list) else [cells]
    values: tuple[Given, ...] = tuple(one.id if isinstance(one, Reconciled) else _shown(one) for one in listed)
    return Condition(relation, values, tuple(isinstance(one, Reconciled) for one in listed), required, quantifier)


def _shown(value: bool | float | str) -> Given:
    """1999.0 is what a table shows as 1999."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _texts(cells: Any) -> list[str]:
    return [str(value) for value in _condition("", cells).values]


def _title(engine: Engine) -> str:
    recipe: Mapping[str, Any] = engine.release.manifest.get("recipe", {})
    return f"kgservice: {recipe.get('description') or recipe.get('name') or engine.release.id}"


def _default_types(engine: Engine, language: str) -> list[dict[str, str]]:
    """The types of the most entities."""
    lengths = engine.graph.types.members.lengths if len(engine.graph.types) else ()
    best = sorted(range(len(lengths)), key=lambda type: -lengths[type])[:_DEFAULT_TYPES]
    names = [engine.types.short(engine.graph.types.vocabulary.name(type)) for type in best]
    labels = engine.graph.types.texts.labels(best, language)
    return [{"id": id, "name": label or id} for id, label in zip(names, labels, strict=True)]
