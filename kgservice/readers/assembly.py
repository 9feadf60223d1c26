"""A batch from whole columns: for readers that take a file at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from typing import Literal as OneOf

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.graph.statements import Split
from kgservice.graph.texts import TextKind
from kgservice.readers.batch import Batch, Owner, Places, StatementRows, Tally, TextRows
from kgservice.readers.columns import Coded
from kgservice.readers.options import RDF, RDFS, SKOS

Column: TypeAlias = Coded | Sequence[str] | pa.Array
OwnerName = OneOf["entity", "relation", "type"]
_OWNER = {"entity": Owner.ENTITY, "relation": Owner.RELATION, "type": Owner.TYPE}

TEXT_NAMES = {
    TextKind.LABEL: RDFS + "label",
    TextKind.ALIAS: SKOS + "altLabel",
    TextKind.DESCRIPTION: "http://schema.org/description",
}
"""How the account calls texts that no predicate gave."""


@dataclass
class _Columns:
    """Columns that grow part by part; strings as codes."""

    strings: dict[str, list[Coded]] = field(default_factory=dict)
    numbers: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)

    def add(self, strings: Mapping[str, Column], **numbers: npt.ArrayLike) -> None:
        for name, column in strings.items():
            self.strings.setdefault(name, []).append(column if isinstance(column, Coded) else Coded.of(column))
        for name, values in numbers.items():
            self.numbers.setdefault(name, []).append(np.asarray(values))

    def string(self, name: str) -> Coded:
        return Coded.concat(self.strings.get(name, []))

    def number(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        parts = self.numbers.get(name, [])
        return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)


class BatchBuilder:
    """Accumulates what a reader finds; `build` makes the batch.

    An entity is what stands in a link, a negative or a qualifier, and what `add_entities` names. Texts, types and
    literals of other names are left out of the graph and counted: benchmark texts often cover more than the graph.
    What is added is counted as kept; a reader counts what it drops with `drop`.
    """

    def __init__(self) -> None:
        self._statements, self._negatives, self._types, self._texts = (_Columns() for _ in range(4))
        self._entities: list[Coded] = []
        self.tally: Tally = Counter()

    def add_statements(
        self,
        subject: Column,
        relation: Column,
        object: Column,
        *,
        split: Split = Split.TRAIN,
        qualifier_counts: npt.ArrayLike | None = None,
        qualifier_relation: Column = (),
        qualifier_value: Column = (),
        qualifier_is_literal: npt.ArrayLike = (),
    ) -> None:
        """Links between entities.

        Args:
            qualifier_counts: `[m]`, how many of the following pairs each row has; none by default.
            qualifier_value: `[q]`, names of entities, or literals in N-Triples form where `qualifier_is_literal`.
        """
        qualifiers = qualifier_relation, qualifier_value, qualifier_is_literal
        self._add("statements", (subject, relation, object), split, qualifier_counts, qualifiers)

    def add_literals(
        self,
        subject: Column,
        relation: Column,
        literal: Column,
        *,
        split: Split = Split.TRAIN,
        qualifier_counts: npt.ArrayLike | None = None,
        qualifier_relation: Column = (),
        qualifier_value: Column = (),
        qualifier_is_literal: npt.ArrayLike = (),
    ) -> None:
        """Facts whose value is a literal in N-Triples form; qualifiers as in `add_statements`."""
        qualifiers = qualifier_relation, qualifier_value, qualifier_is_literal
        self._add("literals", (subject, relation, literal), split, qualifier_counts, qualifiers)

    def add_negatives(self, subject: Column, relation: Column, object: Column, *, split: Split) -> None:
        """Statements known to be false."""
        self._add("negatives", (subject, relation, object), split, None, ((), (), ()))

    def add_types(self, entity: Column, type: Column) -> None:
        """Pairs of an entity and one of its types."""
        self._types.add({"entity": entity, "type": type})
        self.tally["types", RDF + "type"] += len(entity)

    def add_texts(
        self, owner: Column, kind: npt.ArrayLike, language: Column, text: Column, *, of: OwnerName = "entity"
    ) -> None:
        """Labels, aliases and descriptions; `kind` holds `TextKind` values."""
        kinds = np.asarray(kind, np.int8)
        self._texts.add(
            {"owner": owner, "language": language, "text": text},
            kind=kinds,
            of=np.full(len(kinds), _OWNER[of], np.int8),
        )
        for number, count in zip(*np.unique(kinds, return_counts=True), strict=True):
            self.tally["texts", TEXT_NAMES[TextKind(number)]] += int(count)

    def add_entities(self, names: Sequence[str] | pa.Array) -> None:
        """Names that are entities though no statement links them."""
        self._entities.append(Coded.of(names))

    def drop(self, reason: str, count: int, predicate: str = "") -> None:
        """Count what was read but is not added."""
        if count:
            self.tally[reason, predicate] += count

    def build(self) -> Batch:
        """The batch of all that was added."""
        terms = _Terms()
        statements = self._rows(self._statements, terms)
        negatives = self._rows(self._negatives, terms)
        text, language = self._texts.string("text"), self._texts.string("language")
        texts = TextRows(
            owner=terms.places(self._texts.string("owner")),
            of=self._texts.number("of", np.int8),
            kind=self._texts.number("kind", np.int8),
            language=language.codes,
            text=text.decode(),
            languages=language.values.to_pylist(),
        )
        type_of = np.stack([terms.places(self._types.string(name)) for name in ("entity", "type")])
        entities = terms.places(Coded.concat(self._entities))
        return Batch(
            terms.united(),
            statements=statements,
            negatives=negatives,
            texts=texts,
            type_of=type_of,
            entities=entities,
            tally=self.tally,
        )

    def _add(
        self,
        what: OneOf["statements", "literals", "negatives"],
        triple: tuple[Column, Column, Column],
        split: Split,
        qualifier_counts: npt.ArrayLike | None,
        qualifiers: tuple[Column, Column, npt.ArrayLike],
    ) -> None:
        m, relation = len(triple[0]), triple[1] if isinstance(triple[1], Coded) else Coded.of(triple[1])
        counts = np.zeros(m, np.int64) if qualifier_counts is None else np.asarray(qualifier_counts, np.int64)
        columns = self._negatives if what == "negatives" else self._statements
        columns.add(
            {
                "subject": triple[0],
                "relation": relation,
                "object": triple[2],
                "qualifier_relation": qualifiers[0],
                "qualifier_value": qualifiers[1],
            },
            literal=np.full(m, what == "literals"),
            split=np.full(m, split, np.int8),
            qualifier_count=counts,
            qualifier_is_literal=np.asarray(qualifiers[2], dtype=bool),
        )
        uses = np.bincount(relation.codes, minlength=len(relation.values))
        for name, count in zip(relation.values.to_pylist(), uses.tolist(), strict=True):
            if count:
                self.tally[what, name] += count
        if len(qualifiers[0]):
            named = qualifiers[0] if isinstance(qualifiers[0], Coded) else Coded.of(qualifiers[0])
            uses = np.bincount(named.codes, minlength=len(named.values))
            for name, count in zip(named.values.to_pylist(), uses.tolist(), strict=True):
                if count:
                    self.tally["qualifiers", name] += count

    def _rows(self, columns: _Columns, terms: _Terms) -> StatementRows:
        m = len(columns.number("split", np.int8))
        place = {name: terms.places(columns.string(name)) for name in ("subject", "relation", "object")}
        pairs = {name: terms.places(columns.string(name)) for name in ("qualifier_relation", "qualifier_value")}
        return StatementRows(
            **place,
            object_is_literal=columns.number("literal", bool),
            split=columns.number("split", np.int8),
            rank=np.zeros(m, np.int8),
            references=np.zeros(m, np.int32),
            qualifier_count=columns.number("qualifier_count", np.int32),
            **pairs,
            qualifier_is_literal=columns.number("qualifier_is_literal", bool),
        )


class _Terms:
    """The distinct strings of several columns."""

    def __init__(self) -> None:
        self._terms: pa.LargeStringArray = pa.array([], pa.large_string())

    def places(self, column: Coded) -> Places:
        found = pc.index_in(column.values, value_set=self._terms)
        fresh = column.values.filter(pc.is_null(found))
        if len(fresh):
            self._terms = pa.concat_arrays([self._terms, fresh])
            found = pc.index_in(column.values, value_set=self._terms)
        if not len(column):
            return np.empty(0, np.int32)
        places: Places = found.to_numpy(zero_copy_only=False).astype(np.int32)[column.codes]
        return places

    def united(self) -> pa.LargeStringArray:
        return self._terms
