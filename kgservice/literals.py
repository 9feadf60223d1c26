"""Numbers, dates and strings that statements state, each kept once in its N-Triples form."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.vocabulary import Vocabulary

Ids = npt.NDArray[np.int32]

XSD = "http://www.w3.org/2001/XMLSchema#"
_LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"(?:@([A-Za-z0-9-]+)|\^\^<([^>]*)>)?', re.DOTALL)
# Canonical N-Triples: seven short escapes, \uXXXX for the other control characters, all else as it is.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_UNESCAPES = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_TO_ESCAPE = re.compile(r'[\\"\x00-\x1f\x7f]')
_DATE = re.compile(r"([+-]?\d{4,})(?:-(\d\d)(?:-(\d\d))?)?")
_NUMBERS = {XSD + name for name in ("integer", "decimal", "double", "float", "int", "long", "nonNegativeInteger")}
_DATES = {XSD + name for name in ("date", "dateTime", "gYear", "gYearMonth")}


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
        """The value of a number; of a date, its year and the part of the year gone by; else NaN."""
        try:
            if self.datatype in _NUMBERS:
                return float(self.lexical)
            if self.datatype in _DATES and (match := _DATE.match(self.lexical)):
                month, day = int(match[2] or 1), int(match[3] or 1)
                return int(match[1]) + ((month - 1) * 30.4375 + day - 1) / 365.25
        except ValueError:
            pass
        return float("nan")


@dataclass(frozen=True)
class Literals:
    """The literals of a graph and the statements that give them to entities.

    Attributes:
        vocabulary: `l` distinct literals in N-Triples form. Qualifiers refer to them too, as `-1 - id`.
        number: float64 `[l]`, see `Literal.number`.
        subject, relation, literal: int32 `[f]`, sorted: entity, relation and literal ids.
    """

    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary.build([]))
    number: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    subject: Ids = field(default_factory=lambda: np.empty(0, np.int32))
    relation: Ids = field(default_factory=lambda: np.empty(0, np.int32))
    literal: Ids = field(default_factory=lambda: np.empty(0, np.int32))

    @classmethod
    def build(
        cls, vocabulary: Vocabulary, subject: npt.ArrayLike, relation: npt.ArrayLike, literal: npt.ArrayLike
    ) -> Literals:
        """Sort and deduplicate; read the numbers."""
        columns = np.stack([np.asarray(column, dtype=np.int32) for column in (subject, relation, literal)], axis=1)
        columns = np.unique(columns, axis=0)
        number = np.full(len(vocabulary), np.nan)
        typed = np.flatnonzero(pc.ends_with(vocabulary.names, ">").to_numpy(zero_copy_only=False))
        number[typed] = [Literal.parse(text).number for text in vocabulary.names_of(typed)]
        return cls(vocabulary, number, *(np.ascontiguousarray(column) for column in columns.T))

    def __len__(self) -> int:
        return len(self.subject)

    def of(self, entity: int) -> list[tuple[int, int]]:
        """The (relation, literal id) pairs of one entity."""
        low, high = np.searchsorted(self.subject, [entity, entity + 1])
        return list(zip(self.relation[low:high].tolist(), self.literal[low:high].tolist(), strict=True))

    def value(self, literal: int) -> Literal:
        """The literal of an id."""
        return Literal.parse(self.vocabulary.name(literal))

    def save(self, folder: Path) -> None:
        """Write `literals.arrow` (the values) and `literal_statements.arrow`."""
        table = pa.table({"name": self.vocabulary.names, "number": self.number})
        with pa.OSFile(str(folder / "literals.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(len(table), 1))
        facts = pa.table({"subject": self.subject, "relation": self.relation, "literal": self.literal})
        path = folder / "literal_statements.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, facts.schema) as writer:
            writer.write_table(facts, max_chunksize=max(len(facts), 1))

    @classmethod
    def open(cls, folder: Path) -> Literals:
        """Map what `save` wrote."""
        values = pa.ipc.open_file(pa.memory_map(str(folder / "literals.arrow")))
        facts = pa.ipc.open_file(pa.memory_map(str(folder / "literal_statements.arrow")))
        if values.num_record_batches == 0:
            return cls()
        value = values.get_batch(0)
        vocabulary = Vocabulary([value.column("name")])
        if facts.num_record_batches == 0:
            return cls(vocabulary, value.column("number").to_numpy())
        fact = facts.get_batch(0)
        columns = (fact.column(name).to_numpy() for name in ("subject", "relation", "literal"))
        return cls(vocabulary, value.column("number").to_numpy(), *columns)

    def digest(self) -> str:
        """sha256 over values and statements."""
        digest = hashlib.sha256(self.vocabulary.content_hash.encode())
        for column in (self.subject, self.relation, self.literal):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


def _escape(plain: re.Match[str]) -> str:
    return _ESCAPES.get(plain[0]) or f"\\u{ord(plain[0]):04X}"


def _unescape(escaped: re.Match[str]) -> str:
    code = escaped[1] or escaped[2]
    return chr(int(code, 16)) if code else _UNESCAPES.get(escaped[3], escaped[3])
