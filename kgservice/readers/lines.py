"""N-Triples and N-Quads by whole columns: lines of the usual form are told by one pattern and cut at their spaces.

The pattern accepts a subset of what the strict parser accepts, and only where the terms come out the same; every other
line goes to the strict parser, whose word is final. So the two accept and refuse exactly the same lines.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyoxigraph as ox

from kgservice.errors import MalformedStatement
from kgservice.readers import sources

_log = logging.getLogger(__name__)

LOGGED_LINES = 20
"""Of the malformed lines of one block, so many are logged one by one."""

# RFC 3987 without IP literals, user names and private characters: a subset that needs no second look.
_UCS = r"\x{A0}-\x{D7FF}\x{F900}-\x{FDCF}\x{FDF0}-\x{FFEF}"
_PCHAR = rf"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@{_UCS}]|%[0-9A-Fa-f]{{2}})"
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_IRI = rf"<[A-Za-z][A-Za-z0-9+.\-]*:(?://[A-Za-z0-9.\-]+(?::[0-9]{{1,5}})?(?:/{_PCHAR}*)*|{_PCHAR}+(?:/{_PCHAR}*)*){_TAIL}>"
_BNODE = r"_:[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_\-])?"
_LANGUAGE = r"@[a-z]{2,3}(?:-[a-z]{4})?(?:-[a-z]{2}|-[0-9]{3})?"
_TEXT = r'"(?:[\x20-\x21\x23-\x5B\x5D-\x7E\x{80}-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}]|\\["\\nrtbf])*"'
_LITERAL = rf"{_TEXT}(?:{_LANGUAGE}|\^\^{_IRI})?"
_NODE = rf"(?:{_IRI}|{_BNODE})"
_TRIPLE = rf"{_NODE} {_IRI} (?:{_NODE}|{_LITERAL})"
TRIPLE_LINE = rf"^{_TRIPLE} \.\n$"
QUAD_LINE = rf"^{_TRIPLE} {_NODE} \.\n$"
_NOTHING = r"^[ \t]*(?:#[^\r\n]*)?\r?\n$"
_STRING = "^^<http://www.w3.org/2001/XMLSchema#string> .\n"
_LANGUAGE_TYPES = tuple(
    f"^^<http://www.w3.org/1999/02/22-rdf-syntax-ns#{name}> .\n" for name in ("langString", "dirLangString")
)
# Before a graph's name these are rare, and left to the strict parser.
_UNUSUAL_QUAD = r"#(?:string|langString|dirLangString)> [^ ]+ \.\n$"
_POSITION = re.compile(r"^Parser error .*?\d: |\s*\(line \d+\)$")

Ends = npt.NDArray[np.int64]


@dataclass
class Lines:
    """What a block of lines holds.

    Attributes:
        terms: subject, predicate, object, subject, ... of every triple: IRIs without brackets, blank nodes as `_:x`,
            literals and triple terms in canonical N-Triples form.
        in_named_graphs: how many of the triples name a graph, which is not kept.
        malformed: lines that were skipped.
        slow: lines that the strict parser had to read.
    """

    terms: pa.LargeStringArray
    in_named_graphs: int = 0
    malformed: int = 0
    slow: int = 0


def read_lines(
    block: bytes, syntax: ox.RdfFormat, *, source: str, first_line: int = 1, skip_malformed: bool = False
) -> Lines:
    """Read whole lines of N-Triples or N-Quads.

    Args:
        source, first_line: named in messages.
        skip_malformed: count, log and skip lines that do not parse.

    Raises:
        MalformedStatement: the first line that does not parse, with its column.
    """
    if not block.endswith(b"\n"):
        block += b"\n"
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == 10) + 1
    starts = np.concatenate([[0], ends])[:-1]
    lines = pl.Series("line", _strings(block, np.concatenate([[0], ends])), dtype=pl.String)
    is_triple = lines.str.contains(TRIPLE_LINE).to_numpy()
    for unusual in _LANGUAGE_TYPES:
        is_triple &= ~lines.str.ends_with(unusual).to_numpy()
    is_quad = np.zeros(len(lines), bool)
    if syntax == ox.RdfFormat.N_QUADS and not is_triple.all():
        others = np.flatnonzero(~is_triple)
        quads = lines.gather(others)
        is_quad[others] = (quads.str.contains(QUAD_LINE) & ~quads.str.contains(_UNUSUAL_QUAD)).to_numpy()
    is_fast = (is_triple | is_quad) & (ends - starts <= sources.MAX_LINE_BYTES)
    is_quad &= is_fast
    slow = np.flatnonzero(~is_fast)
    if len(slow):
        slow = slow[~lines.gather(slow).str.contains(_NOTHING).to_numpy()]
    is_string = lines.str.ends_with(_STRING).to_numpy()
    found = Lines(_cut(block, data, starts[is_fast], ends[is_fast], is_quad[is_fast], is_string[is_fast]))
    found.in_named_graphs = int(np.count_nonzero(is_quad))
    if len(slow):
        _strictly(
            found, [(int(i), block[starts[i] : ends[i]]) for i in slow], syntax, source, first_line, skip_malformed
        )
    return found


def cut_canonical(block: bytes, *, quads: bool) -> Lines:
    """Like `read_lines`, for lines that pyoxigraph itself has written: nothing is looked at twice.

    Args:
        quads: whether lines may name a graph.
    """
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == 10) + 1
    starts = np.concatenate([[0], ends])[:-1]
    is_quad = np.zeros(len(ends), bool)
    if quads and len(ends):
        # The last word is a graph's name unless it belongs to the object: a literal's has a quote, and the only word
        # of an IRI or a blank node is the third of the line.
        lines = pl.Series("line", _strings(block, np.concatenate([[0], ends])), dtype=pl.String)
        is_quad = lines.str.contains(r'^[^ ]+ [^ ]+ .+ (?:<[^" ]*>|_:[^" ]*) \.\n$').to_numpy()
    return Lines(
        _cut(block, data, starts, ends, is_quad, np.zeros(len(ends), bool)),
        in_named_graphs=int(np.count_nonzero(is_quad)),
    )


def _strings(block: bytes, offsets: Ends) -> pa.LargeStringArray:
    """The lines without a copy; in the rare block that is not UTF-8, empty ones in place of those that are not."""
    binary = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    )
    try:
        return binary.cast(pa.large_string())
    except pa.ArrowInvalid:
        return pa.array([_text_or_nothing(line) for line in binary.to_pylist()], pa.large_string())


def _text_or_nothing(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return "\ufffe"  # no pattern accepts it, so the strict parser says what is wrong


def _cut(
    block: bytes,
    data: npt.NDArray[np.uint8],
    starts: Ends,
    ends: Ends,
    is_quad: npt.NDArray[np.bool_],
    is_string: npt.NDArray[np.bool_],
) -> pa.LargeStringArray:
    """Cut lines of the form `S P O .` or `S P O G .` at their spaces; brackets and the datatype xsd:string fall away."""
    m = len(starts)
    if not m:
        return pa.array([], pa.large_string())
    spaces = np.flatnonzero(data == 32)
    first = np.searchsorted(spaces, starts)
    bounds = np.empty((m, 6), np.int64)  # begin and end of subject, predicate, object
    bounds[:, 0] = starts
    bounds[:, 1] = spaces[first]
    bounds[:, 2] = bounds[:, 1] + 1
    bounds[:, 3] = spaces[first + 1]
    bounds[:, 4] = bounds[:, 3] + 1
    bounds[:, 5] = ends - 3
    if is_quad.any():
        quads = np.flatnonzero(is_quad)
        bounds[quads, 5] = spaces[np.searchsorted(spaces, bounds[quads, 5]) - 1]
    bounds[is_string, 5] -= len(_STRING) - 3
    for place in (0, 2, 4):
        is_iri = data[bounds[:, place]] == 60
        if place == 4:
            is_iri &= data[bounds[:, 4] + 1] != 60  # a triple term keeps its brackets
        bounds[:, place] += is_iri
        bounds[:, place + 1] -= is_iri
    # One array of terms and of what stands between them, over the block's own bytes; only the terms are copied.
    offsets = np.append(bounds.ravel(), len(data))
    pieces = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(block))
    return pieces.take(pa.array(np.arange(0, 6 * m, 2)))


def _strictly(
    found: Lines,
    lines: list[tuple[int, bytes]],
    syntax: ox.RdfFormat,
    source: str,
    first_line: int,
    skip_malformed: bool,
) -> None:
    found.slow = len(lines)
    try:
        quads = list(ox.parse(b"".join(_of_lawful_length(line) for _, line in lines), format=syntax))
    except SyntaxError:
        quads = []
        for place, line in lines:
            try:
                quads += _one_line(line, syntax)
            except SyntaxError as error:
                column = None if error.offset is None else int(error.offset)
                wrong = MalformedStatement(source, first_line + place, column, problem_of(error))
                if not skip_malformed:
                    raise wrong from error
                found.malformed += 1
                if found.malformed <= LOGGED_LINES:
                    _log.warning("skipped: %s", wrong)
    rest = cut_canonical(canonical(quads), quads=syntax == ox.RdfFormat.N_QUADS)
    found.terms = pa.concat_arrays([found.terms, rest.terms])
    found.in_named_graphs += rest.in_named_graphs


def _one_line(line: bytes, syntax: ox.RdfFormat) -> list[ox.Quad]:
    try:
        return list(ox.parse(_of_lawful_length(line), format=syntax))
    except SyntaxError:
        if b"<<" not in line:
            raise
        from kgservice.readers import rdfstar

        upgraded = rdfstar.upgrade([line])
        return [quad for one in upgraded for quad in ox.parse(one, format=syntax)]


def _of_lawful_length(line: bytes) -> bytes:
    if len(line) > sources.MAX_LINE_BYTES:
        raise SyntaxError(f"expected a line of at most {sources.MAX_LINE_BYTES:,} bytes, found a longer one")
    return line


def canonical(quads: Iterable[ox.Triple | ox.Quad]) -> bytes:
    """N-Quads in canonical form, a line each."""
    written = ox.serialize(cast(Iterable[ox.Quad], quads), format=ox.RdfFormat.N_QUADS)
    assert written is not None
    return written


def problem_of(error: SyntaxError) -> str:
    """What pyoxigraph says is wrong, without the place, which messages give in their own way."""
    problem = _POSITION.sub("", str(error.msg))
    return problem[:1].lower() + problem[1:]
