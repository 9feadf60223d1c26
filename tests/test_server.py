"""The real application over a real release: answers, refusals, limits, and releases that change under way."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from starlette.testclient import TestClient

from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.errors import CorruptRelease, RecipeError
from kgservice.release import ReleaseStore
from kgservice.server import problems
from kgservice.server.app import create_app, open_app
from kgservice.server.holder import EngineHolder
from kgservice.server.settings import ELSEWHERE, PREFIX, ServerSettings

ROOT = Path(__file__).resolve().parent.parent
FRANCE_BORDERS = {"subject": "world:France", "relation": "world:borders"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client(release_store: ReleaseStore) -> Iterator[TestClient]:
    with TestClient(open_app(ServerSettings(home=release_store.folder.parent))) as client:
        yield client


@pytest.fixture
def own_store(release_store: ReleaseStore, tmp_path: Path) -> ReleaseStore:
    """A store of one's own that holds a copy of the current release."""
    current = release_store.get()
    shutil.copytree(current.folder, tmp_path / "releases" / current.id)
    store = ReleaseStore(tmp_path / "releases")
    store.activate(current.id)
    return store


def sibling(store: ReleaseStore, note: str) -> str:
    """Another release with the same content and another id."""
    current = store.get()

    def fill(folder: Path) -> None:
        shutil.copytree(current.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("release.json"))

    details = {name: current.manifest[name] for name in ("recipe", "graph", "models")}
    return store.write(fill, {**details, "note": note}).id


def app_over(store: ReleaseStore, **settings: Any) -> TestClient:
    return TestClient(open_app(ServerSettings(home=store.folder.parent, release_poll_s=0.05, **settings)))


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.025)
    pytest.fail("it did not happen within 10 s")


# Answers


def test_complete_gives_the_engines_answer(client: TestClient, engine: Engine) -> None:
    got = client.post("/v1/complete", json={**FRANCE_BORDERS, "k": 5, "language": "fr"}).json()
    expected = engine.complete([Question("world:France", "world:borders")], k=5, language="fr")[0]
    assert got == orjson.loads(orjson.dumps(expected))
    assert [one["rank"] for one in got["candidates"]] == [1, 2, 3, 4, 5]
    assert not any(one["known"] for one in got["candidates"])


@pytest.mark.parametrize("missing", ["subject", "relation", "object"])
def test_every_part_may_be_missing(client: TestClient, missing: str) -> None:
    body: dict[str, Any] = {**FRANCE_BORDERS, "object": "world:Spain", "exclude_known": False, "k": 1000}
    wanted = {"subject": "world:France", "relation": "world:borders", "object": "world:Spain"}[missing]
    del body[missing]
    answer = client.post("/v1/complete", json=body).json()
    assert answer[missing] is None
    assert {one["id"]: one["known"] for one in answer["candidates"]}[wanted]


def test_bulk_is_the_single_answers_in_order(client: TestClient) -> None:
    questions = [
        FRANCE_BORDERS,
        {"subject": "world:Peru", "object": "world:Chile"},
        {"subject": "world:Peru", "relation": "world:currency"},
    ]
    answers = client.post("/v1/complete", json={"questions": questions, "k": 3}).json()["answers"]
    single = [client.post("/v1/complete", json={**question, "k": 3}).json() for question in questions]
    assert [ids_of(answer) for answer in answers] == [ids_of(answer) for answer in single]
    assert [answer["subject"]["id"] for answer in answers] == ["world:France", "world:Peru", "world:Peru"]


def test_questions_at_the_same_time_share_batches_and_keep_their_answers(client: TestClient) -> None:
    known = ("France", "Spain", "Peru", "Chile", "Japan", "Kenya", "Ghana", "Norway")
    names = [f"world:{name}" for name in known] + ["world:Nowhere"]

    def ask(name: str) -> tuple[str, Any]:
        response = client.post("/v1/complete", json={"subject": name, "relation": "world:borders"})
        return (name, response.json()["subject"]["id"]) if response.status_code == 200 else (name, response.status_code)

    with ThreadPoolExecutor(16) as pool:
        for name, got in pool.map(ask, names * 20):
            assert got == (404 if name == "world:Nowhere" else name)


def ids_of(answer: dict[str, Any]) -> list[str]:
    return [one["id"] for one in answer["candidates"]]


