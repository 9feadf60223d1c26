"""The JSON dump of Wikidata, one entity a line, as batches: statements with qualifiers, texts, types, redirects.

Only what ends up in a graph is decoded: references are counted, sitelinks too. Names of entities, properties and
literals are those of `wikibase`, so that the RDF export of an entity gives the same statements.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from kgservice.errors import MalformedStatement
from kgservice.readers.batch import Batch
from kgservice.readers.options import ReadOptions
from kgservice.readers.wikidata.documents import UNREADABLE, decode, decode_tolerantly
from kgservice.readers.wikidata.rows import NO_PREDICATE, REDIRECTS, SITELINKS, Rows

__all__ = ["NO_PREDICATE", "REDIRECTS", "SITELINKS", "is_document", "read_block", "read_document"]

_log = logging.getLogger(__name__)

LOGGED_LINES = 20
"""Of the malformed lines of one block, so many are logged one by one."""
_BYTE = re.compile(r" \(byte (\d+)\)$")


def read_block(block: bytes, options: ReadOptions, *, source: str, first_line: int = 1) -> Batch:
    """Read whole lines of a dump.

    Args:
        block: entities, one a line, with or without a comma after each and brackets around all.
        options: what to keep; `on_error` says what becomes of a line that does not parse.
        source, first_line: named in messages.

    Returns:
        The rows, and a tally of every text, claim, qualifier, sitelink count, redirect, lexeme and malformed line.

    Raises:
        MalformedStatement: the first line that does not parse, unless these are skipped.
    """
    rows = Rows(options)
    malformed = 0
    for number, (start, end) in enumerate(_lines(block), first_line):
        try:
            entity = decode(block, start, end)
        except UNREADABLE as error:
            wrong = _malformed(error, source, number)
            if options.on_error == "fail":
                raise wrong from error
            malformed += 1
            if malformed <= LOGGED_LINES:
                _log.warning("skipped: %s", wrong)
            continue
        if entity is not None:
            rows.add(entity)
    if malformed:
        rows.tally["malformed", NO_PREDICATE] += malformed
    return rows.batch()


def is_document(head: bytes) -> bool:
    """Whether a file that begins so holds one JSON value over many lines, as Special:EntityData gives it."""
    first = head.lstrip().partition(b"\n")[0]
    return first.startswith(b"{") and (b'"entities"' in first[:200] or first.rstrip() == b"{")


def read_document(content: bytes, options: ReadOptions, *, source: str) -> Batch:
    """Read one JSON document, over any number of lines: of Special:EntityData, or a single entity.

    Raises:
        MalformedStatement: it does not parse; nothing in it can be trusted then, whatever `on_error` says.
    """
    rows = Rows(options)
    try:
        rows.add(decode_tolerantly(content))
    except UNREADABLE as error:
        before = content[: _byte_of(error) or 0]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        hint = "Mend the file: it is one JSON document, so --on-error=skip does not apply to it."
        raise MalformedStatement(source, line, column, _problem_of(error), hint=hint) from error
    return rows.batch()


def _lines(block: bytes) -> Iterator[tuple[int, int]]:
    """Where lines begin and end, without the line feed, and without a carriage return or a comma before it."""
    start, size = 0, len(block)
    while start < size:
        feed = block.find(b"\n", start)
        end = feed = size if feed < 0 else feed
        while end > start and block[end - 1] in b",\r \t":
            end -= 1
        yield start, end
        start = feed + 1


def _malformed(error: Exception, source: str, line: int) -> MalformedStatement:
    byte = _byte_of(error)
    return MalformedStatement(source, line, None if byte is None else byte + 1, _problem_of(error))


def _byte_of(error: Exception) -> int | None:
    if isinstance(error, UnicodeDecodeError):
        return None
    match = _BYTE.search(str(error))
    return int(match[1]) if match else None


def _problem_of(error: Exception) -> str:
    problem = "invalid UTF-8" if isinstance(error, UnicodeDecodeError) else _BYTE.sub("", str(error))
    return problem if problem.startswith("JSON") else problem[:1].lower() + problem[1:]
