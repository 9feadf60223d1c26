"""The page of the ingest report: sums that add up, names that stay text, and no end of predicates."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kgservice.cli import cli
from kgservice.ingestion.account import KEPT, NOTES, summary
from kgservice.ingestion.page import FILES, KEPT_WORDS, NOTE_WORDS, PREDICATES, render
from kgservice.resources import share

FILE = {"name": "a.nt", "format": "N-Triples", "size_bytes": 1_234_567, "sha256": "ab" * 32}
EVIL = "https://example.org/<script>alert(1)</script>\"'"


class Page(HTMLParser):
    """What a browser would make of it: rows of cells, texts, attributes, tags; markup that does not close is an error."""

    VOID = frozenset({"meta", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: Counter[str] = Counter()
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open or "script" in self._open:
            return
        self.texts.append(data)
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def predicates(self) -> list[list[str]]:
        """The rows of the table of predicates, its head and the sum left out."""
        return [row for row in self.rows if len(row) == 5 and row[0] not in ("predicate", "sum")]


def page_of(tally: Mapping[tuple[str, str], int], *, files: Any = (FILE,), merged: int = 0) -> Page:
    return Page(render("graph", summary(files, Counter(tally), merged=merged), {"entities": 2, "negatives": 0}))


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_sums_are_shown() -> None:
    page = page_of(
        {
            ("statements", "ex:p"): 1500,
            ("texts", "rdfs:label"): 250,
            ("duplicate", "ex:p"): 40,
            ("lexeme", ""): 2,
            ("malformed", ""): 3,
        },
        merged=7,
    )
    assert "1,792 read = 1,750 kept, 97.7 % + 42 dropped, 2.3 %" in page.text
    assert "1,500 + 250 = 1,750" in page.text
    assert "40 + 2 = 42" in page.text
    assert "It adds up" in page.text
    assert "does not add up" not in page.text
    assert "the same was read before" in page.text
    assert "links between two entities" in page.text
    assert "3 malformed lines that do not parse" in page.text
    assert "7 merged rows" in page.text
    assert page.predicates() == [
        ["ex:p", "1,540", "1,500", "40", "statements 1,500, duplicate 40"],
        ["rdfs:label", "250", "250", "0", "texts"],
        ["whole lines and entities", "2", "0", "2", "lexeme"],
    ]
    assert ["sum", "1,792", "1,750", "42", ""] in page.rows
    assert ["a.nt", "N-Triples", "1.2 MB", "abababababab"] in page.rows
    assert "2 entities" in page.text
    assert "negatives" not in page.text


def test_bars_are_as_long_as_their_share() -> None:
    page = page_of({("statements", "p"): 1000, ("texts", "p"): 250, ("duplicate", "p"): 1})
    widths = [value for tag, name, value in page.attributes if tag == "rect" and name == "width"]
    # The whole; then for each outcome its track and the bar, the widest being full; one of a thousand is a sliver.
    assert widths == ["100%", "99.70%", "100%", "100.00%", "100%", "25.00%", "100%", "0.30%"]


def test_a_report_that_does_not_add_up_says_so() -> None:
    report = summary([FILE], Counter({("statements", "p"): 10}))
    page = Page(render("graph", {**report, "read": 11}, {}))
    assert "It does not add up: outcomes give 10" in page.text
    assert "It adds up" not in page.text


def test_nothing_dropped_and_nothing_read() -> None:
    page = page_of({("statements", "p"): 5})
    assert "5 read = 5 kept, 100.0 % + 0 dropped, 0.0 %" in page.text
    assert "Nothing was dropped." in page.text
    assert "Beside the sum" not in page.text
    empty = page_of({}, files=[{"name": "rdflib"}])
    assert "0 read = 0 kept + 0 dropped" in empty.text
    assert "Nothing was read." in empty.text
    assert ["rdflib", "", "", ""] in empty.rows


def test_ten_thousand_predicates() -> None:
    tally = {("statements", f"https://example.org/p{i:05}"): 1 + (i % 97) for i in range(12_000)}
    tally |= {("duplicate", f"https://example.org/p{i:05}"): 1 for i in range(0, 12_000, 3)}
    html = render("graph", summary([FILE], Counter(tally)), {})
    page = Page(html)
    *listed, rest = page.predicates()
    assert len(listed) == PREDICATES
    assert rest[0] == "all other predicates"
    assert sum(number(row[1]) for row in (*listed, rest)) == sum(tally.values())
    assert [number(row[1]) for row in listed] == sorted((number(row[1]) for row in listed), reverse=True)
    assert "It adds up" in page.text
    assert len(html) < 500_000
    fewer = summary([FILE], Counter(dict(list(tally.items())[:700])))
    assert page_of({}).predicates() == []
    assert Page(render("graph", fewer, {})).predicates()[-1][0] == "200 more predicates"


def test_many_files_are_summed() -> None:
    files = [{**FILE, "name": f"{i}.nt"} for i in range(FILES + 50)]
    page = page_of({("statements", "p"): 1}, files=files)
    assert ["50 more files", "", "61.7 MB", ""] in page.rows
    assert "250 files (308.6 MB)" in page.text


def test_names_are_text() -> None:
    report = summary([{**FILE, "name": EVIL, "sha256": EVIL}], Counter({("statements", EVIL): 1, (EVIL, EVIL): 2}))
    html = render(EVIL, {**report, "notes": {EVIL: 1}}, {EVIL: 3})
    page = Page(html)
    assert "alert(1)</script>" not in html
    assert page.tags["script"] == 1
    assert ("td", "title", EVIL) in page.attributes


def test_long_names_are_shortened_but_whole_in_the_title() -> None:
    full = "https://example.org/" + "a/" * 100 + "b" * 200
    page = page_of({("statements", full): 1})
    (row,) = page.predicates()
    assert len(row[0]) <= 100
    assert row[0].count("…") == 2
    assert row[0].startswith("https://example.org/a/")
    assert ("td", "title", full) in page.attributes
    assert page_of({("statements", "https://example.org/"): 1}).predicates()[0][0] == "https://example.org/"


def test_nothing_is_loaded() -> None:
    html = render("graph", summary([FILE], Counter({("statements", "https://example.org/p"): 1})), {})
    page = Page(html)
    assert not {"link", "img", "iframe", "object", "a"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name in ("src", "href", "srcset")]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", html)
    assert html == render("graph", summary([FILE], Counter({("statements", "https://example.org/p"): 1})), {})


@pytest.mark.parametrize(("names", "words"), [(KEPT, KEPT_WORDS), (NOTES, NOTE_WORDS)])
def test_every_outcome_has_words(names: tuple[str, ...], words: Mapping[str, str]) -> None:
    assert set(names) <= set(words)


def test_a_real_ingest(tmp_path: Path) -> None:
    sources = [str(path) for path in sorted((share() / "data" / "world").glob("[cn]*.ttl"))]
    assert len(sources) >= 3
    for suffix in ("html", "json"):
        out, report = str(tmp_path / "world"), str(tmp_path / f"report.{suffix}")
        result = CliRunner().invoke(cli, ["ingest", *sources, "--out", out, "--report", report], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "report.json").read_text())
    report, page = told["report"], Page((tmp_path / "report.html").read_text())
    assert f"{report['read']:,} read = {sum(report['kept'].values()):,} kept" in page.text
    assert "It adds up" in page.text
    assert [number(row[1]) for row in page.predicates()] == sorted(
        (sum(outcomes.values()) for outcomes in report["by_predicate"].values()), reverse=True
    )
    assert f"{told['counts']['entities']:,} entities" in page.text
    assert {file["name"] for file in report["files"]} <= {row[0] for row in page.rows}
