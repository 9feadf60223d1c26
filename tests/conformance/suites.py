"""The W3C suites as cases: what to read, how, and what must come of it. Archives are read in memory, never unpacked."""

from __future__ import annotations

import json
import lzma
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyoxigraph as ox

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MANIFEST = "http://www.w3.org/2001/sw/DataAccess/tests/test-manifest#"
RDFTEST = "http://www.w3.org/ns/rdftest#"
SYNTAXES = {
    ".nt": ox.RdfFormat.N_TRIPLES,
    ".nq": ox.RdfFormat.N_QUADS,
    ".ttl": ox.RdfFormat.TURTLE,
    ".trig": ox.RdfFormat.TRIG,
    ".rdf": ox.RdfFormat.RDF_XML,
    ".jsonld": ox.RdfFormat.JSON_LD,
}
LINES = (ox.RdfFormat.N_TRIPLES, ox.RdfFormat.N_QUADS)
# The community's manifests name no base; this is where they were published.
STAR_BASE = "https://w3c.github.io/rdf-star/"
ARCHIVES = {"RDF 1.1": "w3c-rdf11-tests", "RDF 1.2": "w3c-rdf12-tests", "RDF-star": "w3c-rdf-star-cg-tests"}
JSON_LD = "json-ld-toRdf-fromRdf-tests"


@dataclass(frozen=True)
class Case:
    """One test of a suite.

    Attributes:
        suite: the row of the table, as "RDF 1.1 Turtle".
        name: unique among all, as "rdf11/rdf-turtle/IRI_subject".
        kind: "positive" and "negative" (does it parse?), "eval" (what is read?), "c14n" (what is written?).
        base: the IRI the document was retrieved from.
        expected: the document to compare with, for "eval" and "c14n".
        options: what a JSON-LD test asks of the processor.
        out_of_scope: why it is not run, or nothing.
    """

    suite: str
    name: str
    kind: str
    syntax: ox.RdfFormat
    base: str
    title: str = field(repr=False)
    document: bytes = field(repr=False)
    expected: bytes | None = field(default=None, repr=False)
    expected_syntax: ox.RdfFormat | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    out_of_scope: str = ""


def cases(mirror: Path) -> list[Case]:
    """Every test of the suites under `mirror/rdf`, in the order of the manifests."""
    found: list[Case] = []
    for version, archive in ARCHIVES.items():
        files = read_archive(mirror / "rdf" / f"{archive}.tar.xz")
        for path in sorted(files):
            if posixpath.basename(path) == "manifest.ttl":
                found += _of_manifest(version, path, files)
    files = read_archive(mirror / "rdf" / f"{JSON_LD}.tar.xz")
    found += _of_json_ld("toRdf", files)
    found += _of_json_ld("fromRdf", files)
    return found


def read_archive(path: Path) -> dict[str, bytes]:
    """All files of a tar archive."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]


def read_xz(path: Path) -> bytes:
    """A compressed file, whole."""
    return lzma.decompress(path.read_bytes())


def _of_manifest(version: str, path: str, files: dict[str, bytes]) -> Iterator[Case]:
    folder = posixpath.dirname(path)
    published = STAR_BASE + folder if version == "RDF-star" else "https://w3c.github.io/rdf-tests/" + folder
    here = f"{published}/"
    graph = ox.Dataset(ox.parse(files[path], format=ox.RdfFormat.TURTLE, base_iri=f"{here}manifest.ttl"))

    def value(subject: Any, predicate: str) -> Any:
        quads = list(graph.quads_for_subject(subject))
        return next((quad.object for quad in quads if quad.predicate.value == predicate), None)

    entries = next((quad.object for quad in graph.quads_for_predicate(ox.NamedNode(MANIFEST + "entries"))), None)
    while entries is not None and entries != ox.NamedNode(RDF + "nil"):
        test, entries = value(entries, RDF + "first"), value(entries, RDF + "rest")
        type_ = value(test, RDF + "type").value.removeprefix(RDFTEST)
        action, result = value(test, MANIFEST + "action"), value(test, MANIFEST + "result")
        document, expected = (None if file is None else _file(file.value, here, folder) for file in (action, result))
        syntax = SYNTAXES[posixpath.splitext(document)[1]]
        yield Case(
            suite=f"{version} {syntax.name}",
            name=f"{_short(folder)}/{test.value.partition('#')[2]}",
            kind=_kind(type_),
            syntax=syntax,
            base=action.value,
            title=value(test, MANIFEST + "name").value,
            document=files[document],
            expected=None if expected is None else files[expected],
            expected_syntax=None if expected is None else SYNTAXES[posixpath.splitext(expected)[1]],
        )


def _file(iri: str, here: str, folder: str) -> str:
    return posixpath.normpath(posixpath.join(folder, iri.removeprefix(here)))


def _short(folder: str) -> str:
    return folder.removeprefix("rdf/").replace("tests/", "rdf-star/", 1)


def _kind(type_: str) -> str:
    if "Negative" in type_:
        # A negative evaluation test has no right result to compare with: it must be refused, as bad syntax is.
        return "negative"
    return "c14n" if type_.endswith("C14N") else "eval" if type_.endswith("Eval") else "positive"


def _of_json_ld(part: str, files: dict[str, bytes]) -> Iterator[Case]:
    manifest = json.loads(files[f"tests/{part}-manifest.jsonld"])
    for entry in manifest["sequence"]:
        types, options = entry["@type"], dict(entry.get("option", {}))
        if "expandContext" in options:
            options["expandContext"] = files[f"tests/{options['expandContext']}"]
        if "expectErrorCode" in entry:
            options["expectErrorCode"] = entry["expectErrorCode"]
        kind = _kind_of_json_ld(types)
        given, wanted = files.get(f"tests/{entry['input']}"), files.get(f"tests/{entry.get('expect')}")
        out_of_scope = ""
        if part == "fromRdf":
            out_of_scope = "Writing JSON-LD: the service reads RDF and does not write JSON-LD."
        elif given is None or (kind == "eval" and wanted is None):
            out_of_scope = (
                f"The archive of the suite does not hold {entry['input'] if given is None else entry['expect']}."
            )
        elif options.get("specVersion") == "json-ld-1.0":
            out_of_scope = "For processors of JSON-LD 1.0 only; a processor of 1.1 does not run it."
        yield Case(
            suite=f"JSON-LD 1.1 {part}",
            name=f"json-ld/{part}/{entry['@id'].removeprefix('#')}",
            kind=kind,
            syntax=ox.RdfFormat.JSON_LD,
            base=options.get("base", manifest["baseIri"] + entry["input"]),
            title=entry["name"],
            document=given or b"",
            expected=wanted,
            expected_syntax=None if wanted is None else ox.RdfFormat.N_QUADS,
            options=options,
            out_of_scope=out_of_scope,
        )


def _kind_of_json_ld(types: list[str]) -> str:
    if "jld:NegativeEvaluationTest" in types:
        return "negative"
    return "positive" if "jld:PositiveSyntaxTest" in types else "eval"


@lru_cache(maxsize=1)
def all_cases(mirror: Path) -> tuple[Case, ...]:
    """`cases`, read once per process."""
    return tuple(cases(mirror))
