"""The README's commands, run as they stand."""

from __future__ import annotations

import bz2
import gzip
import re
import shlex
import shutil
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from kgservice.cli import cli
from kgservice.release import ReleaseStore
from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(first_words: tuple[str, ...]) -> list[list[str]]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if tuple(words[: len(first_words)]) == first_words]


def test_curl(release_store: ReleaseStore, tmp_path: Path) -> None:
    calls = commands(("curl",))
    assert len(calls) >= 4
    shutil.copytree(release_store.folder, tmp_path / "releases")
    settings = ServerSettings(home=tmp_path)
    with TestClient(open_app(settings), base_url="http://localhost:8000") as client:
        for words in calls:
            url = next(word for word in words if word.startswith("localhost"))
            body = words[words.index("-d") + 1] if "-d" in words else None
            path = url.removeprefix("localhost:8000")
            header = {"content-type": "application/json"}
            method = words[words.index("-X") + 1] if "-X" in words else "POST" if body else "GET"
            answer = client.request(method, path, content=body, headers=header)
            assert answer.status_code in (200, 201), (words, answer.text)


@pytest.mark.parametrize("name", ["complete", "classify", "search", "similar", "show", "types"])
def test_terminal(name: str, world_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGSERVICE_HOME", str(world_home))
    calls = commands(("kgservice", name))
    assert calls
    for words in calls:
        result = CliRunner().invoke(cli, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output


def test_python(
    world_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "var").symlink_to(world_home)
    monkeypatch.chdir(tmp_path)
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 3


TOKYO = {
    "type": "item",
    "id": "Q1490",
    "labels": {"en": {"language": "en", "value": "Tokyo"}, "ja": {"language": "ja", "value": "東京都"}},
    "sitelinks": {f"{code}wiki": {"site": f"{code}wiki", "title": "Tokyo"} for code in ("en", "de", "fr", "it", "es")},
    "claims": {
        "P17": [
            {
                "mainsnak": {
                    "snaktype": "value",
                    "property": "P17",
                    "datavalue": {"value": {"entity-type": "item", "id": "Q17"}, "type": "wikibase-entityid"},
                },
                "rank": "normal",
            }
        ]
    },
}


def test_your_own_graph(family_ttl: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KGSERVICE_HOME", raising=False)
    (tmp_path / "mygraph.ttl").write_text(family_ttl.read_text())
    more = "<https://example.org/child1> <https://example.org/livesIn> <https://example.org/town2> .\n"
    (tmp_path / "more.nt.gz").write_bytes(gzip.compress(more.encode()))
    (tmp_path / "mine.toml").write_text(blocks("toml")[0])
    (tmp_path / "latest-all.json.bz2").write_bytes(bz2.compress(b"[\n" + orjson.dumps(TOKYO) + b"\n]\n"))
    steps = ("ingest", "audit", "split", "perturb", "build")
    for words in [words for step in steps for words in commands(("kgservice", step))]:
        result = CliRunner().invoke(cli, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    for name in ("mygraph", "wikidata", "split", "copies/virtual-world"):
        assert (tmp_path / "var" / name / "graph.json").exists()
    assert (tmp_path / "audit.html").exists()
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "var" / "releases" / "CURRENT").exists()