def test_types_restrict_candidates(client: TestClient, engine: Engine) -> None:
    name = engine.types.short(engine.graph.types.vocabulary.name(0))
    answer = client.post("/v1/complete", json={**FRANCE_BORDERS, "types": [name], "k": 5}).json()
    for id in ids_of(answer):
        page = client.get(f"/v1/entities/{id}").json()
        assert name in [type["id"] for type in page["types"]]


def test_classify_one_and_many(client: TestClient) -> None:
    statement = {**FRANCE_BORDERS, "object": "world:Spain"}
    one = client.post("/v1/classify", json=statement).json()
    assert one["known"] is True
    assert one["object"]["id"] == "world:Spain"
    many = client.post("/v1/classify", json={"statements": [statement, {**statement, "object": "world:Peru"}]}).json()
    assert [verdict["object"]["id"] for verdict in many["verdicts"]] == ["world:Spain", "world:Peru"]
    assert many["verdicts"][0]["score"] == pytest.approx(one["score"], rel=1e-4)


def test_search_forgives_typos_and_filters_types(client: TestClient) -> None:
    found = client.get("/v1/search", params={"q": "Frnace", "k": 3}).json()
    assert "world:France" in [match["id"] for match in found["matches"]]
    type = found["matches"][0]["types"][0]["id"]
    assert client.get("/v1/search", params=[("q", "Peru"), ("type", type), ("type", type)]).status_code == 200


def test_entities_answer_to_iri_curie_and_id(client: TestClient) -> None:
    by_curie = client.get("/v1/entities/world:France", params={"limit": 3}).json()
    by_iri = client.get("/v1/entities/" + by_curie["iri"].replace(":", "%3A").replace("/", "%2F"), params={"limit": 3})
    assert by_iri.json() == by_curie
    assert client.get("/v1/entities/" + by_curie["iri"], params={"limit": 3}).json() == by_curie
    assert len(by_curie["statements"]) == 3 < by_curie["statement_count"]


def test_no_number_is_nan(client: TestClient) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    body = {"subject": "world:France", "relation": "world:borders", "k": 1000, "exclude_known": False}
    answer = json.loads(client.post("/v1/complete", json=body).text, parse_constant=refuse)
    assert all(isinstance(one["score"], float) for one in answer["candidates"])


