"""Assemble a graph from batches of string columns: names become numbers in a few whole-column steps at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from typing import Literal as OneOf

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.errors import GraphError
from kgservice.graph import KnowledgeGraph
from kgservice.literals import Literals
from kgservice.ragged import offsets_of
from kgservice.readers.columns import Coded, distinct, large_strings
from kgservice.statements import Split, StatementTable
from kgservice.texts import Texts
from kgservice.types import Types
from kgservice.vocabulary import Vocabulary

Column: TypeAlias = Coded | Sequence[str] | pa.Array
_STATEMENT_COLUMNS = ("subject", "relation", "object", "qualifier_relation", "qualifier_value")
Owner = OneOf["entity", "relation", "type"]


@dataclass
class _Batches:
    """Columns that grow batch by batch; strings are kept as codes."""

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


class GraphBuilder:
    """Accumulates what readers find; `build` makes the graph.

    An entity is what stands in a statement, a negative or a qualifier, and what `add_entities` names. Texts, types and
    literals of other names are left out and counted in `unowned`: benchmark texts often cover more than the graph.
    """

    def __init__(self) -> None:
        self._statements, self._negatives, self._literals, self._types = (_Batches() for _ in range(4))
        self._texts: dict[Owner, _Batches] = {"entity": _Batches(), "relation": _Batches(), "type": _Batches()}
        self._entities: list[pa.LargeStringArray] = []
        self.unowned: dict[str, int] = {}

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
        self._add(
            self._statements,
            (subject, relation, object),
            split,
            qualifier_counts,
            (qualifier_relation, qualifier_value, qualifier_is_literal),
        )

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
        self._add(
            self._literals,
            (subject, relation, literal),
            split,
            qualifier_counts,
            (qualifier_relation, qualifier_value, qualifier_is_literal),
        )

    def add_negatives(self, subject: Column, relation: Column, object: Column, *, split: Split) -> None:
        """Statements known to be false."""
        columns = {"subject": subject, "relation": relation, "object": object}
        self._negatives.add(columns, split=np.full(len(subject), split, np.int8))

    def _add(
        self,
        to: _Batches,
        triple: tuple[Column, Column, Column],
        split: Split,
        qualifier_counts: npt.ArrayLike | None,
        qualifiers: tuple[Column, Column, npt.ArrayLike],
    ) -> None:
        m = len(triple[0])
        to.add(
            dict(zip(_STATEMENT_COLUMNS, (*triple, *qualifiers[:2]), strict=True)),
            split=np.full(m, split, np.int8),
            qualifier_counts=np.zeros(m, np.int64) if qualifier_counts is None else qualifier_counts,
            qualifier_is_literal=np.asarray(qualifiers[2], dtype=bool),
        )

    def add_types(self, entity: Column, type: Column) -> None:
        """Pairs of an entity and one of its types."""
        self._types.add({"entity": entity, "type": type})

    def add_texts(
        self, owner: Column, kind: npt.ArrayLike, language: Column, text: Column, *, of: Owner = "entity"
    ) -> None:
        """Labels, aliases and descriptions; `kind` holds `TextKind` values."""
        self._texts[of].add({"owner": owner, "language": language, "text": text}, kind=kind)

    def add_entities(self, names: Sequence[str] | pa.Array) -> None:
        """Names that are entities though no statement links them."""
        self._entities.append(large_strings(names))

    def build(self, *, prefixes: Mapping[str, str], provenance: Mapping[str, Any]) -> KnowledgeGraph:
        """The graph of all that was added; the same for the same content in any order.

        Raises:
            GraphError: more names than int32 ids.
        """
        links, facts = ({name: of.string(name) for name in _STATEMENT_COLUMNS} for of in (self._statements, self._literals))
        link_values, fact_values = (of.number("qualifier_is_literal", bool) for of in (self._statements, self._literals))
        denied = {name: self._negatives.string(name) for name in ("subject", "relation", "object")}
        linked = [column[name].values for column in (links, denied) for name in ("subject", "object")]
        pairs = ((links["qualifier_value"], link_values), (facts["qualifier_value"], fact_values))

        of_pairs = [value.take(~is_literal).values for value, is_literal in pairs]
        entities = Vocabulary.build(distinct([*linked, *of_pairs, *self._entities]))
        named = [links, denied, facts]
        relations = Vocabulary.build(
            distinct(
                [
                    *(column["relation"].values for column in named),
                    *(column["qualifier_relation"].values for column in (links, facts)),
                ]
            )
        )
        literals = Vocabulary.build(
            distinct([facts["object"].values, *(value.take(is_literal).values for value, is_literal in pairs)])
        )
        if max(len(entities), len(relations), len(literals)) > np.iinfo(np.int32).max:
            raise GraphError("more than 2^31 - 1 names; split the sources into several graphs")

        def table(of: _Batches, columns: dict[str, Coded], objects: Vocabulary, is_literal: Any) -> StatementTable:
            value = columns["qualifier_value"]
            subject = _ids(entities, columns["subject"])
            built = StatementTable.build(
                subject,
                _ids(relations, columns["relation"]),
                _ids(objects, columns["object"]),
                split=of.number("split", np.int8),
                qualifier_offset=offsets_of(of.number("qualifier_counts", np.int64)),
                qualifier_relation=_ids(relations, columns["qualifier_relation"]),
                # A qualifier's literal is written as -1 - id.
                qualifier_value=np.where(is_literal, -1 - _ids(literals, value), _ids(entities, value)),
            )
            if unowned := int(np.count_nonzero(subject < 0)):
                self.unowned["literals"] = unowned
            return built.take(built.subject >= 0)

        statements = table(self._statements, links, entities, link_values)
        literal_statements = table(self._literals, facts, literals, fact_values)
        negatives = StatementTable.build(
            _ids(entities, denied["subject"]),
            _ids(relations, denied["relation"]),
            _ids(entities, denied["object"]),
            split=self._negatives.number("split", np.int8),
        )
        return KnowledgeGraph(
            entities=entities,
            relations=relations,
            statements=statements,
            texts=self._build_texts("entity", entities),
            relation_texts=self._build_texts("relation", relations),
            types=self._build_types(entities),
            literals=Literals.build(literals, literal_statements),
            negatives=negatives,
            prefixes=dict(sorted(prefixes.items())),
            provenance=dict(provenance),
        )

    def _build_types(self, entities: Vocabulary) -> Types:
        entity, type_ = self._types.string("entity"), self._types.string("type")
        owned = _ids(entities, entity) >= 0
        entity, type_ = self._kept(entity, owned, "types"), self._kept(type_, owned, "types")
        vocabulary = Vocabulary.build(type_.values)
        texts = self._build_texts("type", vocabulary)
        return Types.build(vocabulary, _ids(entities, entity), _ids(vocabulary, type_), n=len(entities), texts=texts)

    def _build_texts(self, of: Owner, vocabulary: Vocabulary) -> Texts:
        batches = self._texts[of]
        owner = _ids(vocabulary, batches.string("owner"))
        owned = owner >= 0
        language, text = (self._kept(batches.string(name), owned, f"{of} texts") for name in ("language", "text"))
        return Texts.build(owner[owned], batches.number("kind", np.int8)[owned], language.decode(), text.decode())

    def _kept(self, column: Coded, owned: npt.NDArray[np.bool_], what: str) -> Coded:
        if owned.all():
            return column
        self.unowned[what] = int(np.count_nonzero(~owned))
        return column.take(owned)


def _ids(vocabulary: Vocabulary, column: Coded) -> npt.NDArray[np.int32]:
    """int32 `[len(column)]`: each distinct value is looked up once."""
    if not len(column):
        return np.empty(0, np.int32)
    found = pc.fill_null(pc.index_in(column.values, value_set=vocabulary.names), -1).to_numpy(zero_copy_only=False)
    ids: npt.NDArray[np.int32] = found.astype(np.int32)[column.codes]
    return ids
