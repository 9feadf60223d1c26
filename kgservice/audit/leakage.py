"""What training gives away of held-out statements, and what of them it has never seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from kgservice.arrays.ordering import first_of_equal, order_of
from kgservice.audit.relations import PairTable
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable

Keys = npt.NDArray[np.uint64]


class Triples(Protocol):
    """Columns of statements, whatever else is known of them."""

    @property
    def subject(self) -> npt.NDArray[np.int32]:
        """int32 `[m]`."""

    @property
    def relation(self) -> npt.NDArray[np.int32]:
        """int32 `[m]`."""

    @property
    def object(self) -> npt.NDArray[np.int32]:
        """int32 `[m]`."""


@dataclass(frozen=True)
class Leakage:
    """How many of the held-out statements (s, r, o) of one split are given away by TRAIN or CONTEXT.

    Attributes:
        split: "valid" or "test".
        statements: held-out ones.
        direct: (s, r, o) itself is there, with whatever qualifiers.
        reversed: (o, r', s) is there by any relation r'. Of these, `symmetric` by r itself, `inverse` by another relation
            that is the inverse of r: each has, reversed, at least the threshold's share of the other's pairs.
        same_pair: (s, r', o) is there by another relation r'; of these, `duplicate` by one that shares r's pairs so.
        linked: any of the above.
        implied: a statement there by another relation implies (s, r, o), as at least the threshold's share of its pairs,
            reversed or not, are r's too. More than `inverse` and `duplicate`, as r need not imply it in turn: that is
            a rule worth learning rather than a fault.
        unseen_entities: an entity occurs in no training statement; of these, `without_context` not in CONTEXT either.
        unseen_relations: the relation occurs in no training statement.
        new_entities: the entities that training has not.
    """

    split: str
    statements: int
    direct: int
    reversed: int
    symmetric: int
    inverse: int
    same_pair: int
    duplicate: int
    linked: int
    implied: int
    unseen_entities: int
    without_context: int
    unseen_relations: int
    new_entities: int

    def share(self, count: int) -> float:
        """Of the held-out statements."""
        return count / max(self.statements, 1)


def measure_leakage(graph: KnowledgeGraph, pairs: PairTable) -> tuple[Leakage, ...]:
    """For VALID and for TEST, where they hold statements."""
    table = graph.statements
    train, context = table.in_split(Split.TRAIN), table.in_split(Split.CONTEXT)
    shown = _Shown.of(graph)
    in_context = graph.seen.copy()
    in_context[context.subject] = in_context[context.object] = True
    trained = np.zeros(graph.r, bool)
    trained[train.relation] = True

    found = []
    for split in (Split.VALID, Split.TEST):
        held_out = table.in_split(split)
        if not len(held_out):
            continue
        unseen = ~(graph.seen[held_out.subject] & graph.seen[held_out.object])
        ends = np.unique(np.concatenate([held_out.subject, held_out.object]))
        masks = {
            **_given_away(held_out, shown, pairs),
            "unseen_entities": unseen,
            "without_context": ~(in_context[held_out.subject] & in_context[held_out.object]),
            "unseen_relations": ~trained[held_out.relation],
        }
        counts = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
        new = int(np.count_nonzero(~graph.seen[ends]))
        found.append(Leakage(split.name.lower(), len(held_out), **counts, new_entities=new))
    return tuple(found)


def given_away(held_out: Triples, graph: KnowledgeGraph, pairs: PairTable) -> dict[str, npt.NDArray[np.bool_]]:
    """bool `[m]` each: which held-out statements TRAIN or CONTEXT give away, by the names in `Leakage`."""
    return _given_away(held_out, _Shown.of(graph), pairs)


def shared_by_held_out(graph: KnowledgeGraph) -> tuple[int, int]:
    """How many triples are both in VALID and TEST, and how many test statements have no entity that is new in TEST."""
    valid, test = graph.statements.in_split(Split.VALID), graph.statements.in_split(Split.TEST)
    shown = graph.seen.copy()
    shown[valid.subject] = shown[valid.object] = True
    return common_triples(valid, test), int(np.count_nonzero(shown[test.subject] & shown[test.object]))


@dataclass(frozen=True)
class _Shown:
    """Keys of pairs, sorted, with the relation of each statement."""

    keys: Keys
    relation: npt.NDArray[np.int32]

    @classmethod
    def of(cls, graph: KnowledgeGraph) -> _Shown:
        """What TRAIN and CONTEXT state."""
        table = graph.statements
        given = table.take((table.split == Split.TRAIN) | (table.split == Split.CONTEXT))
        keys = _key(given.subject, given.object, graph.n)
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], given.relation[order])

    def meeting(self, keys: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Row of `keys` and relation, for every statement of the same pair."""
        low, high = np.searchsorted(self.keys, keys), np.searchsorted(self.keys, keys, side="right")
        lengths = high - low
        row = np.repeat(np.arange(len(keys)), lengths)
        place = np.arange(len(row)) + np.repeat(low - (np.cumsum(lengths) - lengths), lengths)
        return row, self.relation[place]


def _given_away(held_out: Triples, shown: _Shown, pairs: PairTable) -> dict[str, npt.NDArray[np.bool_]]:
    relation, masks, m = held_out.relation, {}, len(held_out.relation)
    implied = np.zeros(m, bool)
    loop = held_out.subject == held_out.object  # its reverse is itself
    for ends, counts, names in (
        ((held_out.subject, held_out.object), pairs.same_counts, ("direct", "same_pair", "duplicate")),
        ((held_out.object, held_out.subject), pairs.reversed_counts, ("symmetric", "_", "inverse")),
    ):
        row, other = shown.meeting(_key(*ends, pairs.n))
        if names[0] == "symmetric":
            row, other = row[~loop[row]], other[~loop[row]]
        same = other == relation[row]
        alike = ~same & _at(pairs.agrees(counts), other, relation[row])
        for name, chosen in zip(names, (same, ~same, alike), strict=True):
            masks[name] = _marked(row[chosen], m)
        implied |= _marked(row[~same & _at(pairs.implies(counts), other, relation[row])], m)
    reversed = masks["symmetric"] | masks.pop("_")
    linked = masks["direct"] | masks["same_pair"] | reversed
    return {**masks, "reversed": reversed, "linked": linked, "implied": implied}


def _marked(rows: npt.NDArray[np.int64], m: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(m, bool)
    mask[rows] = True
    return mask


def _at(matrix: sparse.csr_array, row: npt.NDArray[Any], column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """bool `[k]`: entries of a sparse matrix, by their sorted keys."""
    held = matrix.tocoo()
    width = matrix.shape[1]
    keys = np.sort(held.row.astype(np.int64) * width + held.col)
    return np.isin(row.astype(np.int64) * width + column, keys)


def _key(first: npt.NDArray[np.int32], second: npt.NDArray[np.int32], n: int) -> Keys:
    return first.astype(np.uint64) * np.uint64(n) + second.astype(np.uint64)


def common_triples(*tables: StatementTable) -> int:
    """How many (subject, relation, object) two tables both have; one sort, whatever the width of the ids."""
    parts = []
    for table in tables:
        columns = (table.subject, table.relation, table.object)
        fresh = first_of_equal(columns)
        parts.append([column[fresh] for column in columns])
    both = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    order = order_of(both)
    return int(np.count_nonzero(~first_of_equal([column[order] for column in both])))
