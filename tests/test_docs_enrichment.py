"""The commands of docs/enrichment.md, run as they stand, over two relations and one model so that they are quick."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kgservice.cli import cli
from kgservice.enrichment.writers import ENDINGS, WRITERS
from kgservice.release import ReleaseStore

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "enrichment.md").read_text(encoding="utf-8")
QUICK = ["--model", "complex", "--relation", "world:officialLanguage", "--relation", "world:borders"]


def commands(first: str) -> list[list[str]]:
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)).splitlines()
    split = [shlex.split(line, comments=True) for line in lines if line.startswith("kgservice ")]
    return [words[1:] for words in split if words[1] == first]


@pytest.fixture
def home(release_store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "releases").symlink_to(release_store.folder)
    monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(words: list[str]) -> str:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, (words, result.output)
    return str(result.output)


def test_every_command_and_the_review_after_it(home: Path, release_store: ReleaseStore) -> None:
    current = str(release_store.current_id())
    calls = [
        words for words in commands("enrich") if "--ray" not in words
    ]  # a cluster has its own: `make test-cluster`
    assert len(calls) >= 5
    for words in calls:
        words = [current if re.fullmatch(r"[0-9a-f]{12}", word) else word for word in words]
        assert "release " in _run([*words, *QUICK])
        assert (home / words[words.index("--out") + 1]).stat().st_size > 0
    kept = ["--threshold", "0.01", "--total", "40"]
    _run(["enrich", "--out", "all.csv", "--work", str(home / "enrichments" / "mine"), *QUICK, *kept])
    queue, take, report, export = commands("review")
    _run(["mine" if word == "RUN" else word for word in queue])
    sheet = home / "sheet.csv"
    with sheet.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    with sheet.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows({**row, "verdict": "accept"} for row in rows)
    _run(take)
    assert f"{len(rows)} accepted" in _run(["mine" if word == "RUN" else word for word in report])
    _run(["mine" if word == "RUN" else word for word in export])
    _run(["ingest", "accepted.nq", "--out", "mygraph"])  # to have one
    ((_, *rest),) = commands("ingest")
    assert f"{len(rows)} statements" in _run(["ingest", *rest])


def test_every_format_is_described() -> None:
    assert set(ENDINGS.values()) == set(WRITERS)
    for ending in ENDINGS:
        assert f"`{ending}`" in PAGE, ending
