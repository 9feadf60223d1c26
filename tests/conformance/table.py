"""Write docs/conformance.md: `python -m tests.conformance.table`. Every number comes from running the suites."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.conformance import sparql, suites, test_sparql_suites
from tests.conformance.sparql import SparqlCase
from tests.conformance.suites import Case
from tests.conformance.test_rdf import CASES, Known, check, check_lines, known_failures

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
OUTCOMES = ("passed", "library", "choice", "out of scope", "ours")
HEAD = """# Conformance

What becomes of the W3C's test suites for RDF syntaxes and for SPARQL. This page is written by `make conformance`, which needs
`KGSERVICE_DATA_MIRROR` to name a folder with the suites' archives under `rdf/` and `conformance/`; the numbers are those of its
last run, with pyoxigraph {version}.

## RDF

Documents are parsed by pyoxigraph. N-Triples and N-Quads also go through our own reader of whole columns, which must
accept and refuse the same lines and read the same terms; such a test passes only if both readers pass. Results are
compared up to the labels of blank nodes. A negative test passes if the document is refused, whatever the message; a
refusal for want of a remote context counts only where the suite asks for it. The suites of RDF 1.2 include those of
RDF 1.1, which are counted once.

Of RDF-star, quoted triples are read as reifiers of RDF 1.2: what is said about a quote becomes a qualifier of the
statement. Lines are rewritten so that there is one reifier per quoted triple, as RDF-star has it; Turtle and TriG make
one per occurrence, as RDF 1.2 has it.

{columns}"""
SPARQL = """
## SPARQL

Queries go through the code of the process that asks the store of a release; requests of the protocol's suite through the
application, over a release that has the graphs of the suite beside its own. Results are compared up to the labels of blank
nodes, the order of solutions only where a suite gives one, and numbers by value.
Reading and answering queries is Oxigraph's part.

{columns}"""
COLUMNS = """\
| suite | tests | passed | failures of the library | answered otherwise on purpose | out of scope | our failures |
|---|---:|---:|---:|---:|---:|---:|
"""
SECTIONS = {
    "ours": "Our failures",
    "library": "Failures of the library",
    "choice": "Answered otherwise on purpose",
    "out of scope": "Out of scope",
}


def outcome(case: Case, known: Known | None) -> tuple[str, str]:
    """What became of a test, and why."""
    if case.out_of_scope:
        return "out of scope", case.out_of_scope
    checks = {"library": check} | ({"lines": check_lines} if case.syntax in suites.LINES else {})
    for reader, run in checks.items():
        try:
            run(case)
        except (Exception, pytest.fail.Exception):
            if known is None or known.reader != reader:
                return "ours", "Not yet explained."
            return known.by, known.reason
    return "passed", ""


def sparql_outcome(case: SparqlCase, known: tuple[str, str] | None, client: TestClient) -> tuple[str, str]:
    """What became of a test of SPARQL, and why."""
    if case.out_of_scope:
        return "out of scope", case.out_of_scope
    try:
        sparql.check(case, client)
    except Exception:
        return known or ("ours", "Not yet explained.")
    return "passed", ""


def page() -> str:
    """Both tables and the reasons, as Markdown."""
    known = known_failures()
    rdf = table({case: outcome(case, known.get(case.name)) for case in CASES})
    with test_sparql_suites.application() as client:
        failing = test_sparql_suites.known_failures()
        of_sparql = table(
            {case: sparql_outcome(case, failing.get(case.name), client) for case in test_sparql_suites.CASES}
        )
    return (
        HEAD.format(version=version("pyoxigraph"), columns=COLUMNS) + rdf + SPARQL.format(columns=COLUMNS) + of_sparql
    )


def table(outcomes: Mapping[Any, tuple[str, str]]) -> str:
    """A row for each suite, then the tests that did not pass, by reason."""
    rows: dict[str, Counter[str]] = {}
    for case, (what, _) in outcomes.items():
        rows.setdefault(case.suite, Counter())[what] += 1
    rows["**all**"] = sum(rows.values(), Counter())
    lines = [
        f"| {suite} | {row.total():,} | {' | '.join(f'{row[what]:,}' for what in OUTCOMES)} |"
        for suite, row in rows.items()
    ]
    for what, title in SECTIONS.items():
        reasons: dict[str, list[Any]] = {}
        for case, (found, reason) in outcomes.items():
            if found == what:
                reasons.setdefault(reason, []).append(case)
        if reasons:
            lines += ["", f"### {title}", ""]
        for reason, cases in reasons.items():
            lines += [f"{reason} ({len(cases)})", "", *listed(cases), ""]
    return "\n".join(lines).rstrip() + "\n"


def listed(cases: Sequence[Any]) -> list[str]:
    """Every test by name; whole suites that are out of scope by their folders."""
    if len(cases) <= 60:
        return [item(case) for case in cases]
    folders = Counter(case.name.rpartition("/")[0] for case in cases)
    return [f"- `{folder}`: {count}" for folder, count in folders.items()]


def item(case: Case | SparqlCase) -> str:
    """A line of a list: the test's name, and its title where that says more."""
    return f"- `{case.name}`" + ("" if not case.title or case.name.endswith(case.title) else f": {case.title}")


if __name__ == "__main__":
    if not CASES:
        sys.exit("Set KGSERVICE_DATA_MIRROR to the folder that holds rdf/w3c-rdf11-tests.tar.xz and the other suites.")
    PAGE.write_text(page(), encoding="utf-8")
