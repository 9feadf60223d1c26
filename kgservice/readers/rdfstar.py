"""N-Triples-star and N-Quads-star lines, from before RDF 1.2, as lines of RDF 1.2.

A quoted triple becomes a blank node that reifies it, named by a hash of the triple: RDF-star knows one node per quoted
triple, so whatever is said about it, on whichever line, is said about one reifier.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import pyoxigraph as ox

REIFIES = ox.NamedNode("http://www.w3.org/1999/02/22-rdf-syntax-ns#reifies")
# Only what may hold a quote's brackets or is one; whether the rest is well-formed is left to the strict parser.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|<<\(|\)>>|<<|>>|<[^<>]*>|#[^\r\n]*')


def upgrade(lines: Sequence[bytes]) -> list[bytes]:
    """Write every quoted triple as a reifier.

    `<< S P O >> Q V .` becomes `_:h rdf:reifies <<( S P O )>> .` and `_:h Q V .`; quotes within quotes come first. In
    N-Quads both stand in the graph of the line.

    Args:
        lines: one statement each, with or without its line break.

    Returns:
        The lines of RDF 1.2; a line that is not RDF-star is among them unchanged, for the strict parser to judge.
    """
    written: list[bytes] = []
    for line in lines:
        quads = _read(line)
        written += [line] if quads is None else [_write(quad) for quad in quads]
    return written


def reifier_of(triple: ox.Triple) -> ox.BlankNode:
    """The blank node that stands for a quoted triple; labels of blank nodes within it count."""
    return ox.BlankNode("quoted" + hashlib.blake2b(str(triple).encode(), digest_size=16).hexdigest())


def _read(line: bytes) -> list[ox.Quad] | None:
    """The statements of a line, its quotes first; nothing where it is not RDF-star."""
    quoted: dict[ox.BlankNode, ox.Triple] = {}
    open_quotes: list[list[bytes]] = [[]]
    end = 0
    for token in _TOKEN.finditer(line):
        open_quotes[-1].append(line[end : token.start()])
        end = token.end()
        if token[0] == b"<<":
            open_quotes.append([])
        elif token[0] in (b"<<(", b")>>"):
            return None  # RDF 1.2 and RDF-star in one line belong to neither
        elif token[0] == b">>":
            inner = _strict(b"".join(open_quotes.pop()) + b" .", ox.RdfFormat.N_TRIPLES)
            if inner is None or not open_quotes:
                return None
            label = reifier_of(inner.triple)
            quoted[label] = inner.triple
            open_quotes[-1].append(f" {label} ".encode())
        else:
            open_quotes[-1].append(token[0])
    if not quoted or len(open_quotes) > 1:
        return None
    statement = _strict(b"".join([*open_quotes[0], line[end:]]), ox.RdfFormat.N_QUADS)
    if statement is None or statement.graph_name in quoted:
        return None
    graph = statement.graph_name
    return [*(ox.Quad(label, REIFIES, triple, graph) for label, triple in quoted.items()), statement]


def _strict(statement: bytes, syntax: ox.RdfFormat) -> ox.Quad | None:
    try:
        quads: list[ox.Quad] = list(ox.parse(statement, format=syntax))
    except SyntaxError:
        return None
    return quads[0] if len(quads) == 1 else None


def _write(quad: ox.Quad) -> bytes:
    written = ox.serialize([quad], format=ox.RdfFormat.N_QUADS)
    assert written is not None
    return written
