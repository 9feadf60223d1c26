"""Filters, counts and pages of search, in Python and over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kgservice.answers.cursors import Cursor
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion, UnknownEntity, UnknownRelation
from kgservice.server.app import create_app
from kgservice.server.settings import ServerSettings

TOWN1 = "ex:livesIn=ex:town1"


@pytest.fixture(scope="module")
def engine(family_engine: Engine) -> Engine:
    return family_engine


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine, ServerSettings(home=Path()))) as client:
        yield client


def get(client: TestClient, *pairs: tuple[str, Any], status: int = 200, **query: Any) -> dict[str, Any]:
    response = client.get("/v1/search", params=[*pairs, *query.items()])
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


def ids(result: dict[str, Any]) -> list[str]:
    return [match["id"] for match in result["matches"]]


def test_filters_are_statements_that_matches_have(client: TestClient, engine: Engine) -> None:
    found = get(client, q="child", k=100, filter=TOWN1)
    assert sorted(ids(found)) == sorted(f"ex:child{house}" for house in range(30) if house % 3 == 1)
    pairs = ("filter", TOWN1), ("filter", "ex:parent=<https://example.org/mother4>")
    assert ids(get(client, *pairs, q="child")) == ["ex:child4"]
    assert ids(get(client, ("filter", TOWN1), ("filter", "ex:livesIn=ex:town2"), q="child")) == []
    assert "ex:child3" not in ids(get(client, q="ex:child3", k=100, filter=TOWN1))
    assert [one.id for one in engine.search("child", filters=[("ex:parent", "ex:mother4")]).matches] == ["ex:child4"]


def test_filters_in_a_body_hold_for_every_query(client: TestClient) -> None:
    body = {"queries": ["child", "mother"], "filters": [{"relation": "ex:livesIn", "object": "ex:town1"}], "k": 100}
    for found, role in zip(client.post("/v1/search", json=body).json()["answers"], ("child", "mother"), strict=True):
        assert sorted(ids(found)[:10]) == sorted(f"ex:{role}{house}" for house in range(1, 30, 3))


def test_names_in_filters_come_with_the_closest(client: TestClient, engine: Engine) -> None:
    assert "ex:livesIn" in get(client, q="child", filter="ex:livesOn=ex:town1", status=404)["closest"]
    assert "ex:town1" in get(client, q="child", filter="ex:livesIn=ex:twon1", status=404)["closest"]
    assert "RELATION=OBJECT" in get(client, q="child", filter="ex:livesIn", status=422)["detail"]
    with pytest.raises(UnknownRelation):
        engine.search("child", filters=["=x"])
    with pytest.raises(UnknownEntity):
        engine.search("child", filters=["ex:livesIn=a=b"])


def test_facets_count_types_and_objects(client: TestClient) -> None:
    found = get(client, ("facet", "ex:livesIn"), q="child", k=3, facets=True)
    types, towns = found["facets"]
    assert len(found["matches"]) == 3
    assert types["relation"] is None
    assert {"id": "ex:Person", "label": None, "count": 30} in types["values"]
    assert (towns["relation"]["id"], towns["relation"]["label"]) == ("ex:livesIn", "lives in")
    assert {(one["id"], one["label"], one["count"]) for one in towns["values"]} >= {("ex:town1", "Town 1", 10)}
    assert types["among"] == towns["among"] >= 30
    assert get(client, q="child")["facets"] is None
    assert get(client, q="qqqqqqq", facets=True)["facets"] == [{"relation": None, "among": 0, "values": []}]
    body = {"queries": ["child", "town"], "facets": True, "k": 1}
    assert client.post("/v1/search", json=body).json()["answers"][1]["facets"][0]["values"][0]["id"] == "ex:Town"


def test_highlights_are_parts_of_names_and_descriptions(client: TestClient) -> None:
    found = get(client, q="chil", highlight=True, k=1)["matches"][0]
    name, about = found["highlights"]["matched"], found["highlights"]["description"]
    assert name[0] == {"text": found["matched"][:4], "marked": True}
    assert about[:2] == [{"text": "chil", "marked": True}, {"text": "d" + found["description"][5:], "marked": False}]
    assert get(client, q="chil", k=1)["matches"][0]["highlights"] is None
    body = {"queries": ["chil"], "highlight": True, "k": 1}
    assert client.post("/v1/search", json=body).json()["answers"][0]["matches"] == [found]


def test_what_is_not_there_is_told(client: TestClient) -> None:
    for query in ("Child 3", "chil", "Stadt 1", "mothr 12"):
        found = get(client, q=query)
        assert (found["nil"], found["reason"]) == (False, None)
    nothing, guesses = get(client, q="qqqqqqqqq"), get(client, q="house of cards")
    assert (nothing["nil"], nothing["reason"], nothing["matches"]) == (True, "nothing matches", [])
    assert guesses["nil"]
    assert guesses["matches"]
    assert guesses["reason"].startswith("the matches are guesses")
    behind = get(client, q="Child 3", k=1, cursor=get(client, q="Child 3", k=1)["next"])
    assert behind["nil"] is False


@pytest.mark.parametrize("k", [1, 7, 30])
@pytest.mark.parametrize("query", ["child", "child 1", "1", "mothr", "house"])
def test_pages_go_on_without_gap_or_repetition(client: TestClient, query: str, k: int) -> None:
    page = get(client, q=query, k=k)
    seen, pages = ids(page), 1
    while page["next"]:
        page = get(client, q=query, k=k, cursor=page["next"])
        seen += ids(page)
        pages += 1
        assert pages < 200
    assert len(seen) == len(set(seen))
    assert set(seen) >= set(ids(get(client, q=query, k=1000)))
    # Pages may be of another length behind the first.
    first = get(client, q=query, k=k)
    if first["next"]:
        assert ids(first) + ids(get(client, q=query, k=1000, cursor=first["next"])) == seen


def test_a_cursor_is_of_one_question_and_release(client: TestClient, engine: Engine) -> None:
    cursor = get(client, q="child", k=3)["next"]
    for change in ({"q": "mother"}, {"filter": TOWN1}, {"language": "de"}, {"mode": "lexical"}, {"type": "ex:Person"}):
        problem = get(client, **{"q": "child", "k": 3, "cursor": cursor, **change}, status=422)
        assert "another question" in problem["detail"]
    question = ["child", [], [], "en", "auto"]
    outdated = Cursor(3, 3).write("0123456789ab@0", question)
    assert "is of release 0123456789ab@0" in get(client, q="child", k=3, cursor=outdated, status=422)["detail"]
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps([*parts[:2], 900, parts[3]]).encode()).decode()
    assert "another question" in get(client, q="child", k=3, cursor=forged, status=422)["detail"]
    with pytest.raises(InvalidQuestion, match="not a cursor"):
        engine.search("child", cursor="nonsense")


@given(st.text(max_size=600))
def test_no_text_but_a_cursor_is_one(text: str) -> None:
    with pytest.raises(InvalidQuestion):
        Cursor.read(text, "release@0", ["a"])


@given(st.integers(1, 1000), st.integers(0, 1000), st.text(max_size=50))
def test_a_cursor_is_read_as_written(first: int, more: int, query: str) -> None:
    cursor = Cursor(first, first + more)
    assert Cursor.read(cursor.write("a@1", [query]), "a@1", [query]) == cursor
    with pytest.raises(InvalidQuestion, match="another question"):
        Cursor.read(cursor.write("a@1", [query]), "a@1", [query + "x"])
