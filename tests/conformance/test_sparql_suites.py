"""Every test of the W3C's SPARQL suites: queries through the code of the process that asks, requests through the application."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kgservice import pipeline
from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings
from tests.conformance import sparql
from tests.conformance.reconciliation import check as check_reconciliation
from tests.conformance.sparql import SparqlCase
from tests.conftest import MIRROR, family_recipe

KNOWN = Path(__file__).with_name("known_sparql.toml")
CASES = sparql.all_cases(Path(MIRROR)) if MIRROR and Path(MIRROR).is_dir() else ()
DATA = "http://kasei.us/2009/09/sparql/data/data{}.rdf"

pytestmark = pytest.mark.skipif(not CASES, reason="KGSERVICE_DATA_MIRROR names no folder with benchmark data")


def known_failures() -> dict[str, tuple[str, str]]:
    """Who fails and why, by the name of the test."""
    groups = tomllib.loads(KNOWN.read_text(encoding="utf-8"))["failures"]
    return {test: (group["by"], group["reason"]) for group in groups for test in group["tests"]}


@contextmanager
def application() -> Iterator[TestClient]:
    """An application over a small graph, and beside it the named graphs that the protocol's suite asks."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "family.ttl").write_text(
            "".join(
                f"<urn:a{i}> <urn:knows> <urn:a{(i * 7 + 1) % 40}>, <urn:a{(i * 3 + 2) % 40}> .\n" for i in range(40)
            )
        )
        pipeline.build(family_recipe(training={"epochs": 1, "batch_size": 16}), home, base=home)
        lines = (f"<{DATA.format(i)}> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <urn:Document> <{DATA.format(i)}> .\n"
                 for i in range(4))  # fmt: skip
        (home / "data.nq").write_text("".join(lines))
        with TestClient(open_app(ServerSettings(home=home, sparql_predictions=home / "data.nq"))) as client:
            yield client


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with application() as client:
        yield client


def parameters() -> list[object]:
    known = known_failures()
    found = []
    for case in CASES:
        marks: list[pytest.MarkDecorator] = []
        if case.out_of_scope:
            marks = [pytest.mark.skip(reason=case.out_of_scope)]
        elif case.name in known:
            marks = [pytest.mark.xfail(reason=known[case.name][1], strict=True)]
        found.append(pytest.param(case, id=case.name, marks=marks))
    return found


@pytest.mark.parametrize("case", parameters())
def test_suite(case: SparqlCase, client: TestClient) -> None:
    sparql.check(case, client)


def test_every_known_failure_names_a_test() -> None:
    assert known_failures().keys() <= {case.name for case in CASES}


def test_results_that_differ_are_told_apart() -> None:
    case = next(
        case
        for case in CASES
        if case.kind == "QueryEvaluationTest" and case.expected and case.expected[0].endswith("srx")
    )
    assert case.expected
    address, content = case.expected
    broken = SparqlCase(
        **{**case.__dict__, "expected": (address, content.replace(b"</results>", b"<result/></results>"))}
    )
    sparql.check(case)
    with pytest.raises(AssertionError):
        sparql.check(broken)


@pytest.mark.parametrize("version", ["0.2", "1.0-draft"])
def test_reconciliation_over_the_sample_graph(world_home: Path, mirror: Path, version: str) -> None:
    with TestClient(open_app(ServerSettings(home=world_home))) as client:
        check_reconciliation(client, mirror, version)
