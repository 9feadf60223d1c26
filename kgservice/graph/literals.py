"""Numbers, dates and strings that statements state, each kept once in its N-Triples form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.graph.statements import StatementTable
from kgservice.graph.vocabulary import Vocabulary

Ids = npt.NDArray[np.int32]

SCHEMA = pa.schema({"name": pa.large_string(), "number": pa.float64()})
"""`literals.arrow`: the literals and what they measure."""

XSD = "http://www.w3.org/2001/XMLSchema#"
WIKIBASE = "http://wikiba.se/ontology#"
_LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"(?:@([A-Za-z0-9-]+)|\^\^<([^>]*)>)?', re.DOTALL)
# Canonical N-Triples: seven short escapes, \uXXXX for the other control characters, all else as it is.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_UNESCAPES = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_TO_ESCAPE = re.compile(r'[\\"\x00-\x1f\x7f]')
_NUMBERS = {XSD + name for name in ("integer", "decimal", "double", "float", "int", "long", "nonNegativeInteger")}
_DATES = {XSD + name for name in ("date", "dateTime", "gYear", "gYearMonth")}
QUANTITY, TIME = WIKIBASE + "Quantity", WIKIBASE + "Time"
_DATE = r"^(?P<year>[+-]?\d{4,18})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d))?)?"
_NUMBER = r"^(?P<number>[+-]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][+-]?\d{1,3})?)"
_TYPED = r'(?s)^"(?P<lexical>.*)"\^\^<(?P<datatype>[^>]*)>$'


@dataclass(frozen=True)
class Literal:
    """A lexical form with its datatype IRI or its language."""

    lexical: str
    datatype: str = XSD + "string"
    language: str = ""

    @classmethod
    def parse(cls, text: str) -> Literal:
        """From the N-Triples form, as kept in the literal vocabulary."""
        match = _LITERAL.fullmatch(text)
        if match is None:
            return cls(text)
        lexical = _ESCAPED.sub(_unescape, match[1])
        return cls(lexical, match[3] or XSD + "string", match[2] or "")

    def __str__(self) -> str:
        quoted = '"' + _TO_ESCAPE.sub(_escape, self.lexical) + '"'
        if self.language:
            return f"{quoted}@{self.language}"
        return quoted if self.datatype == XSD + "string" else f"{quoted}^^<{self.datatype}>"

    @property
    def number(self) -> float:
        """See `numbers`."""
        return float(numbers(pa.array([str(self)], pa.large_string()))[0])


def numbers(literals: pa.LargeStringArray) -> npt.NDArray[np.float64]:
    """float64 `[l]`: what literals in N-Triples form measure.

    The value of a number; the amount of a Wikibase quantity, whatever its unit; of a date, its year and the part of the
    year gone by (`1952-07-02` is about 1952.5); else NaN, also for what is beyond float64, and for days of no calendar.
    """
    found = np.full(len(literals), np.nan)
    typed = pc.extract_regex(literals, _TYPED)
    lexical, datatype = typed.field("lexical"), typed.field("datatype")
    for kinds, pattern in ((_NUMBERS | {QUANTITY}, _NUMBER), (_DATES | {TIME}, _DATE)):
        rows = np.flatnonzero(
            pc.fill_null(pc.is_in(datatype, pa.array(sorted(kinds), datatype.type)), False).to_numpy(
                zero_copy_only=False
            )
        )
        parts = pc.extract_regex(lexical.take(pa.array(rows)), pattern)
        value = [_floats(parts.field(name)) for name in (part.name for part in parts.type)]
        if pattern is _NUMBER:
            whole = pc.equal(parts.field("number"), lexical.take(pa.array(rows)))
            whole = pc.fill_null(pc.or_(whole, pc.equal(datatype.take(pa.array(rows)), QUANTITY)), False)
            found[rows] = np.where(whole.to_numpy(zero_copy_only=False) & np.isfinite(value[0]), value[0], np.nan)
        else:
            year, month, day = value
            year = np.where((month > 12) | (day > 31), np.nan, year)
            month, day = (np.where(part >= 1, part, 1) for part in (month, day))
            found[rows] = year + ((month - 1) * 30.4375 + day - 1) / 365.25
    return found


def _floats(texts: pa.StringArray) -> npt.NDArray[np.float64]:
    """NaN for null and empty ones."""
    texts = pc.utf8_ltrim(texts, "+")
    texts = pc.if_else(pc.equal(texts, ""), None, texts)
    return np.asarray(pc.fill_null(pc.cast(texts, pa.float64()), np.nan).to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class Literals:
    """The literals of a graph and the statements that give them to entities.

    Attributes:
        vocabulary: `l` distinct literals in N-Triples form. Qualifiers refer to them too, as `-1 - id`.
        number: float64 `[l]`, see `numbers`.
        statements: `f` statements whose objects are literal ids; with qualifiers, like those between entities.
    """

    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary.build([]))
    number: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    statements: StatementTable = field(default_factory=StatementTable.empty)

    @classmethod
    def build(cls, vocabulary: Vocabulary, statements: StatementTable) -> Literals:
        """Read the numbers of a vocabulary that statements refer to."""
        return cls(vocabulary, numbers(vocabulary.names), statements)

    def __len__(self) -> int:
        return len(self.statements)

    @cached_property
    def dates(self) -> npt.NDArray[np.bool_]:
        """bool `[l]`: which literals are dates, whose number is a year."""
        datatype = pc.extract_regex(self.vocabulary.names, _TYPED).field("datatype")
        found = pc.is_in(datatype, pa.array(sorted(_DATES | {TIME}), datatype.type))
        return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False))

    def dated(self, relation: int) -> bool:
        """Whether a relation states dates rather than numbers."""
        objects = self.statements.object[self.statements.relation == relation]
        return bool(2 * np.count_nonzero(self.dates[objects]) > len(objects))

    def extended(self, names: Sequence[str]) -> Literals:
        """With more of them, in N-Triples form, of which nothing is stated yet; those that are there keep their ids."""
        vocabulary = self.vocabulary.extend(names)
        fresh = vocabulary.names_of(np.arange(len(self.vocabulary), len(vocabulary)))
        number = np.concatenate([self.number, numbers(pa.array(fresh, pa.large_string()))])
        return Literals(vocabulary, number, StatementTable.empty())

    def behind(self, more: Literals) -> Literals:
        """With the literals and the statements of others, which began as `extended`, about entities behind all that are there."""
        if len(more.vocabulary) == len(self.vocabulary) and not len(more):
            return self
        return Literals(more.vocabulary, more.number, self.statements.behind(more.statements))

    def rows_of(self, entity: int) -> npt.NDArray[np.int64]:
        """int64: the rows of `statements` about one entity."""
        return np.arange(*np.searchsorted(self.statements.subject, [entity, entity + 1]))

    def value(self, literal: int) -> Literal:
        """The literal of an id."""
        return Literal.parse(self.vocabulary.name(literal))

    def save(self, folder: Path) -> None:
        """Write `literals.arrow` (the values) and `literal_statements.arrow`."""
        batch = pa.record_batch([self.vocabulary.names, pa.array(self.number)], schema=SCHEMA)
        with pa.OSFile(str(folder / "literals.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_batch(batch)
        self.statements.save(folder / "literal_statements.arrow")

    @classmethod
    def open(cls, folder: Path) -> Literals:
        """Map what `save` wrote."""
        values = pa.ipc.open_file(pa.memory_map(str(folder / "literals.arrow")))
        statements = StatementTable.open(folder / "literal_statements.arrow")
        batches = [values.get_batch(i) for i in range(values.num_record_batches)]
        if not batches:
            return cls(statements=statements)
        number = [batch.column("number").to_numpy() for batch in batches]
        vocabulary = Vocabulary([batch.column("name") for batch in batches])
        return cls(vocabulary, number[0] if len(number) == 1 else np.concatenate(number), statements)

    def digest(self) -> str:
        """sha256 over values and statements."""
        return hashlib.sha256((self.vocabulary.content_hash + self.statements.content_hash).encode()).hexdigest()


def _escape(plain: re.Match[str]) -> str:
    return _ESCAPES.get(plain[0]) or f"\\u{ord(plain[0]):04X}"


def _unescape(escaped: re.Match[str]) -> str:
    code = escaped[1] or escaped[2]
    return chr(int(code, 16)) if code else _UNESCAPES.get(escaped[3], escaped[3])
