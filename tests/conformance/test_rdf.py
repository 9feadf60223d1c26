"""Every test of the W3C suites, read by the library and, for lines, by our own reader of whole columns too."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyoxigraph as ox
import pytest

from kgservice.errors import MalformedStatement
from kgservice.readers import rdfstar
from kgservice.readers.lines import read_lines
from tests.conformance import suites
from tests.conformance.suites import Case
from tests.conftest import MIRROR

KNOWN = Path(__file__).with_name("known_failures.toml")
CASES = suites.all_cases(Path(MIRROR)) if MIRROR and Path(MIRROR).is_dir() else ()
DAMAGE = [
    b"<",
    b">",
    b'"',
    b"\\",
    b" ",
    b"\t",
    b"^",
    b"@",
    b"_",
    b":",
    b".",
    b"#",
    b"%",
    b"\xff",
    b"\x00",
    b"\r",
    b"-",
    b"{",
]
LITERAL = re.compile(rb'"(?:@\S+|\^\^\S+)?\s*$')
SCHEMA_ORG = "schemaorg-30.0-all-https"

pytestmark = pytest.mark.skipif(not CASES, reason="KGSERVICE_DATA_MIRROR names no folder with benchmark data")


def triples(data: bytes, syntax: ox.RdfFormat, base: str | None = None) -> list[ox.Quad]:
    """A document as the parsing library reads it.

    Raises:
        SyntaxError: it refuses the document.
    """
    return list(ox.parse(data, format=syntax, base_iri=base))


def lines(data: bytes, syntax: ox.RdfFormat, *, skip_malformed: bool = False) -> list[tuple[str, ...]]:
    """N-Triples or N-Quads as the vectorised reader reads them: subject, predicate, object as it names them.

    Raises:
        MalformedStatement: it refuses a line.
    """
    terms = read_lines(data, syntax, source="test", skip_malformed=skip_malformed).terms
    named = terms.to_pylist()
    return list(zip(named[0::3], named[1::3], named[2::3], strict=True))


def upgraded(data: bytes) -> bytes:
    """Lines of RDF-star as lines of RDF 1.2."""
    return b"".join(line.rstrip(b"\r\n") + b"\n" for line in rdfstar.upgrade(data.splitlines()))


@dataclass(frozen=True)
class Known:
    """Why a test is known to fail.

    Attributes:
        by: "library" for a fault or a limit of the parsing library, "choice" where we answer otherwise on purpose.
        reader: which reader fails, "library" or "lines".
    """

    by: str
    reader: str
    reason: str


def known_failures() -> dict[str, Known]:
    """Reasons by the name of the test."""
    groups = tomllib.loads(KNOWN.read_text(encoding="utf-8"))["failures"]
    pairs = [
        (test, Known(group["by"], group.get("reader", "library"), group["reason"]))
        for group in groups
        for test in group["tests"]
    ]
    assert len(dict(pairs)) == len(pairs), "a test stands twice in known_failures.toml"
    return dict(pairs)


def check(case: Case) -> None:
    """Fail unless the library answers a test as its suite wants."""
    document = upgraded(case.document) if is_star_lines(case) else case.document
    if case.kind == "negative":
        with pytest.raises(SyntaxError) as refusal:
            triples(document, case.syntax, case.base)
        if case.options.get("expectErrorCode") != "loading remote context failed":
            assert "LoadDocumentCallback" not in str(refusal.value), "refused for want of a remote context alone"
        return
    quads = triples(document, case.syntax, case.base)
    if case.kind == "eval":
        assert isomorphic(quads, expected(case))
    elif case.kind == "c14n":
        is_quads = case.syntax == ox.RdfFormat.N_QUADS
        assert ox.serialize(quads if is_quads else [quad.triple for quad in quads], format=case.syntax) == case.expected


def check_lines(case: Case) -> None:
    """Fail unless the reader of lines accepts and refuses as the suite wants, and reads what the library reads."""
    if case.kind == "negative":
        with pytest.raises(MalformedStatement):
            lines(case.document, case.syntax)
        return
    strictly = triples(upgraded(case.document) if is_star_lines(case) else case.document, case.syntax)
    named = [tuple(name_of(term) for term in quad.triple) for quad in strictly]
    assert sorted(lines(case.document, case.syntax)) == sorted(named)


def is_star_lines(case: Case) -> bool:
    return case.suite.startswith("RDF-star") and case.syntax in suites.LINES


def name_of(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple) -> str:
    if isinstance(term, ox.NamedNode):
        return term.value
    return f"<<( {term} )>>" if isinstance(term, ox.Triple) else str(term)


def expected(case: Case) -> list[ox.Quad]:
    assert case.expected is not None
    assert case.expected_syntax is not None
    document = upgraded(case.expected) if case.suite.startswith("RDF-star") else case.expected
    return triples(document, case.expected_syntax, case.base)


def isomorphic(left: Iterable[ox.Quad], right: Iterable[ox.Quad]) -> bool:
    """Whether two datasets differ in the labels of blank nodes at most."""
    datasets = ox.Dataset(left), ox.Dataset(right)
    for dataset in datasets:
        dataset.canonicalize(ox.CanonicalizationAlgorithm.UNSTABLE)
    return datasets[0] == datasets[1]


def parameters(cases: Iterable[Case], reader: str) -> list[object]:
    known = known_failures()
    found = []
    for case in cases:
        marks: list[pytest.MarkDecorator] = []
        if case.out_of_scope:
            marks = [pytest.mark.skip(reason=case.out_of_scope)]
        elif case.name in known and known[case.name].reader == reader:
            wrong = (AssertionError, SyntaxError, pytest.fail.Exception)
            marks = [pytest.mark.xfail(reason=known[case.name].reason, strict=True, raises=wrong)]
        found.append(pytest.param(case, id=case.name, marks=marks))
    return found


LINE_CASES = [case for case in CASES if case.syntax in suites.LINES]


@pytest.mark.parametrize("case", parameters(CASES, "library"))
def test_library(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", parameters(LINE_CASES, "lines"))
def test_lines(case: Case) -> None:
    check_lines(case)


@pytest.mark.parametrize("syntax", suites.LINES, ids=str)
def test_lines_agree_with_the_library_on_every_small_damage(syntax: ox.RdfFormat) -> None:
    """Every line of the suites with one byte gone or another in its place, and with a graph or a datatype put in."""
    originals = {line for case in LINE_CASES for line in case.document.splitlines() if len(line) < 200}
    damaged = {damage for line in originals for damage in damages(line)}
    want: Counter[tuple[str, ...]] = Counter()
    taken = []
    for line in sorted(damaged):
        try:
            quads = triples(line, syntax)
        except SyntaxError:
            if b"<<" in line:
                continue  # may be RDF-star, which our reader takes
            quads = []
        taken.append(line)
        want.update(tuple(name_of(term) for term in quad.triple) for quad in quads)
    have = Counter(lines(b"\n".join(taken), syntax, skip_malformed=True))
    assert have - want == Counter()
    assert want - have == Counter()


def damages(line: bytes) -> Iterator[bytes]:
    yield line
    for i in range(len(line)):
        yield line[:i] + line[i + 1 :]
        yield line[:i] + DAMAGE[i % len(DAMAGE)] + line[i + 1 :]
        yield line[:i] + DAMAGE[(i + len(line)) % len(DAMAGE)] + line[i:]
    body, dot, rest = line.rpartition(b".")
    for more in (b"<http://example/g>", b"_:g", b"<g>", b'"g"', b"_:g _:g"):
        yield body.rstrip() + b" " + more + b" " + dot + rest
        for name in (b"langString", b"dirLangString", b"HTML"):
            yield LITERAL.sub(b'"^^<' + suites.RDF.encode() + name + b"> ", body) + more + b" " + dot + rest


def test_every_known_failure_names_a_test() -> None:
    assert known_failures().keys() <= {case.name for case in CASES}


@pytest.mark.parametrize("ending", ["nt", "nq", "ttl", "rdf", "jsonld"])
def test_schema_org_is_the_same_in_five_syntaxes(mirror: Path, ending: str) -> None:
    def read(ending: str) -> set[ox.Triple]:
        data = suites.read_xz(mirror / "rdf" / f"{SCHEMA_ORG}.{ending}.xz")
        return {quad.triple for quad in triples(data, suites.SYNTAXES[f".{ending}"], "https://schema.org/")}

    assert len(read(ending)) == 18_061
    assert read(ending) == read("nt")


@pytest.mark.parametrize("ending", ["nt", "nq"])
def test_lines_of_schema_org(mirror: Path, ending: str) -> None:
    data = suites.read_xz(mirror / "rdf" / f"{SCHEMA_ORG}.{ending}.xz")
    syntax = suites.SYNTAXES[f".{ending}"]
    strictly = {tuple(name_of(term) for term in quad.triple) for quad in triples(data, syntax)}
    assert len(strictly) == 18_061
    assert set(lines(data, syntax)) == strictly


def test_pizza_owl(mirror: Path) -> None:
    data = suites.read_xz(mirror / "rdf" / "pizza.owl.xz")
    assert len(ox.Dataset(triples(data, ox.RdfFormat.RDF_XML, "http://www.co-ode.org/ontologies/pizza"))) == 2_207
