"""Search over HTTP: many queries at once, and texts of any kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from kgservice.engine import Engine
from kgservice.server.app import create_app
from kgservice.server.settings import ServerSettings


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine, ServerSettings(home=Path()))) as client:
        yield client


def ids(result: dict[str, Any]) -> list[str]:
    return [match["id"] for match in result["matches"]]


def test_many_queries_are_the_single_ones_in_order(client: TestClient, engine: Engine) -> None:
    queries = ["France", "Frnace", "river", "Frankreich", "qqqqqqqq", "France"]
    many = client.post("/v1/search", json={"queries": queries, "k": 5}).json()["answers"]
    assert many == [client.get("/v1/search", params={"q": query, "k": 5}).json() for query in queries]
    assert [one.query for one in engine.search_many(queries, k=5)] == queries
    assert engine.search_many([]) == []


def test_options_hold_for_all_queries(client: TestClient) -> None:
    body = {"queries": ["Fran", "Spa"], "types": ["world:Country"], "language": "de", "mode": "lexical"}
    france, spain = client.post("/v1/search", json=body).json()["answers"]
    assert (france["matches"][0]["label"], spain["matches"][0]["label"]) == ("Frankreich", "Spanien")
    for match in france["matches"] + spain["matches"]:
        assert "world:Country" in [type["id"] for type in match["types"]]


def test_limits_of_a_body(engine: Engine) -> None:
    settings = ServerSettings(home=Path(), max_bulk=2, max_k=50, max_candidates=60)
    client = TestClient(create_app(engine, settings))
    for body, told in (
        ({"queries": ["a"] * 3}, "may hold 2 queries, this one has 3"),
        ({"queries": ["a"], "k": 51}, "k must be in [1, 50] on this server"),
        ({"queries": ["a"] * 2, "k": 31}, "2 queries with k=31 are 62"),
    ):
        response = client.post("/v1/search", json=body)
        assert response.status_code == 422
        assert told in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"queries": []}, "at least 1 item"),
        ({"queries": [""]}, "at least 1 character"),
        ({"queries": ["x" * 513]}, "at most 512 characters"),
        ({"queries": ["x"], "types": ["world:Contry"]}, "'world:Contry'"),
        ({"queries": ["x"], "mode": "loud"}, "'auto', 'lexical' or 'dense'"),
        ({"queries": "x"}, "valid list"),
        ({"queries": ["x"], "type": ["world:Country"]}, "Did you mean types?"),
    ],
)
def test_bodies_that_do_not_fit(client: TestClient, body: dict[str, Any], told: str) -> None:
    response = client.post("/v1/search", json=body)
    assert response.status_code in (404, 422)
    assert told in response.json()["detail"]


SCRIPTS = [
    "فرنسا",
    "فَرَنْسا",
    "法国",
    "フランス",
    "Франция",
    "צרפת",
    "भारत",
    "ประเทศไทย",
    "F\u0301r\u0301a\u0301n\u0301c\u0301e\u0301",
    "\u202eecnarF\u202c",
    "Fr\u200dance",
    "ＦＲＡＮＣＥ",
    "e" + "\u0301" * 400,
    "👩‍👩‍👧‍👦 🇫🇷",
    " \t\n",
    "\u0000",
    "\u2028",
    "-" * 512,
    "a " * 256,
    "日" * 512,
    "*:* AND (name:[a TO z]) OR ~2^9 \"'\\",
]


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("mode", ["auto", "lexical", "dense"])
def test_any_text_is_answered(client: TestClient, text: str, mode: str) -> None:
    one = client.get("/v1/search", params={"q": text, "mode": mode})
    many = client.post("/v1/search", json={"queries": [text], "mode": mode})
    assert (one.status_code, many.status_code) == (200, 200)
    assert one.json() == many.json()["answers"][0]
    assert one.json()["query"] == text


@pytest.mark.parametrize(
    "text", ["ＦＲＡＮＣＥ", "F\u0301r\u0301a\u0301n\u0301c\u0301e\u0301", "Fr\u200dance", "\u202aFrance\u202c"]
)
def test_spellings_that_look_alike_are_one(client: TestClient, text: str) -> None:
    assert ids(client.get("/v1/search", params={"q": text}).json())[0] == "world:France"


@pytest.mark.parametrize("letter", ["x", "é", "法", "\u0301", "\u202e", "🂡"])
def test_a_million_characters_are_too_many(client: TestClient, letter: str) -> None:
    many = client.post("/v1/search", json={"queries": [letter * 1_000_000]})
    assert many.status_code in (413, 422)
    if letter == "x":  # 1 MB: within the limit of a body, beyond that of a query
        assert "at most 512 characters" in many.json()["detail"]
        assert "x" * 1000 not in many.text
    assert client.get("/v1/search", params={"q": letter * 5_000}).status_code == 422


def test_lone_surrogates_are_refused_or_answered(client: TestClient) -> None:
    response = client.post(
        "/v1/search", content=b'{"queries": ["\\ud800 France"]}', headers={"content-type": "application/json"}
    )
    assert response.status_code in (200, 400, 422)
    assert client.get("/v1/search?q=%ED%A0%80").status_code in (200, 422)
