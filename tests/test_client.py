"""The Python client over a real socket, sync and async: the engine's answers and errors, retries, bulk."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from kgservice.answers import Answer, Pair, Question, Statement
from kgservice.answers.records import EntityRecord
from kgservice.client import AsyncClient, Client, Patience, Refused, Unreachable
from kgservice.engine import Engine
from kgservice.errors import DataError, Erased, InvalidQuestion, KGServiceError, UnknownEntity, UnknownModel
from kgservice.release import ReleaseStore
from kgservice.store.keys import Keys, Scope
from tests.serving import serving
from tools import unasync

ROOT = Path(__file__).resolve().parent.parent
MCP = {"Accept": "application/json, text/event-stream"}
QUESTION = Question("world:France", "world:borders")


@pytest.fixture(scope="module")
def address(release_store: ReleaseStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Over a copy: some tests put and erase."""
    home = tmp_path_factory.mktemp("client")
    shutil.copytree(release_store.folder, home / "releases")
    with serving(home) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def ids_of(answer: Answer) -> list[str]:
    return [one.id for one in answer.candidates]


def test_answers_are_the_engines(client: Client, engine: Engine) -> None:
    qualified = Question("world:France", "world:currency", qualifiers=(Pair("world:startTime", "1960"),))
    for question in (QUESTION, qualified, Question("world:Czechoslovakia", "world:population")):
        assert client.complete(question, k=3) == engine.complete([question], k=3)[0], question
    statement = Statement("world:France", "world:borders", "world:Spain")
    assert client.classify(statement) == engine.classify([statement])[0]
    found = client.search("jermany", k=3, types=["world:Country"], filters=[("world:borders", "world:France")])
    assert found == engine.search("jermany", k=3, types=["world:Country"], filters=["world:borders=world:France"])
    assert found == client.search("jermany", k=3, types=["world:Country"], filters=["world:borders=world:France"])
    asked = Question(relation="world:currency", object="world:Euro")
    pairs, texts = ([("world:memberOf", "world:European_Union")], ["world:memberOf=world:European_Union"])
    assert client.complete(asked, filters=pairs) == client.complete(asked, filters=texts)
    assert client.entity("world:Croatia", limit=1000) == engine.entity("world:Croatia")
    assert client.similar_to("world:France", k=2) == engine.similar_to("world:France", k=2)
    assert list(client.types_of(["world:Lyon"], types=["world:City"])) == engine.types_of(
        ["world:Lyon"], types=["world:City"]
    )
    assert client.releases().serving == engine.release.id
    assert client.explain(statement, k=2) == engine.explain([statement], k=2)[0]


