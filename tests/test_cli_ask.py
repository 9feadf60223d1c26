"""`complete`, `classify`, `search` and `show` in the terminal give the answers of REST; `serve` shows its settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from kgservice.cli import cli
from kgservice.cli.lines import table
from kgservice.errors import InvalidQuestion, RecipeError, UnknownEntity, UnknownRelease
from kgservice.release import ReleaseStore
from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings

Run = Callable[..., Result]


@pytest.fixture
def run(release_store: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("KGSERVICE_HOME", str(release_store.folder.parent))
    return lambda *words: CliRunner().invoke(cli, list(words))


@pytest.fixture(scope="module")
def client(release_store: ReleaseStore) -> Iterator[TestClient]:
    with TestClient(open_app(ServerSettings(home=release_store.folder.parent))) as client:
        yield client


def test_json_is_that_of_rest(run: Run, client: TestClient) -> None:
    statement = {"subject": "world:France", "relation": "world:borders", "object": "world:Spain"}
    body = {"subject": "world:France", "relation": "world:borders", "k": 3, "exclude_known": False, "language": "fr"}
    pairs = {
        "complete world:France world:borders -k 3 --include-known --language fr --json": client.post(
            "/v1/complete", json=body
        ),
        "classify world:France world:borders world:Spain --json": client.post("/v1/classify", json=statement),
        "search Frnace -k 2 --mode lexical --json": client.get("/v1/search?q=Frnace&k=2&mode=lexical"),
        "show world:France --limit 2 --json": client.get("/v1/entities/world:France?limit=2"),
        "types world:France -k 2 --json": client.get("/v1/entities/world:France/types?k=2"),
        "types world:Lyon --type world:City --type world:Country --json": client.get(
            "/v1/entities/world:Lyon/types?type=world:City&type=world:Country"
        ),
    }
    for words, served in pairs.items():
        printed = run(*words.split())
        assert printed.exit_code == 0, printed.output
        assert printed.stdout_bytes == served.content + b"\n"


@pytest.mark.parametrize("hole", ["_", "?"])
def test_any_part_may_be_the_hole(run: Run, hole: str) -> None:
    for words in (
        (hole, "world:borders", "world:Spain"),
        ("world:France", hole, "world:Spain"),
        ("world:France", "world:borders"),
    ):
        result = run("complete", *words, "-k", "2")
        assert result.exit_code == 0, result.output
        assert "?" in result.output.splitlines()[0]
        assert result.output.splitlines()[1].startswith("release ")


def test_tables_are_aligned(run: Run) -> None:
    lines = run("complete", "world:France", "world:borders", "-k", "12", "--include-known").output.splitlines()
    head = next(line for line in lines if line.startswith("rank"))
    rows = lines[lines.index(head) + 1 :][:12]
    assert [row[:4] for row in rows] == [f"{rank:>4}" for rank in range(1, 13)]
    assert all(row[4:6] == "  " and row[6] != " " for row in rows)
    assert any("known" in row for row in rows)


def test_wide_letters_take_two_columns() -> None:
    lines = list(table(("a", "b", ""), [("日本", "x", ""), ("Perú", "y", ""), ("e\u0301", "z", "")]))
    assert lines == ["a     b", "日本  x", "Perú  y", "e\u0301     z"]
    assert list(table(("a",), [])) == []


def test_a_verdict_for_people(run: Run) -> None:
    output = run("classify", "world:France", "world:borders", "world:Spain").output
    assert ", and the graph states it" in output
    assert output.splitlines()[2].split(",")[0] in ("accept", "reject", "abstain")
    assert "probability " in output
    assert " reject" in output


def test_an_entity_for_people(run: Run) -> None:
    output = run("show", "world:France", "--limit", "2").output
    assert output.startswith("world:France  France\n")
    assert "statements, the first 2\n" in output


def test_types_for_people(run: Run) -> None:
    output = run("types", "world:France", "-k", "2").output
    assert re.search(r"1 +world:Country +[Cc]ountry +\d+\.\d% +known", output)
    assert "probability: among entities that have types" in output


def test_a_described_type_takes_a_release_with_a_text_encoder(run: Run) -> None:
    told = run("types", "world:Lyon", "--described", "mountain: large landform")
    assert isinstance(told.exception, InvalidQuestion)
    assert "takes a text encoder (search.encoder in the recipe)" in str(told.exception)


def test_a_search_for_people(run: Run) -> None:
    assert "world:France" in run("search", "France").output
    assert "no match" in run("search", "qqqqqqqqqq zzzzzzzz", "--mode", "lexical").output


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("complete world:Frnce world:borders", UnknownEntity, "Closest: 'world:France'"),
        ("complete world:France world:borders world:Spain", InvalidQuestion, "none is"),
        ("complete world:France _ _", InvalidQuestion, "relation and object are"),
        ("complete world:France world:borders -k 0", InvalidQuestion, r"k must be in \[1, 1000\], found 0"),
        ("show world:France --release zzz", UnknownRelease, "'zzz' is not a release"),
        ("serve --release zzz", UnknownRelease, "'zzz' is not a release"),
        ("serve --port 99999", RecipeError, "KGSERVICE_PORT: Input should be less than or equal to 65535"),
    ],
)
def test_errors_are_those_of_the_tree(run: Run, words: str, error: type[Exception], message: str) -> None:
    result = run(*words.split())
    assert isinstance(result.exception, error)
    assert result.exception is not None
    with pytest.raises(error, match=message):
        raise result.exception


def test_serve_runs_and_stops(release_store: ReleaseStore) -> None:
    command = [sys.executable, "-c", "from kgservice.cli import main; main()", "serve", "--port", "0"]
    environ = {"KGSERVICE_HOME": str(release_store.folder.parent), "PATH": "/usr/bin:/bin"}
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(command, env=environ, cwd=root, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        told = [process.stderr.readline()]
        while told[-1] and not told[-1].startswith("serving release"):
            told.append(process.stderr.readline())
        assert any("  max_k " in line for line in told)
        served, address = told[-1].rstrip().split(" on ")
        assert served == f"serving release {release_store.current_id()}"
        assert address.startswith("http://127.0.0.1:")
        # Bound, but not yet listened to.
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(base_url=address, trust_env=False, transport=transport) as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/v1/entities/world:France").json()["label"] == "France"
    finally:
        process.terminate()
        log = process.communicate(timeout=20)[1]
    assert "GET /v1/entities/{id:path} 200" in log
    assert json.dumps("world:France") not in log
    assert "Traceback" not in log
