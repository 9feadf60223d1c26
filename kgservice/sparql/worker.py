"""`python -m kgservice.sparql.worker`: the process that loads or extends a store, or asks one. The only user of Oxigraph here.

It is light to start and made to be killed. Once its store is open it may open nothing more, neither files nor connections: a
query cannot reach another address, whatever it says. What is said on stdin and stdout are `frames`.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import pyoxigraph as ox

from kgservice.sparql.frames import frame, read

SOLUTIONS = {
    "application/sparql-results+json": ox.QueryResultsFormat.JSON,
    "application/sparql-results+xml": ox.QueryResultsFormat.XML,
    "text/csv": ox.QueryResultsFormat.CSV,
    "text/tab-separated-values": ox.QueryResultsFormat.TSV,
}
GRAPHS = {
    "text/turtle": ox.RdfFormat.TURTLE,
    "application/n-triples": ox.RdfFormat.N_TRIPLES,
    "application/rdf+xml": ox.RdfFormat.RDF_XML,
    "application/ld+json": ox.RdfFormat.JSON_LD,
}
SYNTAXES = {
    ".nt": ox.RdfFormat.N_TRIPLES,
    ".nq": ox.RdfFormat.N_QUADS,
    ".ttl": ox.RdfFormat.TURTLE,
    ".trig": ox.RdfFormat.TRIG,
}
"""What a file of predicted links may be written in."""


ERASED = "https://kgservice.example/ns#erased"
REIFIES = "http://www.w3.org/1999/02/22-rdf-syntax-ns#reifies"


class _TooMuch(Exception):
    """A result beyond a limit."""

    def __init__(self, slug: str) -> None:
        self.slug = slug


class _Limited(io.RawIOBase):
    """Keeps what is written until it is too much; lines of TSV and N-Triples are rows, since both escape line ends."""

    def __init__(self, max_rows: int, max_bytes: int, head: int) -> None:
        self.rows, self.max_rows, self.max_bytes = -head, max_rows, max_bytes
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += data
        self.rows += bytes(data).count(b"\n")
        if self.rows > self.max_rows:
            raise _TooMuch("too-many-rows")
        if len(self.content) > self.max_bytes:
            raise _TooMuch("result-too-large")
        return len(data)


def load(folder: Path, predicted: Path | None, predicted_graph: str) -> None:
    """Make a store of the N-Triples on stdin, and of a file of predicted links: a graph's into `predicted_graph`."""
    store = ox.Store(str(folder))
    store.bulk_load(sys.stdin.buffer, format=ox.RdfFormat.N_TRIPLES, lenient=True)
    if predicted:
        syntax = SYNTAXES[predicted.suffix]
        graph = None if syntax.supports_datasets else ox.NamedNode(predicted_graph)
        store.bulk_load(path=str(predicted), format=syntax, to_graph=graph)
    forget(store)
    store.optimize()
    store.flush()


def extend(folder: Path) -> None:
    """Add the N-Triples on stdin to a store."""
    store = ox.Store(str(folder))
    store.bulk_load(sys.stdin.buffer, format=ox.RdfFormat.N_TRIPLES, lenient=True)
    store.flush()


def forget(store: ox.Store) -> None:
    """Take out of the named graphs what mentions an entity that the default graph marks as erased, and the marks."""
    marks = list(store.quads_for_pattern(None, ox.NamedNode(ERASED), None, ox.DefaultGraph()))
    erased = {mark.subject for mark in marks}
    for mark in marks:
        store.remove(mark)
    for name in list(store.named_graphs()) if erased else ():
        quads = list(store.quads_for_pattern(None, None, None, name))
        about = erased | {
            quad.subject for quad in quads if quad.predicate.value == REIFIES and _mentions(quad.object, erased)
        }
        for quad in quads:
            if quad.subject in about or _mentions(quad.object, erased):
                store.remove(quad)


def _mentions(term: Any, erased: set[Any]) -> bool:
    parts = (term.subject, term.predicate, term.object) if isinstance(term, ox.Triple) else (term,)
    return any(part in erased for part in parts)


def serve(folder: Path, memory_bytes: int, federated: bool) -> None:
    """Answer queries from stdin on stdout until stdin ends."""
    store = ox.Store.read_only(str(folder))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if not federated:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    sys.stdout.buffer.write(frame({"ready": True}))
    sys.stdout.buffer.flush()
    while (message := read(sys.stdin.buffer)) is not None:
        sys.stdout.buffer.write(answer(store, message[0]))
        sys.stdout.buffer.flush()


def answer(store: ox.Store, asked: dict[str, Any]) -> bytes:
    """The frame that answers a query, or says which problem it met."""
    try:
        kind = next(name for name in TASKS if name in asked)
        media, content = TASKS[kind](store, asked)
    except SyntaxError as error:
        return frame({"problem": "malformed-query", "detail": str(error)})
    except _TooMuch as error:
        return frame({"problem": error.slug})
    except (OSError, RuntimeError, ValueError) as error:
        return frame({"problem": "failed-query", "detail": str(error)})
    return frame({"media": media}, content)


