"""What a reader found in one block of a source: rows of places in the block's own terms, and an account of what was read.

A batch is what travels between processes and machines: a few arrays, never an object per statement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Places = npt.NDArray[np.int32]
Tally = Counter[tuple[str, str]]
"""(what became of it, predicate) → how many. What is kept is named in `report.KEPT`; any other name is a reason."""


def _no_places() -> Places:
    return np.empty(0, np.int32)


class Owner(IntFlag):
    """Whose text a text may be; it goes to every vocabulary among these that holds the name."""

    ENTITY = 1
    RELATION = 2
    TYPE = 4
    ANY = 7


@dataclass(frozen=True)
class StatementRows:
    """`m` statements in any order.

    Attributes:
        subject, relation, object: `[m]`, places in the batch's terms.
        object_is_literal: bool `[m]`.
        split, rank: int8 `[m]`, of `statements.Split` and `statements.Rank`.
        references: int32 `[m]`, how many sources are given.
        qualifier_count: int32 `[m]`.
        qualifier_relation, qualifier_value: `[q]`, places, in the order of their statements.
        qualifier_is_literal: bool `[q]`.
    """

    subject: Places
    relation: Places
    object: Places
    object_is_literal: npt.NDArray[np.bool_]
    split: npt.NDArray[np.int8]
    rank: npt.NDArray[np.int8]
    references: Places
    qualifier_count: Places
    qualifier_relation: Places
    qualifier_value: Places
    qualifier_is_literal: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls) -> StatementRows:
        """No statement."""
        no, flag, small = _no_places(), np.empty(0, bool), np.empty(0, np.int8)
        return cls(no, no, no, flag, small, small, no, no, no, no, flag)


@dataclass(frozen=True)
class TextRows:
    """`x` texts.

    Attributes:
        owner: `[x]`, places in the batch's terms.
        of: int8 `[x]`, an `Owner`.
        kind: int8 `[x]`, a `TextKind`.
        language: `[x]`, places in `languages`.
        text: `[x]`.
        languages: codes, "" for none.
        predicate: `[x]`, places, where the tally waits for what becomes of the owner; else empty.
    """

    owner: Places = field(default_factory=_no_places)
    of: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    kind: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    language: Places = field(default_factory=_no_places)
    text: pa.LargeStringArray = field(default_factory=lambda: pa.array([], pa.large_string()))
    languages: Sequence[str] = ()
    predicate: Places = field(default_factory=_no_places)


@dataclass(frozen=True)
class Batch:
    """The rows of one block.

    Attributes:
        terms: `[t]` distinct strings: names of entities, relations and types as they are, literals in N-Triples form.
        triples: `[3, m]` places of RDF triples that are still to be interpreted. There, terms are told apart by their
            first characters: `"` a literal, `_:` a blank node, `<<(` a triple term, else an IRI without brackets.
        quotes: `[4, x]` places of a reifier and of the subject, predicate and object of the triple it quotes.
        value_nodes: `[3, x]` places of triples about Wikibase's value nodes, which become literals.
        statements, negatives: links and literal facts; statements known to be false.
        texts: labels, aliases, descriptions.
        type_of: `[2, x]` places of entities and of their types.
        entities: places of names that are entities though no statement may link them.
        aliases: `[2, x]` places: wherever the first stands in a triple or a statement, the second is meant (redirects).
        tally: what was read and what became of it; triples, quotes and value nodes count when they are interpreted.
        prefixes: short names of namespaces that the source declares.
    """

    terms: pa.LargeStringArray
    triples: Places = field(default_factory=lambda: np.empty((3, 0), np.int32))
    quotes: Places = field(default_factory=lambda: np.empty((4, 0), np.int32))
    value_nodes: Places = field(default_factory=lambda: np.empty((3, 0), np.int32))
    statements: StatementRows = field(default_factory=StatementRows.empty)
    negatives: StatementRows = field(default_factory=StatementRows.empty)
    texts: TextRows = field(default_factory=TextRows)
    type_of: Places = field(default_factory=lambda: np.empty((2, 0), np.int32))
    entities: Places = field(default_factory=_no_places)
    aliases: Places = field(default_factory=lambda: np.empty((2, 0), np.int32))
    tally: Tally = field(default_factory=Counter)
    prefixes: Mapping[str, str] = field(default_factory=dict)
