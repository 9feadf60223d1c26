"""The reconciliation specification's schemas and examples, read from its archive, and answers held against them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.protocols import Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7
from starlette.testclient import TestClient

from tests.conformance.suites import read_archive

ARCHIVE = "conformance/reconciliation-specs.tar.xz"


@lru_cache(maxsize=1)
def files(mirror: Path) -> dict[str, bytes]:
    """The archive, read once."""
    return {name.removeprefix("./"): data for name, data in read_archive(mirror / ARCHIVE).items()}


def schema(mirror: Path, version: str, name: str) -> Validator:
    """A schema of a version, with those it refers to beside it."""
    held = files(mirror)
    folder = f"{version}/schemas/"
    documents = {path.removeprefix(folder): json.loads(data) for path, data in held.items() if path.startswith(folder)}
    resources = []
    for path, document in documents.items():
        resource: Resource[Any] = Resource.from_contents(document, default_specification=DRAFT7)
        base = documents[f"{name}.json"].get("$id", "").rpartition("/")[0]
        resources += [(path, resource), (f"{base}/{path}", resource)]
        if "$id" in document:
            resources.append((document["$id"], resource))
    return Draft7Validator(documents[f"{name}.json"], registry=Registry().with_resources(resources))


def examples(mirror: Path, version: str, name: str, kind: str = "valid") -> list[Any]:
    """The specification's examples of a message."""
    folder = f"{version}/examples/{name}/{kind}/"
    return [json.loads(data) for path, data in sorted(files(mirror).items()) if path.startswith(folder)]


def check(client: TestClient, mirror: Path, version: str) -> None:
    """Fail unless what is sent to this service and what it answers fit the schemas of a version."""
    draft = version == "1.0-draft"
    base = "/reconcile/draft" if draft else "/reconcile"
    schema(mirror, version, "manifest").validate(client.get(base).json())
    property = {"pid": "world:country", "v": ["France", {"id": "world:Peru"}, 3]}
    if draft:
        name = {"matchType": "name", "propertyValue": "Lyno"}
        more = {
            "matchType": "property",
            "propertyId": "world:country",
            "propertyValue": property["v"],
            "required": False,
        }
        batch: Any = {
            "queries": [{"conditions": [name]}, {"type": "world:City", "limit": 3, "conditions": [name, more]}]
        }
        found = client.post(f"{base}/match", json=batch).json()
    else:
        batch = {
            "q0": {"query": "Lyno"},
            "q1": {"query": "Lyno", "type": "world:City", "limit": 3, "properties": [property]},
        }
        found = client.post(base, data={"queries": json.dumps(batch)}).json()
    schema(mirror, version, "reconciliation-query-batch").validate(batch)
    schema(mirror, version, "reconciliation-result-batch").validate(found)
    for kind, message in (("entity", "entities"), ("type", "types"), ("property", "properties")):
        suggested = client.get(f"{base}/suggest/{kind}", params={"prefix": "c"}).json()
        assert suggested["result"]
        schema(mirror, version, f"suggest-{message}-response").validate(suggested)
    wanted = {
        "ids": ["world:France", "world:Nowhere"],
        "properties": [{"id": "world:capital"}, {"id": "world:population"}],
    }
    schema(mirror, version, "data-extension-query").validate(wanted)
    values = (
        client.post(f"{base}/extend", json=wanted) if draft else client.post(base, data={"extend": json.dumps(wanted)})
    ).json()
    schema(mirror, version, "data-extension-response").validate(values)
    proposed = client.get(f"{base}/extend/propose", params={"type": "world:Country", "limit": 5}).json()
    schema(mirror, version, "data-extension-property-proposal").validate(proposed)
    for batch in examples(mirror, version, "reconciliation-query-batch"):
        # Types and properties of other services: refused by name, never a server's fault.
        response = (
            client.post(f"{base}/match", json=batch)
            if draft
            else client.post(base, data={"queries": json.dumps(batch)})
        )
        assert response.status_code in (200, 404), response.text
    for batch in examples(mirror, version, "reconciliation-query-batch", "invalid"):
        response = (
            client.post(f"{base}/match", json=batch)
            if draft
            else client.post(base, data={"queries": json.dumps(batch)})
        )
        assert response.status_code < 500, response.text