def evaluate(store: ox.Store, asked: dict[str, Any]) -> tuple[str | None, bytes]:
    """Ask a query; the media type is None where none of those accepted is of the result's kind."""
    default = [ox.NamedNode(iri) for iri in asked.get("default_graph", ())]
    named = [ox.NamedNode(iri) for iri in asked.get("named_graphs", ())]
    results = store.query(
        asked["query"],
        base_iri=asked.get("base"),
        prefixes=asked.get("prefixes"),
        default_graph=[*default] if default or named else None,
        named_graphs=[*named] if default or named else None,
    )
    media = asked["graph_media" if isinstance(results, ox.QueryTriples) else "solutions_media"]
    if media is None:
        return None, b""
    if isinstance(results, ox.QueryBoolean):
        # CSV and TSV have no form for a truth value; JSON's is given instead.
        media = media if media.startswith("application/") else "application/sparql-results+json"
        return media, results.serialize(format=SOLUTIONS[media]) or b""
    if isinstance(results, ox.QueryTriples):
        return media, _graph(results, media, asked)
    return media, _solutions(results, media, asked)


def _solutions(results: ox.QuerySolutions, media: str, asked: dict[str, Any]) -> bytes:
    limited = _Limited(asked["max_rows"], asked["max_bytes"], head=1)
    results.serialize(cast("IO[bytes]", limited), format=ox.QueryResultsFormat.TSV)
    content = bytes(limited.content)
    if SOLUTIONS[media] == ox.QueryResultsFormat.TSV:
        return content
    parsed = ox.parse_query_results(content, format=ox.QueryResultsFormat.TSV)
    return parsed.serialize(format=SOLUTIONS[media]) or b""


def _graph(results: ox.QueryTriples, media: str, asked: dict[str, Any]) -> bytes:
    limited = _Limited(asked["max_rows"], asked["max_bytes"], head=0)
    results.serialize(cast("IO[bytes]", limited), format=ox.RdfFormat.N_TRIPLES)
    content = bytes(limited.content)
    if GRAPHS[media] == ox.RdfFormat.N_TRIPLES:
        return content
    triples = (quad.triple for quad in ox.parse(content, format=ox.RdfFormat.N_TRIPLES, lenient=True))
    return ox.serialize(triples, format=GRAPHS[media], prefixes=asked.get("prefixes")) or b""


def convert(_: ox.Store, asked: dict[str, Any]) -> tuple[str, bytes]:
    """A Turtle document in another syntax."""
    triples = (quad.triple for quad in ox.parse(asked["turtle"], format=ox.RdfFormat.TURTLE))
    return asked["graph_media"], ox.serialize(triples, format=GRAPHS[asked["graph_media"]]) or b""


def inserted(_: ox.Store, asked: dict[str, Any]) -> tuple[str, bytes]:
    """What an update inserts into nothing: its triples, each with its annotations, as JSON."""
    empty = ox.Store()
    empty.update(asked["update"], base_iri=asked.get("base"), prefixes=asked.get("prefixes"))
    triples = [quad.triple for quad in empty]
    reified = {triple.subject: triple.object for triple in triples if triple.predicate.value == REIFIES}
    pairs: dict[Any, list[Any]] = {}
    for triple in triples:
        if triple.subject in reified and triple.predicate.value != REIFIES:
            pairs.setdefault(reified[triple.subject], []).append((triple.predicate.value, _term(triple.object)))
    stated = [
        {
            "subject": _term(triple.subject),
            "relation": triple.predicate.value,
            "object": _term(triple.object),
            "qualifiers": pairs.get(triple, []),
        }
        for triple in triples
        if triple.subject not in reified
    ]
    return "application/json", json.dumps(stated).encode()


def _term(term: Any) -> dict[str, str]:
    if isinstance(term, ox.Literal):
        return {
            "kind": "literal",
            "value": term.value,
            "language": term.language or "",
            "datatype": term.datatype.value,
        }
    return {"kind": "iri" if isinstance(term, ox.NamedNode) else "blank", "value": getattr(term, "value", str(term))}


TASKS: dict[str, Callable[[ox.Store, dict[str, Any]], tuple[str | None, bytes]]] = {
    "query": evaluate,
    "turtle": convert,
    "update": inserted,
}
"""What may be asked, by the field that says it."""


def main() -> None:
    """`load FOLDER GRAPH [FILE]`, `extend FOLDER` or `serve FOLDER MEMORY_BYTES FEDERATED`."""
    task, folder, *rest = sys.argv[1:]
    if task == "load":
        load(Path(folder), Path(rest[1]) if len(rest) > 1 else None, rest[0])
    elif task == "extend":
        extend(Path(folder))
    else:
        serve(Path(folder), int(rest[0]), rest[1] == "1")


if __name__ == "__main__":
    main()
