"""The committed OpenAPI document is the code's, describes everything, and its own examples fit it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from kgservice.release import ReleaseStore
from kgservice.resources import share
from kgservice.server import openapi
from kgservice.server.app import open_app
from kgservice.server.bodies import ClassifyBody, CompleteBody, ExplainBody
from kgservice.server.problems import KINDS
from kgservice.server.queries import SearchBody, TypesBody
from kgservice.server.reconciling import ExtendBody, MatchBody
from kgservice.server.settings import ServerSettings
from kgservice.server.submissions import EnrichmentBody, QueueBody, RecordBody, RecordsBody, VerdictBody

BODIES: dict[str, TypeAdapter[Any]] = {
    "complete": TypeAdapter(CompleteBody),
    "classify": TypeAdapter(ClassifyBody),
    "searchMany": TypeAdapter(SearchBody),
    "explainMany": TypeAdapter(ExplainBody),
    "types": TypeAdapter(TypesBody),
    "putEntity": TypeAdapter(RecordBody),
    "putEntities": TypeAdapter(RecordsBody),
    "reconcileMatch": TypeAdapter(MatchBody),
    "reconcileExtend": TypeAdapter(ExtendBody),
    "enrich": TypeAdapter(EnrichmentBody),
    "queueReviews": TypeAdapter(QueueBody),
    "review": TypeAdapter(VerdictBody),
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(openapi.document())
    return loaded


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_committed_document_is_the_codes() -> None:
    committed = (share() / "api" / "openapi.json").read_text(encoding="utf-8")
    assert committed == openapi.document(), "run: python -m kgservice.server.openapi"


CHANGES = (
    "putEntity", "putEntities", "eraseEntity", "sparqlUpdate", "activateRelease", "rollbackRelease",
    "enrich", "cancelEnrichment", "resumeEnrichment", "queueReviews", "review",
)  # fmt: skip
"""Not questions."""
OF_A_RUN = ("queueReviews", "review")
"""About what an enrichment found; answered in `test_jobs.py`."""


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    seen = set()
    for name, operation in operations(document):
        assert operation["summary"].endswith("." if operation["operationId"] in CHANGES else "?"), name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
        assert "500" in operation["responses"], name
        for status, response in operation["responses"].items():
            assert "X-Request-Id" in response["headers"], (name, status)
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (name, status)
                assert int(status) in {kind.status for kind in KINDS.values()}


def test_every_field_of_the_answers_is_named_with_its_type(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"Answer", "Answers", "Candidate", "Verdict", "SearchResult", "EntityPage", "Releases", "Problem"} <= set(
        schemas
    )
    assert not any("Validation" in name for name in schemas)
    assert set(schemas["Candidate"]["properties"]) == {
        "id", "label", "description", "score", "probability", "rank", "known", "uncertainty",
    }  # fmt: skip
    assert "calibrated" in schemas["Candidate"]["properties"]["probability"]["description"]
    for name, schema in schemas.items():
        assert "Attributes:" not in schema.get("description", ""), name


def test_bodies_are_closed(document: dict[str, Any]) -> None:
    for name in ("CompleteOne", "CompleteMany", "QuestionBody", "ClassifyOne", "ClassifyMany", "StatementBody"):
        assert document["components"]["schemas"][name]["additionalProperties"] is False


def test_examples_fit_their_schemas_and_are_answered(
    document: dict[str, Any], release_store: ReleaseStore, tmp_path: Path
) -> None:
    shutil.copytree(release_store.folder, tmp_path / "releases")  # some examples put
    with TestClient(open_app(ServerSettings(home=tmp_path))) as client:
        for name, operation in operations(document):
            if "application/json" not in operation.get("requestBody", {}).get("content", {}):
                continue  # forms and queries: their own tests send their examples
            told = operation["operationId"]
            examples = operation["requestBody"]["content"]["application/json"]["examples"]
            assert len(examples) >= 2
            for example in examples.values():
                BODIES[told].validate_python(example["value"])
                if told in OF_A_RUN:
                    continue
                method, path = name.replace("{id}", "world:Newport-on-Sea").split(" ")
                response = client.request(method, path, json=example["value"])
                assert response.status_code in (200, 201, 202), (example["value"], response.text)


def test_no_outside_address_is_named(document: dict[str, Any]) -> None:
    assert "http://" not in json.dumps(document)
    assert "https://" not in json.dumps(document)
