"""Keys, scopes and limits; what is counted; and processes that share the work."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kgservice.cli import cli
from kgservice.engine import Engine
from kgservice.errors import InputError, MissingDependency
from kgservice.release import ReleaseStore
from kgservice.server import openapi
from kgservice.server.access import WINDOW_S, Rates, is_loopback, needed
from kgservice.server.app import create_app, open_app
from kgservice.server.logs import JsonLines
from kgservice.server.settings import ServerSettings
from kgservice.server.traces import Traces
from kgservice.store.keys import Keys, Scope, UnknownKey, verify

QUESTION = {"subject": "world:France", "relation": "world:borders", "k": 2}
PUT = {"labels": {"en": "Newport"}, "descriptions": {"en": "city in France"}}


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    opened = Keys.open(tmp_path, make=True)
    assert opened is not None
    yield opened
    opened.close()


def served(engine: Engine, home: Path, **settings: Any) -> TestClient:
    return TestClient(create_app(engine, ServerSettings(home=home, **settings)))


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


# Keys at rest


def test_a_key_is_kept_as_a_hash_alone(keys: Keys, tmp_path: Path) -> None:
    key, text = keys.add("curator", Scope.WRITE)
    held = b"".join(path.read_bytes() for path in tmp_path.glob("service.sqlite*"))
    assert text.encode() not in held
    assert text.split("_", 2)[2].encode() not in held
    assert key.hash.encode() in held
    valid = {one.id: one for one in keys.all()}
    assert verify(text, valid) == key
    for wrong in (
        text[:-1],
        text + "A",
        text.swapcase(),
        "",
        key.id,
        f"kgs_{key.id}_{'A' * 43}",
        text.replace("kgs", "xyz"),
    ):
        assert verify(wrong, valid) is None


def test_keys_are_listed_and_revoked(keys: Keys) -> None:
    first, _ = keys.add("a", Scope.READ)
    second, _ = keys.add("b", Scope.ADMIN, rate_per_minute=5)
    keys.revoke(first.id)
    listed = {key.id: key for key in keys.all()}
    assert listed[first.id].revoked is not None
    assert listed[second.id] == second
    with pytest.raises(UnknownKey, match=f"{first.id!r} is not a key that is valid here. Closest: {second.id!r}"):
        keys.revoke(first.id)
    with pytest.raises(InputError, match="a name of 1 to 200 letters, found 0"):
        keys.add("", Scope.READ)


def test_no_database_is_made_where_nobody_asked_for_a_key(tmp_path: Path) -> None:
    assert Keys.open(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_makes_lists_and_revokes(tmp_path: Path) -> None:
    runner = CliRunner(env={"KGSERVICE_HOME": str(tmp_path)})
    made = runner.invoke(cli, ["key", "add", "curator", "--scope", "write", "--rate", "60"])
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    id = text.split("_")[1]
    assert re.search(rf"{id}  write  .* curator  60/min", runner.invoke(cli, ["key", "list"]).stdout)
    assert runner.invoke(cli, ["key", "revoke", id]).stdout == f"revoked {id}\n"
    listed = runner.invoke(cli, ["key", "list"]).stdout
    assert "revoked 2" in listed
    assert text not in listed


# Who may do what


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/livez", None),
        ("GET", "/", None),
        ("GET", "/v1/search", Scope.READ),
        ("HEAD", "/v1/releases", Scope.READ),
        ("POST", "/v1/complete", Scope.READ),
        ("POST", "/sparql", Scope.READ),
        ("POST", "/sparql/update", Scope.WRITE),
        ("DELETE", "/mcp", Scope.READ),
        ("POST", "/v1/entities", Scope.WRITE),
        ("DELETE", "/v1/entities/world:France", Scope.WRITE),
        ("POST", "/v1/completeness", Scope.WRITE),
        ("PATCH", "/v1/complete", Scope.WRITE),
        ("POST", "/what/nobody/has/listed", Scope.WRITE),
        ("POST", "/v1/releases/rollback", Scope.ADMIN),
        ("GET", "/metrics", Scope.READ),
        ("GET", "/livez/../v1/search", None),  # there is no such path: paths are not resolved
    ],
)
def test_what_takes_which_scope(method: str, path: str, scope: Scope | None) -> None:
    assert needed(method, path) is scope


def test_keys_are_asked_for_as_soon_as_one_exists(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    with served(engine, tmp_path, release_poll_s=0.01) as client:
        assert client.post("/v1/complete", json=QUESTION).status_code == 200
        key, text = keys.add("reader", Scope.READ)
        until = time.monotonic() + 10
        while (refused := client.post("/v1/complete", json=QUESTION)).status_code == 200 and time.monotonic() < until:
            time.sleep(0.01)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="kgservice"'
        assert refused.json()["type"] == "/problems/key-required"
        assert client.post("/v1/complete", json=QUESTION, headers=bearer(text)).status_code == 200
        assert client.post("/v1/complete", json=QUESTION, headers={"X-API-Key": text}).status_code == 200
        for path in ("/livez", "/readyz", "/", "/openapi.json", "/problems/key-required"):
            assert client.get(path).status_code == 200
        wrong = client.post("/v1/complete", json=QUESTION, headers=bearer(text[:-1] + "_"))
        assert (wrong.status_code, wrong.json()["type"]) == (401, "/problems/invalid-key")
        assert text not in wrong.text
        small = client.put("/v1/entities/world:Newport", json=PUT, headers=bearer(text))
        assert (small.status_code, small.json()["type"]) == (403, "/problems/scope-too-small")
        assert "takes a key of scope write" in small.json()["detail"]
        keys.revoke(key.id)
        _, admin = keys.add("other", Scope.ADMIN)
        while client.get("/v1/releases", headers=bearer(text)).status_code == 200 and time.monotonic() < until:
            time.sleep(0.01)
        assert client.get("/v1/releases", headers=bearer(text)).status_code == 401
        while client.get("/v1/releases", headers=bearer(admin)).status_code == 401 and time.monotonic() < until:
            time.sleep(0.01)
        assert client.get("/v1/releases", headers=bearer(admin)).status_code == 200


def test_nothing_of_a_body_is_read_before_the_key(engine: Engine, tmp_path: Path) -> None:
    """Malformed, of the wrong kind or too deep: without a key it is a 401 all the same."""
    with served(engine, tmp_path, keys="required") as client:
        for content in (b"{", b"[" * 100_000, b"\xff"):
            assert client.post("/v1/complete", content=content).status_code == 401


def test_reads_may_be_open_beside_keys(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    keys.add("writer", Scope.WRITE)
    with served(engine, tmp_path, open_reads=True) as client:
        assert client.post("/v1/complete", json=QUESTION).status_code == 200
        assert client.put("/v1/entities/world:Newport", json=PUT).status_code == 401


def test_a_server_others_can_reach_takes_no_changes_without_keys(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served(engine, tmp_path, host="0.0.0.0") as client:
        assert "listening on 0.0.0.0 without keys" in caplog.text
        assert client.post("/v1/complete", json=QUESTION).status_code == 200
        refused = client.delete("/v1/entities/world:France")
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/no-keys")
        assert "kgservice key add" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("hosts", "inside"),
    [
        (("127.0.0.1", "::1", "localhost", "127.9.9.9"), True),
        (("0.0.0.0", "::", "10.0.0.1", "example.org"), False),
    ],
)
def test_which_addresses_stay_on_this_machine(hosts: tuple[str, ...], inside: bool) -> None:
    assert [is_loopback(host) for host in hosts] == [inside] * len(hosts)


def test_the_document_says_who_may(engine: Engine) -> None:
    document = json.loads(openapi.document())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            scope = needed(method.upper(), path)
            assert bool(operation["security"]) == (scope is not None), (method, path)
            assert ("401" in operation["responses"]) == (scope is not None), (method, path)
            assert ("429" in operation["responses"]) == (scope is not None), (method, path)


# How much


@given(
    limit=st.integers(1, 600),
    gaps=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=200),
)
def test_no_window_has_more_than_twice_the_limit(limit: int, gaps: list[float]) -> None:
    """A burst of the limit, and from then on no more than the limit in a minute."""
    rates, now, granted = Rates(), 0.0, []
    for gap in gaps:
        now += gap
        allowance = rates.take("a", limit, now)
        assert 0 <= allowance.remaining <= limit
        if allowance.wait_s == 0:
            granted.append(now)
        else:  # the wait that is told is enough
            assert Rates.take(_copy(rates), "a", limit, now + allowance.wait_s + 1e-6).wait_s == 0
    for start in granted:
        assert sum(start <= one < start + WINDOW_S for one in granted) <= 2 * limit


def _copy(rates: Rates) -> Rates:
    copied = Rates()
    copied._paid = dict(rates._paid)
    return copied


def test_limits_are_told_and_held(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    _, text = keys.add("slow", Scope.READ, rate_per_minute=3)
    _, other = keys.add("fast", Scope.READ)
    with served(engine, tmp_path, rate_per_minute=100) as client:
        left = []
        for _ in range(3):
            answer = client.get("/v1/releases", headers=bearer(text))
            assert answer.status_code == 200
            left.append((answer.headers["RateLimit-Limit"], answer.headers["RateLimit-Remaining"]))
        assert left == [("3", "2"), ("3", "1"), ("3", "0")]
        refused = client.get("/v1/releases", headers=bearer(text))
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
        assert refused.headers["RateLimit-Policy"] == "3;w=60"
        assert client.get("/v1/releases", headers=bearer(other)).headers["RateLimit-Remaining"] == "99"
        assert client.get("/livez").headers.get("RateLimit-Limit") is None


def test_clients_without_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgservice.server.access.CLIENTS", 10)
    rates = Rates()
    for client in range(1000):
        rates.take(str(client), 60, client * 0.001)
        assert len(rates._paid) <= 11


# What is counted, traced and logged


def test_metrics_count_by_route_and_hold_nothing_that_was_asked(engine: Engine, tmp_path: Path) -> None:
    with served(engine, tmp_path) as client:
        client.post("/v1/complete", json=QUESTION)
        client.get("/v1/entities/world:France")
        client.get("/v1/search?q=secretquery")
        client.get("/nowhere/secretpath")
        client.request("BREW", "/v1/search")
        until = time.monotonic() + 10
        while "kgservice_canary_recall 1.0" not in (text := client.get("/metrics").text) and time.monotonic() < until:
            time.sleep(0.05)
        counts = text
    for line in (
        'kgservice_request_seconds_count{method="POST",route="/v1/complete",status="200"} 1.0',
        'kgservice_request_seconds_count{method="GET",route="/v1/entities/{id:path}",status="200"} 1.0',
        'kgservice_request_seconds_count{method="GET",route="-",status="404"} 1.0',
        "kgservice_batch_questions_count 1.0",
        f'kgservice_release_info{{release="{engine.release.id}"}} 1.0',
        "kgservice_canary_recall 1.0",
        'kgservice_stage_seconds_count{stage="wait"}',
        'kgservice_stage_seconds_count{stage="answer"}',
    ):
        assert line in counts, line
    assert 'method="BREW"' not in counts
    for secret in ("secret", "France"):
        assert secret not in counts


def test_metrics_can_be_off(engine: Engine, tmp_path: Path) -> None:
    with served(engine, tmp_path, metrics=False) as client:
        assert client.get("/metrics").status_code == 404


def test_requests_are_spans(engine: Engine, tmp_path: Path) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    with served(engine, tmp_path, traces=True) as client:
        answer = client.get("/v1/search?q=secret")
    (span,) = [one for one in spans.get_finished_spans() if one.name == "GET request"]
    assert span.attributes["request_id"] == answer.headers["X-Request-Id"]
    assert "secret" not in str(span.attributes)


def test_traces_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingDependency, match=r"pip install 'kgservice\[traces\]'"):
        Traces(True)


def test_log_lines_are_json_where_wanted(engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(engine, tmp_path) as client, caplog.at_level(logging.INFO):
        client.get("/v1/search?q=secret", headers={"X-Request-Id": "abc"})
    (record,) = [one for one in caplog.records if one.name == "kgservice.server.requests"]
    event = json.loads(JsonLines().format(record))
    assert (event["route"], event["status"], event["request_id"]) == ("/v1/search", 200, "abc")
    assert event["ms"] > 0
    assert "secret" not in json.dumps(event)


# Clients that mean no good


def test_a_slow_body_is_cut_off(release_store: ReleaseStore) -> None:
    import threading

    import uvicorn

    app = open_app(ServerSettings(home=release_store.folder.parent, body_timeout_s=0.2))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        with socket.create_connection(listening.getsockname(), timeout=10) as raw:
            head = b"POST /v1/complete HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
            raw.sendall(head + b"{")
            started = time.monotonic()
            answer = raw.recv(65536)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - started < 5
        assert httpx.get(f"http://127.0.0.1:{listening.getsockname()[1]}/livez", trust_env=False).status_code == 200
        server.should_exit = True
        thread.join(10)


def test_headers_cannot_be_injected(engine: Engine, tmp_path: Path) -> None:
    with served(engine, tmp_path) as client:
        for value in ("a\\r\\nSet-Cookie: x=1", "a b", "{{a}}", "x" * 65):
            got = client.get("/livez", headers={"X-Request-Id": value}).headers
            assert re.fullmatch(r"[0-9a-f]{32}", got["X-Request-Id"])
            assert "Set-Cookie" not in got
        assert client.get("/v1/search?q=a%0d%0aSet-Cookie:%20x=1").headers.get("Set-Cookie") is None