def test_bulk_is_the_single_answers_in_order(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgservice.client.calls._BULK", 2)
    questions = [Question(f"world:{name}", "world:borders") for name in ("France", "Peru", "Kenya", "Norway", "Chile")]
    many = list(client.complete_many(questions, k=2))
    assert [ids_of(one) for one in many] == [ids_of(client.complete(one, k=2)) for one in questions]
    assert len({one.subject for one in many}) == 5
    statements = [Statement("world:France", "world:borders", f"world:{name}") for name in ("Spain", "Peru", "Italy")]
    verdicts = list(client.classify_many(statements))
    assert [(one.object, one.decision, one.known) for one in verdicts] == [
        (one.object, one.decision, one.known) for one in map(client.classify, statements)
    ]
    queries = ["France", "Peru", "jermany"]
    found = list(client.search_many(queries, k=1))
    assert [one.matches[0].id for one in found] == ["world:France", "world:Peru", "world:Germany"]
    assert list(client.complete_many([])) == []


def test_lines_spoil_no_others(client: Client, address: str) -> None:
    questions = [
        Question("world:France", "world:borders"),
        Question("world:Frnace", "world:borders"),
        Question("world:Peru"),
    ]
    good, unknown, invalid = client.complete_each(questions, k=2)
    assert isinstance(good, Answer)
    assert ids_of(good) == ids_of(client.complete(questions[0], k=2))
    assert isinstance(unknown, UnknownEntity)
    assert "world:France" in unknown.closest
    assert isinstance(invalid, InvalidQuestion)

    async def ask() -> list[Answer | KGServiceError]:
        async with AsyncClient(address) as service:
            return [one async for one in service.complete_each(questions, k=2)]

    assert [type(one) for one in anyio.run(ask)] == [Answer, UnknownEntity, InvalidQuestion]


def test_matches_go_on_page_after_page(client: Client) -> None:
    ids = [match.id for match, _ in zip(client.matches("new", k=4), range(10), strict=False)]
    assert ids == [match.id for match in client.search("new", k=10).matches]


def test_the_asynchronous_client_answers_the_same(address: str, client: Client) -> None:
    questions = [Question(f"world:{name}", "world:borders") for name in ("France", "Peru", "Kenya")]

    async def ask() -> None:
        async with AsyncClient(address) as service:
            assert ids_of(await service.complete(QUESTION, k=3)) == ids_of(client.complete(QUESTION, k=3))
            many = [one async for one in service.complete_many(questions)]
            assert many == list(client.complete_many(questions))
            assert (await service.search("jermany")).matches[0].id == "world:Germany"
            ids = [one.id async for one in service.matches("Springfield", k=2)]
            assert len(ids) == len(set(ids))
            with pytest.raises(UnknownEntity, match="'world:Frnace' is not an entity"):
                await service.entity("world:Frnace")

    anyio.run(ask)


def test_the_client_that_waits_is_the_one_that_is_awaited() -> None:
    assert unasync.waiting(unasync.SOURCE.read_text("utf-8")) == unasync.TARGET.read_text("utf-8"), (
        "run `python tools/unasync.py`"
    )


def test_errors_are_the_engines(client: Client) -> None:
    with pytest.raises(UnknownEntity, match="'world:Frnace' is not an entity in release") as unknown:
        client.complete(Question("world:Frnace", "world:borders"))
    assert "world:France" in unknown.value.closest
    with pytest.raises(UnknownModel, match="'complx' is not a model"):
        client.complete(QUESTION, model="complx")
    with pytest.raises(InvalidQuestion, match="exactly one of subject, relation, object"):
        client.complete(Question("world:France"))
    with pytest.raises(Refused, match="longer than 1,048,576 bytes") as refused:
        client.complete(Question("x" * 2_000_000, "world:borders"))
    assert (refused.value.status, refused.value.slug) == (413, "body-too-large")
    assert refused.value.request_id


def test_what_is_put_is_known_until_it_is_erased(client: Client) -> None:
    record = EntityRecord("world:Newport/on Sea?".replace(" ", "-"), labels=(("en", "Newport-on-Sea"),))
    assert client.put(record).created == 1
    assert client.entity(record.id).label == "Newport-on-Sea"
    assert client.put_many([record, record.named("world:Oldport")]).created == 1
    client.erase(record.id)
    with pytest.raises(UnknownEntity, match="Newport"):
        client.entity(record.id)
    with pytest.raises(Erased, match="erased"):
        client.put(record)


def answering(*responses: httpx.Response) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """A service that answers so, one after the other, and what it was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return responses[len(asked) - 1]

    return httpx.MockTransport(answer), asked


def busy(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"type": "/problems/overloaded", "detail": "Too many wait."})


def test_a_busy_service_is_asked_again_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    done = httpx.Response(200, json={"current": "a", "serving": "a", "releases": []})
    transport, asked = answering(busy(503, **{"retry-after": "2"}), busy(429), done)
    with Client("http://kg", transport=transport, key="secret") as client:
        assert client.releases().serving == "a"
    assert waited[0] == 2
    assert 0.25 <= waited[1] <= 0.5
    assert len(asked) == 3
    assert asked[0].headers["authorization"] == "Bearer secret"


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda s: None)
    transport, asked = answering(*[busy(503, **{"retry-after": "1"})] * 2)
    with (
        Client("http://kg", transport=transport, patience=Patience(attempts=2)) as client,
        pytest.raises(Refused, match="Too many wait"),
    ):
        client.releases()
    assert len(asked) == 2
    far = Patience()
    assert far.wait_s(1, busy(503, **{"retry-after": "3600"})) is None
    assert far.wait_s(1, busy(503, **{"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0


def test_every_door_takes_a_key_where_keys_are_asked_for(release_store: ReleaseStore, tmp_path: Path) -> None:
    shutil.copytree(release_store.folder, tmp_path / "releases")
    keys = Keys.open(tmp_path, make=True)
    assert keys is not None
    texts = {scope: keys.add(scope.value, scope)[1] for scope in (Scope.READ, Scope.WRITE)}
    keys.close()
    update = "INSERT DATA { world:Key_City a world:City }"
    doors: list[tuple[Scope, str, str, dict[str, Any]]] = [
        (Scope.READ, "POST", "/sparql", {"data": {"query": "ASK {}"}}),
        (Scope.READ, "GET", "/sparql?query=ASK{}", {}),
        (Scope.READ, "POST", "/reconcile", {"data": {"queries": "{}"}}),
        (Scope.READ, "POST", "/reconcile/draft/match", {"json": {"queries": []}}),
        (Scope.READ, "POST", "/mcp", {"json": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, "headers": MCP}),
        (Scope.WRITE, "POST", "/sparql/update", {"data": {"update": update}}),
    ]
    with serving(tmp_path) as address, httpx.Client(base_url=address, timeout=60) as http:
        for scope, method, path, sent in doors:
            assert http.request(method, path, **sent).status_code == 401, path
            for key, text in texts.items():
                headers = {**sent.get("headers", {}), "Authorization": f"Bearer {text}"}
                status = http.request(method, path, **{**sent, "headers": headers}).status_code
                assert status == (200 if key.covers(scope) else 403), (path, key)
        with Client(address, key=texts[Scope.READ]) as reader:
            assert reader.complete(QUESTION, k=1).candidates
            with pytest.raises(Refused, match="takes a key of scope write") as refused:
                reader.erase("world:France")
            assert (refused.value.status, refused.value.slug) == (403, "scope-too-small")
        with Client(address) as stranger, pytest.raises(Refused, match="key"):
            stranger.releases()


def test_no_service_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    patience = Patience(attempts=2, first_wait_s=0.01)
    with (
        Client(f"http://127.0.0.1:{port}", patience=patience) as client,
        pytest.raises(Unreachable, match=f"http://127.0.0.1:{port} did not answer"),
    ):
        client.releases()
    with pytest.raises(InvalidQuestion, match="begins with http:// or https://, found 'localhost:8000'"):
        Client("localhost:8000")


def test_what_is_no_kgservice() -> None:
    transport, _ = answering(httpx.Response(200, text="<html>"), httpx.Response(404, text="nginx"))
    with Client("http://kg", transport=transport) as client:
        with pytest.raises(DataError, match="Is this address a kgservice?"):
            client.releases()
        with pytest.raises(Refused, match="GET http://kg/v1/releases answered 404 Not Found"):
            client.releases()


def test_the_page_runs_as_it_stands(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "doors.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0]
    exec(code.replace("http://localhost:8000", address), {})
    assert capsys.readouterr().out.splitlines()[-1].startswith("['world:Germany'")


def test_importing_the_client_loads_no_model_library() -> None:
    code = (
        "import sys, kgservice.client; print(*(set(sys.modules) & {'torch', 'faiss', 'fastapi', 'polars', 'sklearn'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
