"""How the OpenAPI document speaks of answers, problems and the fields of dataclasses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from kgservice.server.problems import KINDS, MEDIA_TYPE, Problem

DESCRIPTION = """\
Completion, classification and search over a knowledge graph.

A *question* is a statement with one part left out; the answer ranks what may fill it. Entities, relations and types
are named by IRI, CURIE (`world:France`) or plain id. Every answer names the release that gave it. A `score` orders
candidates within one answer; a `probability` is calibrated on held-out data and speaks of the `population` beside it.
Errors are `application/problem+json` (RFC 9457).
"""
TAGS = [
    {"name": "questions", "description": "Missing links, and whether links are true."},
    {"name": "entities", "description": "Finding entities and reading what is stated of them."},
    {"name": "reconciliation", "description": "Tables against the graph, as OpenRefine asks."},
    {"name": "sparql", "description": "The graph as RDF, and predictions within queries."},
    {"name": "releases", "description": "What is served, and how good it is."},
    {"name": "health", "description": "For orchestrators."},
]


def responses(model: Any, description: str, *slugs: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its answer, and the problems it may meet."""
    by_status: dict[int, list[str]] = {}
    for slug in (*slugs, "internal-error"):
        by_status.setdefault(KINDS[slug].status, []).append(slug)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": "; ".join(KINDS[slug].title for slug in kinds), "content": content}
        for status, kinds in sorted(by_status.items())
    }
    return {200: {"model": model, "description": description}, **found}


def finish(document: dict[str, Any]) -> dict[str, Any]:
    """Add what FastAPI cannot know: the problem schema, headers, and docstrings as descriptions of fields."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    problem = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    for schema in schemas.values():
        _describe(schema)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operation in _operations(document):
        if "HTTPValidationError" in str(operation["responses"].get("422")):  # FastAPI's guess; a path part cannot fail
            del operation["responses"]["422"]
        for response in operation["responses"].values():
            headers = {"X-Request-Id": {"schema": {"type": "string"}, "description": "Also in the server's log."}}
            response["headers"] = {**response.get("headers", {}), **headers}
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _describe(schema: dict[str, Any]) -> None:
    """Move the `Attributes:` of a docstring to the properties, so that the dataclass is their one home."""
    text, _, attributes = schema.get("description", "").partition("Attributes:")
    if text.strip():
        schema["description"] = " ".join(text.split())
    entries = re.split(r"\n\s*(?=[a-z_]+(?:, [a-z_]+)*: )", "\n" + attributes)
    for entry in filter(str.strip, entries):
        names, _, meaning = entry.partition(":")
        for name in names.split(","):
            if name.strip() in schema.get("properties", {}):
                schema["properties"][name.strip()].setdefault("description", " ".join(meaning.split()))
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
