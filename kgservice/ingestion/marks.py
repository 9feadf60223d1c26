"""What is known of each term while a graph is made, and what became of everything that was read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from kgservice.ingestion.spool import let_go, mapped
from kgservice.ingestion.terms import Terms
from kgservice.readers.batch import Tally

Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int32]

IRI, BNODE, LITERAL, TRIPLE_TERM = range(4)


class Marks:
    """One byte per term and question, in files that the system may page out. Setting a mark is safe from any thread.

    Attributes:
        linked: stands in a link, or is named as an entity by a reader.
        described: has a text, a type or a literal in RDF.
        rdf_relation, rdf_class: is used as a relation or as a type in RDF.
        reifier, broken: names a quoted triple; is a reification that lacks a part.
        classical: a reifier by rdf:subject, rdf:predicate and rdf:object.
        node: a Wikibase statement node.
        quotes_link, quotes_other: a reifier of a stated link; of anything else that is stated.
        remarked: a reifier that says something that may qualify.
        excluded: a subject that was not asked for.
        entity, relation, type, literal: belongs to that vocabulary of the graph.
    """

    NAMES = (
        "linked",
        "described",
        "rdf_relation",
        "rdf_class",
        "reifier",
        "broken",
        "classical",
        "node",
        "quotes_link",
        "quotes_other",
        "remarked",
        "excluded",
        "entity",
        "relation",
        "type",
        "literal",
    )
    linked: Mask
    described: Mask
    rdf_relation: Mask
    rdf_class: Mask
    reifier: Mask
    broken: Mask
    classical: Mask
    node: Mask
    quotes_link: Mask
    quotes_other: Mask
    remarked: Mask
    excluded: Mask
    entity: Mask
    relation: Mask
    type: Mask
    literal: Mask

    def __init__(self, folder: Path, t: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.NAMES:
            setattr(self, name, mapped(folder / name, bool, t))

    def let_go(self) -> None:
        """Take all marks out of memory, until they are asked for."""
        for name in self.NAMES:
            let_go(getattr(self, name))


def kinds_of(terms: Terms, folder: Path) -> npt.NDArray[np.uint8]:
    """uint8 `[t]`, in a file: IRI, blank node, literal or triple term, as RDF batches write them."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = mapped(folder / "kind", np.uint8, len(terms))
    for part in terms.parts:
        names = terms.part(part)
        if not len(names):
            continue
        offsets = np.frombuffer(names.buffers()[1], np.int64)[names.offset : names.offset + len(names)]
        data = np.frombuffer(names.buffers()[2], np.uint8)
        first, second = (data[np.minimum(offsets + i, len(data) - 1)] for i in (0, 1))
        found = np.full(len(names), IRI, np.uint8)
        found[first == ord('"')] = LITERAL
        found[(first == ord("_")) & (second == ord(":"))] = BNODE
        found[(first == ord("<")) & (second == ord("<"))] = TRIPLE_TERM
        kinds[terms.bases[part] : terms.bases[part + 1]] = found
    return kinds


class Account:
    """A tally by numbers of predicates, safe from any thread, that becomes one by names."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()
        self._named: Tally = Counter()
        self._lock = Lock()

    def add(self, outcome: str, predicates: Ids, sign: int = 1) -> None:
        """Count one outcome for each predicate in a column."""
        if len(predicates):
            used, counts = np.unique(predicates, return_counts=True)
            with self._lock:
                for predicate, count in zip(used.tolist(), counts.tolist(), strict=True):
                    self._counts[outcome, predicate] += sign * count

    def move(self, source: str, to: str, predicates: Ids) -> None:
        """What was counted as one outcome is another after all."""
        self.add(source, predicates, -1)
        self.add(to, predicates)

    def add_named(self, outcome: str, predicate: str, count: int) -> None:
        """Like `add`, for a predicate that need not be a term."""
        if count:
            with self._lock:
                self._named[outcome, predicate] += count

    def move_named(self, source: str, to: str, predicate: str, count: int) -> None:
        """Like `move`, for a predicate that need not be a term."""
        self.add_named(source, predicate, -count)
        self.add_named(to, predicate, count)

    def named(self, terms: Terms) -> Tally:
        """By names of predicates; what others counted and was moved away is negative."""
        numbers = np.array(sorted({predicate for _, predicate in self._counts}), np.int64)
        names = dict(zip(numbers.tolist(), terms.take(numbers).to_pylist(), strict=True))
        tally: Tally = Counter(self._named)
        for (outcome, predicate), count in self._counts.items():
            tally[outcome, names[predicate]] += count
        return tally


def mark(flags: Mask, *columns: Ids) -> None:
    """Set a flag for all terms in some columns."""
    for column in columns:
        flags[column] = True
