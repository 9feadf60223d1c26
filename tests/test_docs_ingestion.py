"""docs/ingestion.md: its commands run as they stand, in its order, and print what it says; its tables are whole."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kgservice.cli.ingest import ingest
from kgservice.graph.literals import XSD
from kgservice.ingestion.account import REASONS
from kgservice.ingestion.page import KEPT_WORDS, NOTE_WORDS
from kgservice.readers import FORMATS, wikibase
from kgservice.readers.options import TEXT_PREDICATES
from kgservice.resources import share

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "ingestion.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(sh|python|text)\n(.*?)```", flags=re.DOTALL)
GREGORIAN, JULIAN = (f"{wikibase.ENTITY}Q{number}" for number in (1985727, 1985786))
PREFIXES = {
    "xsd": XSD,
    "wikibase": "http://wikiba.se/ontology#",
    "geo": "http://www.opengis.net/ont/geosparql#",
}


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return re.split(r"^#+ ", TEXT.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def table(head: str) -> dict[str, str]:
    """The rows of the table that begins so, the first two cells of each."""
    rows = TEXT.partition(f"| {head} |")[2].splitlines()[2:]
    found = {}
    for row in rows:
        if not row.startswith("|"):
            break
        first, second, *_ = [cell.strip() for cell in row.strip("|").split("|")]
        found[first] = second
    return found


def run_shell(script: str, folder: Path) -> str:
    """Standard output; what the script does not catch fails."""
    path = os.pathsep.join([str(folder / ".bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


def run_python(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/ingestion.md", "exec"), {})
    return printed.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the sample graph, and a `curl` that answers a query with a triple."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "data").symlink_to(share() / "data")
    curl = folder / ".bin" / "curl"
    curl.parent.mkdir()
    curl.write_text("#!/bin/sh\necho '<https://example.org/a> <https://example.org/knows> <https://example.org/b> .'\n")
    curl.chmod(0o755)
    return folder


def test_commands_print_what_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    printed, checked = "", 0
    for language, content in BLOCK.findall(TEXT):
        if language == "text":
            assert printed == content
            checked += 1
        else:
            printed = run_shell(content, folder) if language == "sh" else run_python(content)
            if "content_hash" in content:
                assert printed.splitlines()[-1].strip() == "1"
    assert checked >= 10
    assert (folder / "world.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    files = {path.name for path in (folder / "graphs" / "wikidata").iterdir()}
    assert files == set(re.findall(r"`(\w+\.(?:arrow|json))`", section("On disk")))


def test_every_option_is_documented() -> None:
    options = [name for option in ingest.params if isinstance(option, click.Option) for name in option.opts]
    assert len(options) > 15
    assert [name for name in options if name not in TEXT] == []


def test_every_outcome_is_documented() -> None:
    for head, words in (("kept", KEPT_WORDS), ("dropped", REASONS), ("beside the sum", NOTE_WORDS)):
        assert table(head) == {f"`{name}`": meaning for name, meaning in words.items()}


def test_every_format_is_documented() -> None:
    rows = table("`--format`")
    assert set(re.findall(r"\w+", " ".join(rows))) == set(FORMATS)
    for names, suffixes in rows.items():
        stated = set(re.findall(r"\.\w+", suffixes)) - {".txt"}
        known = {suffix for name in re.findall(r"\w+", names) for suffix in FORMATS[name].suffixes}
        assert stated <= known
        if stated:
            assert stated == known


def test_every_text_predicate_is_documented() -> None:
    stated = {local: kind for kind, names in table("text").items() for local in re.findall(r"`\w+:(\w+)`", names)}
    known = {iri.rpartition("#")[2].rpartition("/")[2]: kind.name.lower() for iri, kind in TEXT_PREDICATES.items()}
    assert stated == known


@pytest.mark.parametrize(
    "literal",
    [
        wikibase.time("+1952-03-11T00:00:00Z", 11, GREGORIAN),
        wikibase.time("+1950-00-00T00:00:00Z", 8, GREGORIAN),
        wikibase.time("-13798000000-00-00T00:00:00Z", 3, GREGORIAN),
        wikibase.quantity("+42", "1", None, None),
        wikibase.quantity("+5", f"{wikibase.ENTITY}Q11573", "+4.5", "+5.5"),
        wikibase.coordinate(51.5, -0.12, f"{wikibase.ENTITY}Q2"),
        wikibase.monolingual("Salut", "fr"),
        wikibase.string_value("113230702", "external-id"),
        wikibase.string_value("https://example.org/", "url"),
        wikibase.string_value("A b.jpg", "commonsMedia"),
        wikibase.SOME_VALUE,
        wikibase.NO_VALUE,
    ],
)
def test_values_are_written_as_documented(literal: str) -> None:
    stated = " ".join(table("value").values())
    for prefix, iri in PREFIXES.items():
        stated = re.sub(rf"\^\^{prefix}:(\w+)", rf"^^<{iri}\1>", stated)
    assert f"`{literal}`" in stated


def test_dates_are_as_documented() -> None:
    assert wikibase.time("-0044-03-15T00:00:00Z", 11, GREGORIAN).startswith('"-0043-')
    assert wikibase.time("+1500-01-01T00:00:00Z", 11, JULIAN).startswith('"+1500-01-10T00:00:00Z/11/J"')
