"""A graph to which entities were added, and of which some must not be shown, since its models learnt it.

Nothing is sorted anew: what was added stands behind the graph's own rows, and what is known is looked up in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged
from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import Literals
from kgservice.graph.questions import AnswerIndex, Level
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch, Slot

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Additions:
    """What is added to a graph of `n` entities; ids are those of the grown graph.

    Attributes:
        entities: the graph's vocabulary and behind it the names added.
        statements: each with an added entity as subject or object; split CONTEXT.
        texts: of added entities.
        type_of: ragged, the types of every added entity.
        literals: the graph's, and behind them those of added entities; the statements about these alone.
    """

    entities: Vocabulary
    statements: StatementTable
    texts: Texts
    type_of: Ragged
    literals: Literals


class GrownTexts(Texts):
    """The texts of a graph and of what was added, asked by owner.

    Args:
        base, added: both.
        n: owners below are the base's, the others the added.
    """

    def __init__(self, base: Texts, added: Texts, n: int) -> None:
        self._base, self._added, self._n = base, added, n

    def __len__(self) -> int:
        return len(self._base) + len(self._added)

    def rows(self, owner: int) -> list[tuple[TextKind, str, str]]:
        """See `Texts.rows`."""
        return (self._base if owner < self._n else self._added).rows(owner)

    def preferred(self, owners: npt.ArrayLike, kind: TextKind, language: str = "en") -> list[str | None]:
        """See `Texts.preferred`."""
        owners = np.asarray(owners, dtype=np.int64)
        found = self._base.preferred(np.where(owners < self._n, owners, -1), kind, language)
        if not (owners >= self._n).any():
            return found
        others = self._added.preferred(np.where(owners >= self._n, owners, -1), kind, language)
        return [other or one for one, other in zip(found, others, strict=True)]

    def several(self, kind: TextKind) -> set[int]:
        """See `Texts.several`."""
        return self._base.several(kind) | self._added.several(kind)

    def languages(self) -> list[str]:
        """See `Texts.languages`."""
        return sorted({*self._base.languages(), *self._added.languages()})


@dataclass(frozen=True)
class GrownGraph(KnowledgeGraph):
    """See the module; `grow` makes one.

    Attributes:
        base: the graph that models learnt.
        added: what was added alone, with the grown graph's ids.
        erased: bool `[n]`: the entities that must not be shown; their ids stay, so that models keep their rows.
    """

    base: KnowledgeGraph = None  # type: ignore[assignment]
    added: KnowledgeGraph = None  # type: ignore[assignment]
    erased: Mask = None  # type: ignore[assignment]

    @classmethod
    def grow(cls, base: KnowledgeGraph, additions: Additions, erased: Mask) -> Self:
        """The graph with what was added."""
        kept = {one.name: getattr(base, one.name) for one in fields(KnowledgeGraph)}
        nothing = np.zeros(base.n, dtype=np.int64)
        alone = replace(
            base.types, of_entity=Ragged(np.append(nothing, additions.type_of.offset), additions.type_of.values)
        )
        added = KnowledgeGraph(
            additions.entities,
            base.relations,
            additions.statements,
            additions.texts,
            types=alone if len(base.types) else base.types,
            literals=additions.literals,
            prefixes=base.prefixes,
        )
        grown = {
            "entities": additions.entities,
            "statements": base.statements.behind(additions.statements),
            "texts": GrownTexts(base.texts, additions.texts, base.n),
            "types": _types(base, additions.type_of),
            "literals": base.literals.behind(additions.literals),
        }
        return cls(**{**kept, **grown}, base=base, added=added, erased=erased)

    @cached_property
    def seen(self) -> Mask:
        """See `KnowledgeGraph.seen`."""
        return np.concatenate([self.base.seen, np.zeros(self.n - self.base.n, dtype=bool)])

    @cached_property
    def linking(self) -> Mask:
        """See `KnowledgeGraph.linking`."""
        return self.base.linking

    @cached_property
    def qualifying(self) -> Mask:
        """See `KnowledgeGraph.qualifying`."""
        return self.base.qualifying

    @cached_property
    def irreflexive(self) -> Mask:
        """See `KnowledgeGraph.irreflexive`."""
        return self.base.irreflexive & self.added.irreflexive

    @cached_property
    def degree(self) -> npt.NDArray[np.int64]:
        """See `KnowledgeGraph.degree`."""
        return np.pad(self.base.degree, (0, self.n - self.base.n)) + self.added.degree

    def rows_of(self, entity: int) -> npt.NDArray[np.int64]:
        """See `KnowledgeGraph.rows_of`; statements with an erased end are not shown."""
        rows = np.concatenate([self.base.rows_of(entity), len(self.base.statements) + self.added.rows_of(entity)])
        table = self.statements
        shown: npt.NDArray[np.int64] = rows[~(self.erased[table.subject[rows]] | self.erased[table.object[rows]])]
        return shown

    def known(self, queries: QueryBatch, level: Level = "triple", splits: Sequence[Split] = tuple(Split)) -> Ragged:
        """See `KnowledgeGraph.known`."""
        return self.base.known(queries, level, splits).union(self.added.known(queries, level, splits))

    def subjects(self, relation: int, object: int) -> npt.NDArray[np.int32]:
        """int32: the added entities, and others by what was added, of which such a statement is known."""
        return self.added.known(QueryBatch.subjects(relation, object)).values

    def _rows_by(self, slot: Slot) -> _Both:  # type: ignore[override]
        return _Both(self.base._rows_by(slot), self.added._rows_by(slot), len(self.base.statements))


@dataclass(frozen=True)
class _Both:
    """Rows of the base, and rows of what stands behind it."""

    base: AnswerIndex
    added: AnswerIndex
    shift: int

    def lookup(self, keys: npt.NDArray[np.uint64]) -> Ragged:
        behind = self.added.lookup(keys)
        return self.base.lookup(keys).union(Ragged(behind.offset, behind.values + np.int32(self.shift)))


def _types(base: KnowledgeGraph, type_of: Ragged) -> Types:
    if not len(base.types):
        return base.types
    own = base.types.of_entity
    offset = np.concatenate([own.offset, type_of.offset[1:] + own.offset[-1]])
    return Types(base.types.vocabulary, Ragged(offset, np.concatenate([own.values, type_of.values])), base.types.texts)
