"""How the OpenAPI document speaks of answers, problems and the fields of dataclasses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from kgservice.server.access import RATE_HEADERS, needed
from kgservice.server.json_routes import OTHER_FORMS
from kgservice.server.lines import ARROW, NDJSON
from kgservice.server.problems import KINDS, MEDIA_TYPE, Problem
from kgservice.store.keys import Scope

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
    {"name": "enrichment", "description": "What a whole graph lacks, or holds wrongly, as jobs."},
    {"name": "reviews", "description": "What people say of what was proposed."},
    {"name": "health", "description": "For orchestrators and monitors."},
]

BODY = ("malformed-json", "body-too-large", "unsupported-media-type", "invalid-request", "invalid-question")
"""What may be wrong with a body."""
BUSY = ("overloaded", "no-release", "unavailable")
"""Why nothing answers."""

SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a token of the issuer that the server believes.",
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same in a header of its own.",
    },
}


def responses(model: Any, description: str, *slugs: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its answer, and the problems it may meet."""
    return {200: {"model": model, "description": description}, **problem_responses([*slugs, "internal-error"])}


def problem_responses(slugs: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may meet, by status."""
    by_status: dict[int, list[str]] = {}
    for slug in slugs:
        by_status.setdefault(KINDS[slug].status, []).append(slug)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": "; ".join(KINDS[slug].title for slug in kinds), "content": content}
        for status, kinds in sorted(by_status.items())
    }


def finish(document: dict[str, Any]) -> dict[str, Any]:
    """Add what FastAPI cannot know: the problem schema, headers, and docstrings as descriptions of fields."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    problem = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    for schema in schemas.values():
        _describe(schema)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = SCHEMES
    for path, method, operation in _operations(document):
        _guard(operation, method, path)
        if operation["operationId"] in OTHER_FORMS:
            _other_forms(operation)
        if "HTTPValidationError" in str(operation["responses"].get("422")):  # FastAPI's guess; a path part cannot fail
            del operation["responses"]["422"]
        for response in operation["responses"].values():
            headers = {"X-Request-Id": {"schema": {"type": "string"}, "description": "Also in the server's log."}}
            response["headers"] = {**response.get("headers", {}), **headers}
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method.upper(), operation


def _other_forms(operation: dict[str, Any]) -> None:
    """Say that questions may come, and answers go, as lines or as a table."""
    operation["description"] += (
        f"\n\nQuestions may also come as `{NDJSON}`, each line what would be the body of a single request, and each line of the "
        f"answer its answer or the problem that it met. Many answers go out as lines with `Accept: {NDJSON}`, and as an Arrow "
        f"IPC stream with `Accept: {ARROW}`."
    )
    operation["requestBody"]["content"][NDJSON] = {"schema": {"type": "string"}}
    operation["responses"]["200"]["content"] |= {
        NDJSON: {"schema": {"type": "string"}},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }


def _guard(operation: dict[str, Any], method: str, path: str) -> None:
    """Say which scope an operation takes, and how it is refused."""
    scope = needed(method, path)
    if scope is None:
        operation["security"] = []
        return
    operation["security"] = [{"bearer": []}, {"header": []}]
    operation["description"] = (
        f"{operation.get('description', '').rstrip()}\n\nScope, where keys are asked for: `{scope}`."
    )
    refusals = ["key-required", "invalid-key", "scope-too-small", "too-many-requests", "no-issuer"]
    if scope is not Scope.READ:
        refusals.append("no-keys")
    if "requestBody" in operation:
        refusals.append("body-too-slow")
    for status, response in problem_responses(refusals).items():
        held = operation["responses"].get(str(status))
        if held:
            response = {**held, "description": f"{held['description']}; {response['description']}"}
        operation["responses"][str(status)] = response
    headers = {name: {"schema": {"type": "string"}, "description": "Where there is a limit."} for name in RATE_HEADERS}
    refused = operation["responses"]["429"]
    refused["headers"] = {**headers, "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}


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
