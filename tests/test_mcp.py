"""The official client's sessions with the tools, over HTTP against a real server and over stdio against the command."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import orjson
import pytest
from mcp import Client, StdioServerParameters
from starlette.testclient import TestClient

from kgservice.answers import Question, Statement
from kgservice.engine import Engine
from kgservice.release import ReleaseStore
from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings
from tests.serving import serving

ROOT = Path(__file__).resolve().parent.parent
TOOLS = {"search", "get", "complete", "classify", "explain", "sparql"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def home(release_store: ReleaseStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("mcp")
    shutil.copytree(release_store.folder, home / "releases")
    return home


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with serving(home) as address:
        yield f"{address}/mcp"


def plain(answer: Any) -> Any:
    return orjson.loads(orjson.dumps(answer))


async def walk(client: Client, engine: Engine) -> None:
    """A session as an agent has it: find, read, predict, judge, query, and go wrong."""
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(listed) >= TOOLS
    for tool in listed.values():
        assert tool.description
        assert tool.output_schema
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
    assert "kg:complete" in (client.instructions or "")

    async def call(name: str, **arguments: Any) -> Any:
        result = await client.call_tool(name, arguments)
        assert not result.is_error, result.content
        return result.structured_content

    async def wrong(name: str, **arguments: Any) -> str:
        result = await client.call_tool(name, arguments)
        assert result.is_error
        return str(result.content[0].text)  # type: ignore[union-attr]

    found = await call("search", query="jermany", k=2)
    assert found["matches"][0]["id"] == "world:Germany"
    page = await call("get", id="world:France", limit=5)
    assert page == plain(engine.entity("world:France", limit=5))
    answer = await call("complete", subject="world:France", relation="world:borders", k=3)
    expected = engine.complete([Question("world:France", "world:borders")], k=3)[0]
    assert [one["id"] for one in answer["candidates"]] == [one.id for one in expected.candidates]
    assert [one["label"] for one in answer["candidates"]] == [one.label for one in expected.candidates]
    assert all(0 <= one["probability"] <= 1 for one in answer["candidates"])
    qualified = {"relation": "world:startTime", "value": "1960"}
    then = await call("complete", subject="world:France", relation="world:currency", qualifiers=[qualified], k=1)
    assert then["qualifiers"][0]["value"]["label"].startswith("1960")
    verdict = await call("classify", subject="world:France", relation="world:borders", object="world:Spain")
    assert verdict["known"] is engine.classify([Statement("world:France", "world:borders", "world:Spain")])[0].known
    why = await call("explain", subject="world:France", relation="world:borders", object="world:Spain", k=2)
    assert why["verdict"]["object"]["id"] == "world:Spain"
    assert why["sentence"]
    assert 0 < len(why["paths"]) <= 2
    table = await call("sparql", query="SELECT ?c WHERE { ?c world:capital world:Lima }")
    assert table == {"columns": ["c"], "rows": [["https://kgservice.example/world/Peru"]], "truth": None, "graph": None}
    assert (await call("sparql", query="ASK { world:Peru a world:Country }"))["truth"] is True
    assert "world:Lima" in (await call("sparql", query="CONSTRUCT WHERE { world:Peru world:capital ?o }"))["graph"]

    assert "'world:Frnace' is not an entity" in await wrong("get", id="world:Frnace")
    assert "Closest: 'world:France'" in await wrong("complete", subject="world:Frnace", relation="world:borders")
    assert "exactly one of subject, relation, object" in await wrong("complete", subject="world:France")
    assert "less than or equal to 100" in await wrong("search", query="a", k=101)
    assert "expected" in await wrong("sparql", query="SELECT")
    assert "no other address is asked" in await wrong("sparql", query="SELECT * { SERVICE <http://a/> { ?s ?p ?o } }")
    assert "1,000 are given at most. Add a LIMIT" in await wrong("sparql", query="SELECT * { ?s ?p ?o } LIMIT 1001")


def test_a_session_over_http(address: str, engine: Engine) -> None:
    async def session() -> None:
        async with Client(address) as client:
            await walk(client, engine)

    anyio.run(session)


def test_a_session_over_stdio(home: Path, engine: Engine) -> None:
    environment = {**os.environ, "KGSERVICE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = StdioServerParameters(command=sys.executable, args=["-m", "kgservice", "mcp"], env=environment)

    async def session() -> None:
        async with Client(command) as client:
            await walk(client, engine)

    anyio.run(session)


def test_web_pages_from_elsewhere_are_refused(address: str) -> None:
    assert httpx.post(address, json=INITIALIZE, headers=HEADERS).status_code == 200
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        response = httpx.post(address, json=INITIALIZE, headers={**HEADERS, **headers})
        assert response.status_code in (403, 421), response.text


def test_making_an_application_leaves_logging_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    open_app(ServerSettings(home=home))
    assert (root.handlers, root.level) == ([], level)


def test_bodies_have_a_limit(home: Path) -> None:
    settings = ServerSettings(home=home, max_body_bytes=2000)
    with TestClient(open_app(settings), base_url="http://localhost:8000") as client:
        assert client.post("/mcp", json=INITIALIZE, headers=HEADERS).status_code == 200
        assert client.post("/mcp", json={**INITIALIZE, "padding": "x" * 3000}, headers=HEADERS).status_code == 413
