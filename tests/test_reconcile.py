"""Reconciliation through the real application: what candidates, scores and features say, both versions, HTML that is data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kgservice.engine import Engine
from kgservice.reconciliation.agreement import of_names
from kgservice.reconciliation.matching import Query, match
from kgservice.reconciliation.suggesting import suggest
from kgservice.release import ReleaseStore
from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings
from tests.conformance.reconciliation import check, examples, schema

VERSIONS = ("0.2", "1.0-draft")


@pytest.fixture(scope="module")
def client(release_store: ReleaseStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Over a copy: one test puts."""
    home = tmp_path_factory.mktemp("reconcile")
    shutil.copytree(release_store.folder, home / "releases")
    with TestClient(open_app(ServerSettings(home=home))) as client:
        yield client


def reconcile(client: TestClient, **queries: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The candidates of each query of version 0.2."""
    response = client.post("/reconcile", data={"queries": json.dumps(queries)})
    assert response.status_code == 200, response.text
    return {name: one["result"] for name, one in response.json().items()}


def one(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    return reconcile(client, q0=query)["q0"]


def refused(response: httpx.Response, status: int, slug: str, detail: str) -> None:
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"/problems/{slug}"
    assert detail in response.json()["detail"]


# Candidates


def test_names_to_the_letter_are_taken_and_misspelt_ones_are_not(client: TestClient) -> None:
    found = reconcile(
        client,
        a={"query": "France", "type": "world:Country"},
        b={"query": "frãnce", "type": "world:Country"},
        c={"query": "Frnace", "type": "world:Country", "limit": 2},
        d={"query": "Frankreich", "type": "world:Country"},
        e={"query": "world:France"},
        f={"query": "xyzzy plugh qwerty"},
    )
    for name in "abde":
        first = found[name][0]
        assert (first["id"], first["score"], first["match"]) == ("world:France", 100, True), name
    assert found["c"][0]["id"] == "world:France"
    assert 70 < found["c"][0]["score"] < 100
    assert not found["c"][0]["match"]
    assert len(found["c"]) <= 2
    assert not any(candidate["match"] for candidate in found["f"])
    assert {"id": "world:Country", "name": "country"}["id"] in [type["id"] for type in found["a"][0]["type"]]


def test_candidates_are_sorted_by_scores_that_are_made_of_their_features(client: TestClient) -> None:
    query = {
        "query": "Frnce",
        "limit": 8,
        "type": "world:Country",
        "type_strict": "should",
        "properties": [{"pid": "world:capital", "v": "Paris"}, {"pid": "world:currency", "v": {"id": "world:Euro"}}],
    }
    found = one(client, **query)
    assert [candidate["score"] for candidate in found] == sorted((c["score"] for c in found), reverse=True)
    for candidate in found:
        parts = {part["id"]: part["value"] for part in candidate["features"]}
        assert list(parts) == ["name", "property:world:capital", "property:world:currency", "type"]
        mean = (
            2 * parts["name"] + parts["property:world:capital"] + parts["property:world:currency"] + parts["type"]
        ) / 5
        assert candidate["score"] == pytest.approx(100 * mean, abs=0.01)
    assert found[0]["id"] == "world:France"
    assert found[0]["score"] > 90


def test_properties_tell_namesakes_apart(client: TestClient, engine: Engine) -> None:
    country = engine.entity("world:Lyon").statements
    assert any(one.object.id == "world:France" for one in country)
    with_france = one(client, query="Lyon", properties=[{"pid": "world:country", "v": "France"}])[0]
    with_peru = one(client, query="Lyon", properties=[{"pid": "world:country", "v": {"id": "world:Peru"}}])[0]
    assert (with_france["id"], with_france["score"], with_france["match"]) == ("world:Lyon", 100, True)
    assert with_peru["score"] < 70
    assert not with_peru["match"]
    born = one(client, query="France", properties=[{"pid": "world:population", "v": "nonsense"}])[0]
    assert born["score"] == pytest.approx(200 / 3, abs=0.01)


def test_numbers_and_dates_agree_or_do_not(client: TestClient, engine: Engine) -> None:
    stated = [one for one in engine.entity("world:France", limit=1000).statements if one.object.datatype]
    for statement in stated[:5]:
        found = one(client, query="France", properties=[{"pid": statement.relation.id, "v": statement.object.label}])
        assert found[0]["score"] == 100, statement
    dates = [one for one in stated if str(one.object.datatype).endswith("date")]
    for statement in dates[:2]:
        year = str(statement.object.label)[:4]
        assert one(client, query="France", properties=[{"pid": statement.relation.id, "v": year}])[0]["score"] == 100
        assert (
            one(client, query="France", properties=[{"pid": statement.relation.id, "v": int(year)}])[0]["score"] == 100
        )


def test_types_filter_or_only_count(client: TestClient) -> None:
    assert all(
        "world:City" in [t["id"] for t in c["type"]] for c in one(client, query="Paris", type="world:City", limit=50)
    )
    both = {"query": "Paris", "type": ["world:City", "world:Country"], "limit": 50}
    assert one(client, **both, type_strict="all") == []
    assert one(client, **both, type_strict="any")
    assert one(client, query="Paris", type="world:Country", type_strict="should")[0]["id"] == "world:Paris"


def test_without_a_name_properties_find(client: TestClient) -> None:
    found = one(client, properties=[{"pid": "world:capital", "v": {"id": "world:Paris"}}])
    assert ("world:France", 100, False) in [(one["id"], one["score"], one["match"]) for one in found]
    assert {one["score"] for one in found} == {100}
    euro = one(client, properties=[{"pid": "world:currency", "v": {"id": "world:Euro"}}], limit=3)
    assert len(euro) == 3


def test_conditions_of_the_draft(client: TestClient) -> None:
    def ask(*conditions: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        response = client.post("/reconcile/draft/match", json={"queries": [{"conditions": conditions, **more}]})
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["results"][0]["candidates"]
        return found

    name = {"matchType": "name", "propertyValue": "Lyon"}
    peru = {"matchType": "property", "propertyId": "world:country", "propertyValue": "Peru"}
    assert ask(name)[0]["id"] == "world:Lyon"
    assert ask(name, peru)[0]["id"] == "world:Lyon"
    assert "world:Lyon" not in [
        one["id"] for one in ask(name, {**peru, "propertyValue": {"id": "world:Peru"}, "required": True})
    ]
    assert ask(name, {**peru, "propertyValue": {"id": "world:Peru"}, "matchQuantifier": "none"})[0]["score"] == 100
    assert ask({"matchType": "id", "propertyValue": "world:Lyon"})[0]["match"]
    currencies = {
        "matchType": "property",
        "propertyId": "world:currency",
        "propertyValue": [{"id": "world:Euro"}, {"id": "world:Nothing"}],
    }
    france = {"matchType": "name", "propertyValue": "France"}
    assert ask(france, currencies)[0]["score"] == 100
    assert ask(france, {**currencies, "matchQuantifier": "all"})[0]["score"] < 100


def test_a_batch_is_its_queries_alone(engine: Engine) -> None:
    queries = [Query("France"), Query("Frnace", types=("world:Country",)), Query("Lyon", limit=1)]
    assert match(engine, queries) == [match(engine, [query])[0] for query in queries]


@given(st.text(max_size=20), st.text(max_size=20))
def test_agreement_of_names_is_a_share(left: str, right: str) -> None:
    assert 0 <= of_names(left, right) <= 1
    assert of_names(left, left) == of_names(left, left.upper().lower()) == 1
    assert of_names(left, right) == pytest.approx(of_names(right, left))


# Suggestions, previews, values


def test_suggestions(client: TestClient, engine: Engine) -> None:
    def ids(kind: str, prefix: str, **more: Any) -> list[str]:
        found = client.get(f"/reconcile/suggest/{kind}", params={"prefix": prefix, **more}).json()["result"]
        return [one["id"] for one in found]

    assert ids("entity", "Fran")[0] == "world:France"
    assert ids("entity", "world:France")[0] == "world:France"
    assert ids("entity", "") == []
    assert ids("type", "Countr")[0] == "world:Country"
    assert ids("type", "world:Country")[0] == "world:Country"
    assert "world:Country" in ids("type", "cuontry")
    assert ids("property", "curr")[0] == "world:currency"
    whole = ids("property", "", limit=1000)
    assert len(whole) == engine.graph.r
    assert ids("property", "", limit=3, cursor=2) == whole[2:5]
    offset = client.get("/reconcile/draft/suggest/property", params={"prefix": "", "limit": 3, "offset": 2}).json()
    assert [one["id"] for one in offset["result"]] == whole[2:5]
    assert [one.id for one in suggest(engine, "entity", "a", limit=3, offset=2)] == ids("entity", "a", limit=5)[2:]


def test_labels_in_the_language_of_the_client(client: TestClient) -> None:
    headers = {"Accept-Language": "fr-FR;q=0.9, en"}
    found = client.get("/reconcile/flyout/entity?id=world:Germany", headers={"Accept-Language": "fr"}).json()
    assert "<h1>Allemagne</h1>" in found["html"]
    assert client.get("/reconcile/preview?id=world:Germany", headers=headers).status_code == 200


def test_words_of_the_graph_are_text_in_previews(client: TestClient) -> None:
    evil = "<script>alert(1)</script>\"'&"
    body = {"labels": {"en": evil}, "descriptions": {"en": evil}}
    assert client.put("/v1/entities/world:Evil", json=body).status_code == 201
    for path in ("/reconcile/preview", "/reconcile/draft/preview", "/reconcile/flyout/entity"):
        response = client.get(path, params={"id": "world:Evil"})
        html = response.json()["html"] if "flyout" in path else response.text
        assert "<script" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;" in html
    page = client.get("/reconcile/preview", params={"id": "world:Evil"})
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors *" in page.headers["content-security-policy"]
    refused(client.get("/reconcile/preview?id=world:Frnace"), 404, "unknown-entity", "'world:Frnace' is not an entity")


def test_values_of_entities(client: TestClient, engine: Engine) -> None:
    wanted = {
        "ids": ["world:France", "world:Nowhere"],
        "properties": [
            {"id": "world:capital"},
            {"id": "world:borders", "settings": {"limit": 2}},
            {"id": "world:population"},
        ],
    }
    answer = client.post("/reconcile", data={"extend": json.dumps(wanted)}).json()
    assert [one["id"] for one in answer["meta"]] == ["world:capital", "world:borders", "world:population"]
    france = answer["rows"]["world:France"]
    assert france["world:capital"] == [{"id": "world:Paris", "name": "Paris"}]
    assert len(france["world:borders"]) == 2
    stated = [
        one for one in engine.entity("world:France", limit=1000).statements if one.relation.id == "world:population"
    ]
    assert {float(next(iter(value.values()))) for value in france["world:population"]} == {
        float(one.object.label or 0) for one in stated
    }
    assert answer["rows"]["world:Nowhere"] == {"world:capital": [], "world:borders": [], "world:population": []}
    draft = client.post("/reconcile/draft/extend", json=wanted).json()
    assert draft["rows"][0]["properties"][0] == {"id": "world:capital", "values": france["world:capital"]}


def test_proposed_properties_are_those_of_the_type(client: TestClient) -> None:
    country = client.get("/reconcile/extend/propose?type=world:Country").json()
    city = client.get("/reconcile/extend/propose?type=world:City&limit=5").json()
    assert "world:capital" in [one["id"] for one in country["properties"]]
    assert country["properties"] != city["properties"]
    assert len(city["properties"]) <= 5
    refused(client.get("/reconcile/extend/propose?type=world:Cuontry"), 404, "unknown-type", "Closest: 'world:Country'")


# What does not fit


@pytest.mark.parametrize(
    ("queries", "status", "slug", "detail"),
    [
        ("nonsense", 422, "invalid-request", "queries: Invalid JSON"),
        ("[]", 422, "invalid-request", "queries: Input should be an object"),
        ('{"q": {}}', 422, "invalid-question", "query 0 has neither a name nor an id nor properties"),
        ('{"q": {"query": "a", "limit": 0}}', 422, "invalid-request", "queries.q.limit: Input should be greater"),
        ('{"q": {"query": "a", "type_strict": "maybe"}}', 422, "invalid-request", "queries.q.type_strict"),
        ('{"q": {"query": "a", "type": "world:Cuontry"}}', 404, "unknown-type", "Closest: 'world:Country'"),
        ('{"q": {"query": "a", "properties": [{"pid": "world:nope", "v": 1}]}}', 404, "unknown-relation", "is not a relation"),
        (json.dumps({"q": {"query": "x" * 600}}), 422, "invalid-question", "longer than 512 letters"),
        (json.dumps({f"q{i}": {"query": "x"} for i in range(1001)}), 422, "invalid-question", "A request may hold 1,000 queries"),
    ],
)  # fmt: skip
def test_batches_that_do_not_fit(client: TestClient, queries: str, status: int, slug: str, detail: str) -> None:
    refused(client.post("/reconcile", data={"queries": queries}), status, slug, detail)


def test_requests_that_do_not_fit(client: TestClient) -> None:
    refused(client.post("/reconcile", data={"other": "1"}), 422, "invalid-request", "Expected `queries` or `extend`")
    refused(client.post("/reconcile", json={}), 415, "unsupported-media-type", "x-www-form-urlencoded")
    refused(client.get("/reconcile?queries=%FF"), 422, "invalid-request", "cannot be read")
    assert client.get("/reconcile/suggest/nothing?prefix=a").status_code == 422
    assert client.get("/reconcile/suggest/entity").status_code == 422
    refused(client.post("/reconcile/draft/match", content="{"), 415, "unsupported-media-type", "application/json")


# The specification's own schemas and examples; more in `tests/conformance`


def test_by_get_and_by_post(client: TestClient) -> None:
    queries = json.dumps({"q0": {"query": "France"}})
    by_get = client.get("/reconcile", params={"queries": queries})
    assert by_get.content == client.post("/reconcile", data={"queries": queries}).content


@pytest.mark.parametrize("version", VERSIONS)
def test_answers_fit_the_schemas_of_the_specification(client: TestClient, mirror: Path, version: str) -> None:
    check(client, mirror, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas_can_refuse(mirror: Path, version: str) -> None:
    validator = schema(mirror, version, "reconciliation-result-batch")
    for document in examples(mirror, version, "reconciliation-result-batch", "invalid"):
        assert not validator.is_valid(document)