def test_what_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/v1/entities/world:France")
    again = client.get("/v1/entities/world:France", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_releases_show_models_and_figures(client: TestClient, release_store: ReleaseStore) -> None:
    current = release_store.get()
    listed = client.get("/v1/releases").json()
    assert listed["current"] == listed["serving"] == current.id
    one = client.get(f"/v1/releases/{current.id[:6]}").json()
    assert one in listed["releases"]
    assert one["models"][0]["test"] == current.manifest["models"][one["models"][0]["name"]]["test"]
    assert one["counts"]["entities"] == current.graph.n


def test_report_is_html_that_runs_nothing(client: TestClient) -> None:
    response = client.get("/v1/report")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src" not in response.headers["Content-Security-Policy"]
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_index_lists_endpoints_and_names_no_other_host(client: TestClient) -> None:
    page = client.get("/api").text
    assert "POST /v1/complete" in page
    assert page.count("<pre>") == 3
    assert "http" not in page.replace("http://localhost:8000", "")


@pytest.mark.parametrize("slug", problems.KINDS)
def test_every_problem_type_has_a_page(client: TestClient, slug: str) -> None:
    assert problems.KINDS[slug].advice.split("`")[0].split("&")[0][:10] in client.get(f"/problems/{slug}").text


def test_health(client: TestClient, release_store: ReleaseStore) -> None:
    assert client.get("/livez").json()["status"] == "alive"
    assert client.get("/readyz").json() == {"status": "ready", "release": f"{release_store.current_id()}@0"}


# Refusals


def refused(response: httpx.Response, status: int, slug: str, detail: str) -> dict[str, Any]:
    """Check a problem's shape and return it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"/problems/{slug}"
    assert problem["title"] == problems.KINDS[slug].title
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["X-Request-Id"]
    assert detail in problem["detail"]
    return problem


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"subject": "world:France",\n "relation": }', "line 2, column 14"),
        (b'{"k": NaN}', "line 1, column 7"),
        (b'{"subject": "\\ud800"}', "surrogate"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 100_000, "depth limit"),
        (b'{"k": 1} {}', "after document"),
    ],
)
def test_malformed_json(client: TestClient, body: bytes, detail: str) -> None:
    for path in ("/v1/complete", "/v1/classify"):
        refused(client.post(path, content=body, headers=JSON), 400, "malformed-json", detail)


@pytest.mark.parametrize(
    ("body", "field", "message", "closest"),
    [
        ({**FRANCE_BORDERS, "k": 0}, "body.k", "greater than or equal to 1 (found 0)", []),
        ({**FRANCE_BORDERS, "k": 1001}, "body.k", "less than or equal to 1000 (found 1001)", []),
        ({**FRANCE_BORDERS, "k": "7"}, "body.k", "valid integer (found '7')", []),
        ({**FRANCE_BORDERS, "exclude_known": 1}, "body.exclude_known", "valid boolean", []),
        ({**FRANCE_BORDERS, "language": "e n"}, "body.language", "pattern", []),
        (
            {"subject": "world:France", "relaton": "x"},
            "body",
            "'relaton' is not a field here. Did you mean relation?",
            ["relation"],
        ),
        ({"questions": [{"subjct": "x"}]}, "body.questions[0]", "Did you mean subject?", ["subject"]),
        ({"questions": []}, "body.questions", "at least 1 item", []),
        ({"questions": [3]}, "body.questions[0]", "expected an object", []),
        ([FRANCE_BORDERS], "body", "expected an object", []),
        ({"subject": "x" * 3000, "relation": "world:borders"}, "body.subject", "at most 2048 characters", []),
        ({"subject": "", "relation": "world:borders"}, "body.subject", "at least 1 character", []),
        ({"subject": {"{msg}": 1}, "{hint}": 1}, "body", "'{hint}' is not a field here", []),
        ({"subject": {"lable": "x"}, "relation": "world:borders"}, "body.subject", "Did you mean label?", ["label"]),
        (
            {"subject": {"label": "x" * 3000}, "relation": "world:borders"},
            "body.subject.label",
            "at most 2048 characters",
            [],
        ),
        ({"subject": 3, "relation": "world:borders"}, "body.subject", "valid string", []),
    ],
)
def test_bodies_that_do_not_fit(client: TestClient, body: Any, field: str, message: str, closest: list[str]) -> None:
    problem = refused(client.post("/v1/complete", json=body), 422, "invalid-request", message)
    assert problem["errors"][0]["field"] == field
    assert problem["errors"][0]["closest"] == closest


def test_an_empty_body(client: TestClient) -> None:
    refused(client.post("/v1/complete", headers=JSON), 422, "invalid-request", "body: Field required.")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (
            {**FRANCE_BORDERS, "object": "world:Spain"},
            "exactly one of subject, relation, object and the values of qualifiers must be missing; none is",
        ),
        ({"subject": "world:France"}, "relation and object are"),
        ({"subject": "world:France", "object": "world:Spain", "types": ["world:Country"]}, "takes none"),
    ],
)
def test_questions_without_meaning(client: TestClient, body: Any, detail: str) -> None:
    refused(client.post("/v1/complete", json=body), 422, "invalid-question", detail)
    refused(
        client.post("/v1/complete", json={"questions": [FRANCE_BORDERS, {"subject": "world:France"}]}),
        422,
        "invalid-question",
        "are",
    )


def test_unknown_names_come_with_the_closest(client: TestClient, engine: Engine) -> None:
    problem = refused(
        client.post("/v1/complete", json={**FRANCE_BORDERS, "subject": "world:Frnce"}),
        404,
        "unknown-entity",
        "'world:Frnce' is not an entity in release",
    )
    assert "world:France" in problem["closest"]
    assert f"({engine.graph.n:,} entities)" in problem["detail"]
    problem = refused(
        client.post("/v1/complete", json={**FRANCE_BORDERS, "relation": "world:border"}),
        404,
        "unknown-relation",
        "'world:border'",
    )
    assert problem["closest"][0] == "world:borders"
    problem = refused(
        client.post("/v1/complete", json={**FRANCE_BORDERS, "model": "compex"}), 404, "unknown-model", "'compex'"
    )
    assert problem["closest"][0] == "complex"
    refused(client.get("/v1/search", params={"q": "x", "type": "world:Contry"}), 404, "unknown-type", "'world:Contry'")
    refused(client.get("/v1/entities/world:Frnce"), 404, "unknown-entity", "Closest: ")
    refused(client.get("/v1/releases/000000000000"), 404, "unknown-release", "is not a release on this server")
    statements = [{**FRANCE_BORDERS, "object": "world:Span"}]
    refused(client.post("/v1/classify", json={"statements": statements}), 404, "unknown-entity", "'world:Span'")


@pytest.mark.parametrize("type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
def test_wrong_content_type(client: TestClient, type: str) -> None:
    response = client.post("/v1/complete", content=b"{}", headers={"Content-Type": type})
    refused(
        response, 415, "unsupported-media-type", "Expected Content-Type: application/json, application/x-ndjson, found"
    )
    assert response.headers["Accept-Post"] == "application/json, application/x-ndjson"


def test_content_type_with_a_charset_is_json(client: TestClient) -> None:
    body = json.dumps(FRANCE_BORDERS).encode()
    assert (
        client.post(
            "/v1/complete", content=body, headers={"Content-Type": "Application/JSON; charset=utf-8"}
        ).status_code
        == 200
    )


def test_bodies_too_large(client: TestClient) -> None:
    limit = "longer than 1,048,576 bytes"
    announced = client.post("/v1/complete", content=b" " * (2 << 20), headers=JSON)
    refused(announced, 413, "body-too-large", limit)
    chunked = client.post("/v1/complete", content=(b" " * 10_000 for _ in range(200)), headers=JSON)
    assert "content-length" not in chunked.request.headers
    refused(chunked, 413, "body-too-large", limit)


def test_limits_of_the_operator(engine: Engine) -> None:
    settings = ServerSettings(home=Path(), max_bulk=2, max_k=50, max_candidates=60, max_statements=5)
    client = TestClient(create_app(engine, settings))
    ask = lambda **body: client.post("/v1/complete", json=body)  # noqa: E731
    refused(ask(questions=[FRANCE_BORDERS] * 3), 422, "invalid-question", "may hold 2 questions, this one has 3")
    refused(ask(**FRANCE_BORDERS, k=51), 422, "invalid-question", "k must be in [1, 50] on this server, found 51")
    refused(ask(questions=[FRANCE_BORDERS] * 2, k=31), 422, "invalid-question", "2 questions with k=31 are 62")
    refused(client.get("/v1/search?q=x&k=51"), 422, "invalid-question", "k must be in [1, 50]")
    refused(client.get("/v1/entities/world:France?limit=6"), 422, "invalid-question", "limit must be at most 5")
    refused(
        client.post("/v1/classify", json={"statements": [{**FRANCE_BORDERS, "object": "world:Peru"}] * 3}),
        422,
        "invalid-question",
        "may hold 2 statements",
    )


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("", "query.q", "Field required"),
        ("q=x&k=0", "query.k", "greater than or equal to 1"),
        ("q=x&mode=loud", "query.mode", "'auto', 'lexical' or 'dense'"),
        ("q=x&langage=de", "query", "Did you mean language?"),
        (f"q={'x' * 513}", "query.q", "at most 512 characters"),
    ],
)
def test_queries_that_do_not_fit(client: TestClient, query: str, field: str, message: str) -> None:
    problem = refused(client.get(f"/v1/search?{query}"), 422, "invalid-request", message)
    assert problem["errors"][0]["field"] == field


def test_paths_and_methods(client: TestClient) -> None:
    refused(client.get("/v2/complete"), 404, "not-found", "nothing at this path")
    refused(client.get("/v1/complete/"), 404, "not-found", "nothing at this path")
    response = client.get("/v1/complete")
    refused(response, 405, "method-not-allowed", "GET is not allowed here; POST is.")
    assert response.headers["Allow"] == "POST"
    assert client.delete("/v1/search").headers["Allow"] == "GET, HEAD"
    head = client.head("/v1/releases")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) > 100


NASTY = [
    "\u0000",
    "../../../etc/passwd",
    "%2e%2e%2f",
    "world:Fr\u0000ance",
    "\r\nSet-Cookie: a=b",
    "x" * 20_000,
    "🂡" * 500,
    " ",
    "<",
    "<>",
    ":",
    "::",
    "%ED%A0%80",
    "%ff",
    "wd:",
    "\u202e",
]


@pytest.mark.parametrize("name", NASTY)
def test_nothing_nasty_breaks_the_server(client: TestClient, name: str) -> None:
    with contextlib.suppress(httpx.InvalidURL):
        for path in ("/v1/entities/", "/v1/releases/", "/problems/", "/"):
            response = client.get(
                path + name if "%" in name else path + httpx.URL("/").copy_with(path="/" + name).raw_path.decode()[1:]
            )
            assert response.status_code < 500
            assert "set-cookie" not in response.headers
    for body in (
        {**FRANCE_BORDERS, "subject": name},
        {**FRANCE_BORDERS, "types": [name]},
        {**FRANCE_BORDERS, "model": name},
        {name: 1},
    ):
        response = client.post("/v1/complete", json=body)
        assert 400 <= response.status_code < 500, body
    assert client.get("/v1/search", params={"q": name}).status_code in (200, 422)


def test_request_ids_are_kept_if_they_are_harmless(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "abc-1.2_3"}).headers["X-Request-Id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, "é".encode("latin-1"), "a;b"):
        assert len(client.get("/livez", headers={"X-Request-Id": bad}).headers["X-Request-Id"]) == 32


def test_log_lines_hold_no_query_text(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kgservice.server.requests"):
        response = client.get("/v1/search", params={"q": "Marie Curie"})
        client.get("/v1/entities/world:France")
    lines = [record.getMessage() for record in caplog.records if record.name == "kgservice.server.requests"]
    assert lines[0].startswith("GET /v1/search 200 ")
    assert lines[0].endswith(" ms " + response.headers["X-Request-Id"])
    assert lines[1].startswith("GET /v1/entities/{id:path} 200 ")
    assert "Curie" not in caplog.text.replace("q=Marie", "") or all("Curie" not in line for line in lines)


def test_unexpected_errors_tell_the_log_and_not_the_client(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(engine, "search", explode)
    client = TestClient(create_app(engine, ServerSettings(home=Path())))
    problem = refused(client.get("/v1/search?q=x"), 500, "internal-error", "Something went wrong")
    assert "secret" not in json.dumps(problem)
    assert "ZeroDivisionError: secret" in caplog.text
    assert problem["request_id"] in caplog.text


def test_unreadable_files_are_a_503_without_their_path(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise CorruptRelease("/somewhere/weights.safetensors is missing")

    monkeypatch.setattr(engine, "complete_written", fail)
    client = TestClient(create_app(engine, ServerSettings(home=Path())))
    problem = refused(client.post("/v1/complete", json=FRANCE_BORDERS), 503, "unavailable", "cannot be read")
    assert "weights" not in problem["detail"]
    assert "/somewhere/weights.safetensors is missing" in caplog.text


def test_too_many_waiting_are_told_to_come_later(engine: Engine) -> None:
    settings = ServerSettings(home=Path(), threads=1, max_waiting=1)
    slow, entered = threading.Event(), threading.Event()

    class Slow:
        release, release_name, revision = engine.release, engine.release_name, engine.revision

        def search(self, *_: Any, **__: Any) -> Any:
            entered.set()
            slow.wait(10)
            return engine.search("France", k=1)

    holder = EngineHolder.of(engine)
    holder._engine = Slow()  # type: ignore[assignment]
    with TestClient(create_app(holder, settings)) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.get, "/v1/search?q=a")
        assert entered.wait(10)
        second = pool.submit(client.get, "/v1/search?q=b")
        wait_for(lambda: client.app.state.service.workers._limiter.statistics().tasks_waiting == 1)  # type: ignore[attr-defined]
        third = client.get("/v1/search?q=c")
        refused(third, 503, "overloaded", "1 requests are waiting already")
        assert third.headers["Retry-After"] == "1"
        slow.set()
        assert first.result().status_code == second.result().status_code == 200


def test_not_ready_within_the_limit(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(engine, "complete", lambda *_, **__: answered.wait(10))
    client = TestClient(create_app(engine, ServerSettings(home=Path(), ready_timeout_s=0.05)))
    refused(client.get("/readyz"), 503, "not-ready", "not answered within 0.05 s")
    answered.set()


def test_headers_and_browsers(engine: Engine) -> None:
    client = TestClient(create_app(engine, ServerSettings(home=Path(), cors_origins=("https://app.example",))))
    response = client.get("/livez", headers={"Origin": "https://app.example"})
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "server" not in response.headers
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    assert client.options("/v1/complete", headers=preflight).status_code == 200
    assert "Access-Control-Allow-Origin" not in client.get("/livez", headers={"Origin": "https://evil.example"}).headers


def test_any_origin_may_reconcile_where_the_operator_says_so(engine: Engine) -> None:
    """What the reconciliation specification wants of every address."""
    page = {"Origin": "https://refine.example"}
    client = TestClient(create_app(engine, ServerSettings.load({"KGSERVICE_CORS_ORIGINS": "*"})))
    for path in (
        "/reconcile",
        "/reconcile/draft",
        "/reconcile/suggest/type?prefix=c",
        "/reconcile/preview?id=world:France",
    ):
        response = client.get(path, headers=page)
        assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (200, "*"), path
        assert "Access-Control-Allow-Credentials" not in response.headers
    asks = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    assert client.options("/reconcile/draft/match", headers=asks).status_code == 200


def test_docs_can_be_off(engine: Engine) -> None:
    client = TestClient(create_app(engine, ServerSettings(home=Path(), docs=False)))
    assert client.get("/api").status_code == client.get("/openapi.json").status_code == 404
    assert client.get("/livez").status_code == 200


# Releases that change


def test_no_release_then_one(release_store: ReleaseStore, tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases")
    with app_over(store) as client:
        refused(client.get("/readyz"), 503, "no-release", "kgservice demo --no-serve")
        refused(client.post("/v1/complete", json=FRANCE_BORDERS), 503, "no-release", "No release is open")
        assert client.get("/v1/releases").json() == {"current": None, "serving": None, "releases": []}
        assert client.get("/livez").status_code == 200
        current = release_store.get()
        shutil.copytree(current.folder, store.folder / current.id)
        store.activate(current.id)
        wait_for(lambda: client.get("/readyz").status_code == 200)


def test_swap_under_requests(own_store: ReleaseStore) -> None:
    first = own_store.current_id()
    second = sibling(own_store, "second")
    with app_over(own_store) as client:
        stop = threading.Event()

        def ask() -> list[str]:
            seen = []
            while not stop.is_set():
                response = client.post("/v1/complete", json={**FRANCE_BORDERS, "k": 3})
                assert response.status_code == 200
                seen.append(response.json()["release"])
            return seen

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                own_store.activate(second)
                wait_for(lambda: client.get("/v1/releases").json()["serving"] == second)
                time.sleep(0.1)
            finally:
                stop.set()
        for seen in (one.result() for one in asking):
            assert seen == sorted(seen, key=[f"{first}@0", f"{second}@0"].index)
            assert seen[-1] == f"{second}@0"
        own_store.rollback()
        wait_for(lambda: client.get("/v1/releases").json()["serving"] == first)


def test_a_corrupted_release_is_refused_and_the_old_one_serves_on(
    own_store: ReleaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = own_store.current_id(), sibling(own_store, "bad")
    own_store.activate(second)
    own_store.activate(str(first))
    weights = next((own_store.folder / second).glob("models/*/weights.safetensors"))
    sound = weights.read_bytes()
    weights.unlink()  # may be linked to the first one's
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with app_over(own_store) as client:
        (own_store.folder / "CURRENT").write_text(second + "\n", encoding="ascii")
        wait_for(lambda: "is refused" in caplog.text)
        assert f"release {second} is refused, {first} serves on: CorruptRelease: {weights} has sha256" in caplog.text
        listed = client.get("/v1/releases").json()
        assert (listed["current"], listed["serving"]) == (second, first)
        assert client.get("/readyz").json()["release"] == f"{first}@0"
        weights.write_bytes(sound)  # mended, and said again
        own_store.activate(second)
        wait_for(lambda: client.get("/v1/releases").json()["serving"] == second)


def test_a_pinned_release_stays(own_store: ReleaseStore) -> None:
    first, second = own_store.current_id(), sibling(own_store, "other")
    with app_over(own_store, release=first) as client:
        own_store.activate(second)
        time.sleep(0.3)
        assert client.get("/v1/releases").json()["serving"] == first


def test_a_manifest_that_is_not_json_is_listed_as_a_problem(own_store: ReleaseStore) -> None:
    second = sibling(own_store, "broken")
    (own_store.folder / second / "release.json").write_text("{")
    with app_over(own_store) as client:
        problem = client.get(f"/v1/releases/{second}").json()["problem"]
        assert problem == "The manifest cannot be read."
        assert len(client.get("/v1/releases").json()["releases"]) == 2


# A real socket


@pytest.fixture
def address(release_store: ReleaseStore) -> Iterator[tuple[str, int]]:
    app = open_app(ServerSettings(home=release_store.folder.parent, max_body_bytes=1000))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, server_header=False, access_log=False))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_for(lambda: server.started)
        yield listening.getsockname()
        server.should_exit = True
        thread.join(10)


def test_over_a_socket(address: tuple[str, int]) -> None:
    host, port = address
    with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False) as client:
        response = client.post("/v1/complete", json={**FRANCE_BORDERS, "k": 2})
        assert len(response.json()["candidates"]) == 2
        assert "server" not in response.headers
        assert client.get("/v1/entities/https%3A%2F%2Fnowhere.example%2Fa%2Fb").status_code == 404
        head = client.head("/v1/releases")
        assert (head.status_code, head.content) == (200, b"")
        assert client.get("/livez").status_code == 200  # on the same connection: no byte of the HEAD is left over
        chunked = client.post("/v1/complete", content=(b" " * 100 for _ in range(50)), headers=JSON)
        refused(chunked, 413, "body-too-large", "longer than 1,000 bytes")


def test_raw_bytes_over_a_socket(address: tuple[str, int]) -> None:
    for path in (
        b"/v1/entities/%00",
        b"/v1/entities/%ED%A0%80",
        b"/v1/entities/..%2f..%2f",
        b"/v1/entities/%0d%0aX:%20y",
    ):
        with socket.create_connection(address, timeout=10) as raw:
            raw.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda raw=raw: raw.recv(65536), b""))  # type: ignore[misc]
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"\r\nX: y" not in answer


# Settings


def test_settings_come_from_the_environment() -> None:
    environ = {
        "KGSERVICE_PORT": "9000",
        "KGSERVICE_CORS_ORIGINS": "https://a.example, https://b.example",
        "KGSERVICE_DOCS": "off",
        "KGSERVICE_RELEASE": "",
        "KGSERVICE_DATA_MIRROR": "elsewhere",
        "PATH": "/bin",
    }
    settings = ServerSettings.load(environ, port=None, host="0.0.0.0")
    assert (settings.port, settings.host, settings.docs, settings.release) == (9000, "0.0.0.0", False, None)
    assert settings.shown()["cors_origins"] == "https://a.example, https://b.example"
    assert set(settings.shown()) == set(ServerSettings.model_fields)
    assert all(field.description for field in ServerSettings.model_fields.values())


def test_variables_of_other_commands_are_no_mistake_of_a_server() -> None:
    """Whoever has a key for names in the environment can still serve."""
    named: set[str] = set()
    for path in (ROOT / "kgservice").rglob("*.py"):
        named |= set(re.findall(r"\bKGSERVICE(?:_[A-Z]+)+\b", path.read_text(encoding="utf-8")))
    assert named >= {"KGSERVICE_NAMES_KEY", "KGSERVICE_CAPTION_KEY", "KGSERVICE_HOME"}
    assert named - set(ELSEWHERE) <= {PREFIX + name.upper() for name in ServerSettings.model_fields}
    assert ServerSettings.load(dict.fromkeys(ELSEWHERE, "x")) == ServerSettings.load({})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"KGSERVICE_PROT": "1"}, r"KGSERVICE_PROT is not a setting\. Did you mean KGSERVICE_PORT\?"),
        ({"KGSERVICE_port": "1"}, r"Did you mean KGSERVICE_PORT\?"),
        ({"KGSERVICE_QQQQQQQ": "1"}, r"Known: KGSERVICE_HOST, "),
        ({"KGSERVICE_MAX_K": "5000"}, r"KGSERVICE_MAX_K: .* less than or equal to 1000 \(found '5000'\)"),
        ({"KGSERVICE_LOG_LEVEL": "loud"}, r"KGSERVICE_LOG_LEVEL: Input should be 'debug'"),
    ],
)
def test_settings_that_are_wrong(environ: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        ServerSettings.load(environ)


def test_problems_document_every_attribute() -> None:
    for cls in (problems.Problem, problems.FieldError):
        for field in dataclasses.fields(cls):
            assert f"{field.name}: " in (cls.__doc__ or "")
