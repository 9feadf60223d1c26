"""Entities that were put: from the journal's documents to a grown graph, and to what each model keeps of them."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from kgservice.answers import Pair, Question
from kgservice.answers.records import EntityRecord
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.engine.reading import Reading, literal_of
from kgservice.errors import InvalidQuestion
from kgservice.graph import KnowledgeGraph
from kgservice.graph.grown import Additions, GrownGraph
from kgservice.graph.literals import Literals
from kgservice.graph.names import Names
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.query import QueryBatch, Slot
from kgservice.release.served import AddedRows, ServedModel
from kgservice.scorers.flow import Flow
from kgservice.scorers.refining import partition, refined, settled
from kgservice.scorers.text import TextScorer
from kgservice.store import Changes

logger = logging.getLogger(__name__)

Ids = npt.NDArray[np.int32]


End = int | str
"""An entity of the release by its id; another one that was put, by its name; or a literal in its quotes, which begins no name."""


@dataclass(frozen=True)
class Fact:
    """A statement of an entity that was put, by ids.

    Attributes:
        slot: the entity's place in it.
        relation: its id.
        end: what stands in the other place.
        pairs: of qualifiers, relation and value.
    """

    slot: Slot
    relation: int
    end: End
    pairs: tuple[tuple[int, End], ...]


@dataclass(frozen=True)
class Entry:
    """A document of the journal, read for one release.

    Attributes:
        record: what it says.
        types: int ids of those of its types that the release has.
        facts: those of its statements whose relations the release has.
        values: relations and literals, in the same way.
        lost: how many have others.
        held: whether the release holds an entity of this name itself.
    """

    record: EntityRecord
    types: tuple[int, ...]
    facts: tuple[Fact, ...]
    values: tuple[tuple[int, str], ...]
    lost: int
    held: bool

    @classmethod
    def read(cls, document: str, base: KnowledgeGraph) -> Entry:
        """Read a document, which has full names."""
        record = EntityRecord.of_json(json.loads(document))

        def end(name: str | None) -> End:
            found = base.entities.id(str(name))
            return found if found >= 0 else str(name)

        facts = []
        for fact in record.facts:
            relation = base.relations.id(str(fact.relation))
            pairs = [(base.relations.id(pair.relation), end(pair.value)) for pair in fact.qualifiers]
            if relation < 0 or not base.linking[relation] or any(of < 0 for of, _ in pairs):
                continue
            slot, other = (Slot.OBJECT, fact.subject) if fact.subject else (Slot.SUBJECT, fact.object)
            facts.append(Fact(slot, relation, end(str(other)), tuple(pairs)))
        types = {base.types.vocabulary.id(name) for name in record.types} - {-1}
        held = base.entities.id(record.id) >= 0
        read = [(base.relations.id(one.relation), str(one.value)) for one in record.values]
        values = tuple((relation, literal) for relation, literal in read if relation >= 0)
        lost = len(record.facts) - len(facts) + len(read) - len(values)
        return cls(record, tuple(sorted(types)), tuple(facts), values, lost, held)

    def literals(self) -> Iterator[str]:
        """Those that it names, in N-Triples form."""
        yield from (literal for _, literal in self.values)
        for fact in self.facts:
            yield from (value for _, value in fact.pairs if isinstance(value, str) and value.startswith('"'))


@dataclass(frozen=True)
class AddedEntities:
    """What was put, read for one graph.

    Attributes:
        graph: with them behind the base's own entities.
        entries: `a`, in the order of their ids.
        documents: as they stand in the journal.
        facts: questions whose answer is an added entity, by the missing slot, and int64 which of the added it is.
    """

    graph: GrownGraph
    entries: Sequence[Entry]
    documents: Sequence[str]
    facts: Mapping[Slot, tuple[QueryBatch, npt.NDArray[np.int64]]]

    @classmethod
    def read(cls, base: KnowledgeGraph, changes: Changes, former: AddedEntities | None = None) -> AddedEntities:
        """Read what was put for a graph; what names things that this graph does not hold is left out and logged.

        Names that the graph holds itself are its own: what a newer release says of an entity goes before what was put.

        Args:
            base: the release's graph.
            changes: the journal's.
            former: of the same graph, with other changes; its documents are not read again.
        """
        known = dict(zip(former.documents, former.entries, strict=True)) if former else {}
        read = {name: known.get(document) or Entry.read(document, base) for name, document in changes.put.items()}
        vocabulary = base.entities.extend([name for name, entry in read.items() if not entry.held])
        names = vocabulary.names_of(np.arange(base.n, len(vocabulary)))
        entries = [read[name] for name in names]
        if not former and (lost := sum(entry.lost for entry in entries)):
            logger.warning(
                "%d statements of entities that were put name relations that this release does not hold", lost
            )
        erased = np.zeros(len(vocabulary), dtype=bool)
        gone = [vocabulary.id(name) for name in changes.erased]
        erased[[id for id in gone if id >= 0]] = True
        literals = _literals(entries, base)
        facts = _facts(entries, {name: base.n + place for place, name in enumerate(names)}, literals)
        additions = Additions(
            vocabulary,
            _statements(facts, base.n),
            texts_of([entry.record for entry in entries], base.n),
            Ragged.of([entry.types for entry in entries]),
            literals,
        )
        return cls(GrownGraph.grow(base, additions, erased), entries, [changes.put[name] for name in names], facts)

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each document."""
        return {document: place for place, document in enumerate(self.documents)}

    def grow(
        self, learnt: Mapping[str, ServedModel], former: Mapping[str, ServedModel], before: AddedEntities | None
    ) -> dict[str, ServedModel]:
        """Models with these entities.

        Args:
            learnt: as the release keeps them.
            former: the same as they were grown before.
            before: the entities that those have; what has not changed since is not computed again.
        """
        then = np.array([before.places.get(one, -1) if before else -1 for one in self.documents], dtype=np.int64)
        return {name: self._grow(model, former[name], then) for name, model in learnt.items()}

    def _grow(self, learnt: ServedModel, former: ServedModel, then: npt.NDArray[np.int64]) -> ServedModel:
        fresh, kept = np.flatnonzero(then < 0), np.flatnonzero(then >= 0)
        made = _made(learnt, self, fresh)
        if former.added is None or not len(kept):
            return learnt.grown(made, self.graph.added)
        # What was made now, and what was there, in the order of ids.
        order = torch.from_numpy(np.argsort(np.concatenate([fresh, kept])))
        was = former.added.take(then[kept])
        joined = AddedRows(
            torch.cat([made.rows, was.rows])[order],
            torch.cat([made.vectors, was.vectors])[order],
            np.concatenate([made.able, was.able])[order.numpy()],
        )
        return learnt.grown(joined, self.graph.added)


def _made(learnt: ServedModel, entities: AddedEntities, fresh: npt.NDArray[np.int64]) -> AddedRows:
    """What a model keeps of some of the added: its guess from their texts, and their facts."""
    scorer, table, n = learnt.scorer, learnt.vectors.base, entities.graph.base.n
    a, d = len(fresh), table.shape[1]
    if not scorer.grows or not a:
        kept = scorer.read if isinstance(scorer, TextScorer) else scorer.entity if isinstance(scorer, Flow) else table
        width = kept.shape[1]
        return AddedRows(torch.zeros(a, width), torch.zeros(a, d), np.zeros(a, dtype=bool))
    with torch.inference_mode():
        said = scorer.guessed(entities.graph.added, fresh + n)
        rows, guess, able = said or (None, table.mean(0).expand(a, d), np.zeros(a, dtype=bool))
        queries, owner = _questions(learnt, entities, fresh)
        competition = partition(queries, table, scorer.metric)
    able[owner.numpy()] = True
    if isinstance(scorer, Flow):
        with torch.inference_mode():
            plain = scorer.plain(scorer.entity)
            guess, variance = plain.mean(0).expand(a, -1), float(plain.var(0).mean()) if n > 1 else 1.0
        rows = settled(guess, owner, queries, competition, scorer.answering, metric=scorer.metric, variance=variance)
        with torch.inference_mode():
            return AddedRows(rows, scorer.answering(rows), able)
    vectors = refined(guess, owner, queries, competition, metric=scorer.metric, variance=learnt.variance)
    return AddedRows(vectors if rows is None else rows, vectors, able)


def _questions(learnt: ServedModel, entities: AddedEntities, fresh: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """What the facts of some of the added ask, float32 `[f, d]`, and int64 `[f]` the place in `fresh` of whose fact it is.

    A fact that names another added entity, as its other end or in a qualifier, is known, but tells nothing yet of either.
    """
    n = entities.graph.base.n
    place = np.full(len(entities.entries), -1, dtype=np.int64)
    place[fresh] = np.arange(len(fresh))
    vectors, owners = [torch.empty(0, learnt.vectors.base.shape[1])], [np.empty(0, np.int64)]
    for batch, owner in entities.facts.values():
        told = batch.anchor < n
        told[batch.qualifier_value.rows()[batch.qualifier_value.values >= n]] = False
        rows = np.flatnonzero(told & (place[owner] >= 0))
        if len(rows):
            vectors.append(learnt.scorer.query_vectors(batch.take(rows)))
            owners.append(place[owner[rows]])
    return torch.cat(vectors), torch.from_numpy(np.concatenate(owners))


def _literals(entries: Sequence[Entry], base: KnowledgeGraph) -> Literals:
    """Those of a graph, and behind them those of added entities, with the statements about these."""
    extended = base.literals.extended(sorted({literal for entry in entries for literal in entry.literals()}))
    rows = [
        (base.n + place, relation, extended.vocabulary.id(literal))
        for place, entry in enumerate(entries)
        for relation, literal in entry.values
    ]
    columns = np.array(rows, dtype=np.int32).reshape(-1, 3).T
    table = StatementTable.build(*columns, split=np.full(len(rows), Split.CONTEXT, dtype=np.int8))
    return replace(extended, statements=table)


def _facts(
    entries: Sequence[Entry], added: Mapping[str, int], literals: Literals
) -> dict[Slot, tuple[QueryBatch, npt.NDArray[np.int64]]]:
    """What the facts ask, by the added entities' ids; one whose ends are gone is no fact any more."""
    asked: dict[Slot, list[tuple[int, int, int]]] = defaultdict(list)
    pairs: dict[Slot, list[list[tuple[int, int]]]] = defaultdict(list)

    def number(end: End) -> int | None:
        if isinstance(end, int):
            return end
        return -1 - literals.vocabulary.id(end) if end.startswith('"') else added.get(end)

    for place, entry in enumerate(entries):
        for fact in entry.facts:
            beside = [(relation, number(value)) for relation, value in fact.pairs]
            if (end := number(fact.end)) is not None and all(value is not None for _, value in beside):
                asked[fact.slot].append((place, fact.relation, end))
                pairs[fact.slot].append([(relation, value) for relation, value in beside if value is not None])
    found = {}
    for slot, rows in asked.items():
        owner, relation, end = np.array(rows).T
        known, hole = end.astype(np.int32), np.full(len(rows), -1, np.int32)
        values = Ragged.of([[value for _, value in beside] for beside in pairs[slot]])
        measured = np.full(len(values.values), np.nan)
        measured[values.values < 0] = literals.number[-1 - values.values[values.values < 0]]
        batch = QueryBatch(
            slot,
            hole if slot is Slot.SUBJECT else known,
            relation.astype(np.int32),
            known if slot is Slot.SUBJECT else hole,
            Ragged.of([[relation for relation, _ in beside] for beside in pairs[slot]]),
            values,
            measured,
        )
        found[slot] = batch, owner.astype(np.int64)
    return found


def _statements(facts: Mapping[Slot, tuple[QueryBatch, npt.NDArray[np.int64]]], n: int) -> StatementTable:
    if not facts:
        return StatementTable.empty()
    columns: dict[str, list[npt.NDArray[np.int32]]] = defaultdict(list)
    for slot, (batch, owner) in facts.items():
        entity = (owner + n).astype(np.int32)
        columns["subject"].append(entity if slot is Slot.SUBJECT else batch.subject)
        columns["relation"].append(batch.relation)
        columns["object"].append(entity if slot is Slot.OBJECT else batch.object)
        columns["qualifier_relation"].append(batch.qualifier_relation.values)
        columns["qualifier_value"].append(batch.qualifier_value.values)
        columns["pairs"].append(batch.qualifier_value.lengths.astype(np.int32))
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    pairs = whole.pop("pairs")
    return StatementTable.build(
        **whole, qualifier_offset=offsets_of(pairs), split=np.full(len(pairs), Split.CONTEXT, dtype=np.int8)
    )


def texts_of(records: Sequence[EntityRecord], n: int) -> Texts:
    """What is said of entities that were put, in ids from `n` on, in the order of the records."""
    rows = [
        (n + place, int(kind), code, text)
        for place, one in enumerate(records)
        for kind, texts in (
            (TextKind.LABEL, one.labels),
            (TextKind.DESCRIPTION, one.descriptions),
            (TextKind.ALIAS, one.aliases),
        )
        for code, text in texts
        if text
    ]
    owner, kinds, codes, texts = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Texts.build(owner, kinds, pa.array(codes, pa.large_string()), pa.array(texts, pa.large_string()))


def canonical(record: EntityRecord, id: str, reading: Reading, types: Names) -> EntityRecord:
    """A record by full names, so that every release reads it alike.

    Args:
        record: as it was given.
        id: its full name.
        reading: of the graph whose names it uses.
        types: the graph's.

    Raises:
        UnknownName: a relation, an entity or a type that the graph does not hold; with the closest names.
        InvalidQuestion: a statement that is none, or a value that is none.
    """
    entities, relations = reading.entities, reading.relations
    facts = []
    for fact in record.facts:
        batch = reading.batch(fact.slot, [fact])
        if not reading.graph.linking[batch.relation].all():
            raise InvalidQuestion(
                f"{fact.relation!r} links no entities: what is put beside an entity are statements that link it to others"
            )
        ends = {
            part: entities.vocabulary.name(int(getattr(batch, part)[0])) if getattr(batch, part)[0] >= 0 else None
            for part in ("subject", "object")
        }
        qualifiers = tuple(
            Pair(relations.vocabulary.name(relations.resolve(pair.relation)), _value(pair, entities))
            for pair in fact.qualifiers
        )
        facts.append(
            Question(ends["subject"], relations.vocabulary.name(int(batch.relation[0])), ends["object"], qualifiers)
        )
    kinds = tuple(types.vocabulary.name(types.resolve(name)) for name in record.types)
    values = tuple(_measured(one, reading) for one in record.values)
    return EntityRecord(id, record.labels, record.descriptions, record.aliases, kinds, tuple(facts), values)


def _value(pair: Pair, entities: Names) -> str:
    """A qualifier's value that was read before, by its full name or as a literal."""
    text = str(pair.value).strip()
    found = -1 if text.startswith('"') else entities.find(text)
    return entities.vocabulary.name(found) if found >= 0 else str(literal_of(text))


def _measured(one: Pair, reading: Reading) -> Pair:
    """A number, a date or a string of an entity, by full names.

    Raises:
        UnknownRelation: the graph does not hold it.
        InvalidQuestion: it links entities, or the value is none that can be told without quotes.
    """
    graph, relation = reading.graph, reading.relations.resolve(one.relation)
    if graph.linking[relation]:
        raise InvalidQuestion(f"{one.relation!r} links entities: a statement of it has an object, not a value")
    literal = literal_of(str(one.value).strip(), graph.literals.dated(relation))
    if literal is None:
        raise InvalidQuestion(
            f"{one.value!r} of {one.relation!r} is neither a number, a date, nor a literal in quotes, such as '\"NP-7\"'"
        )
    return Pair(reading.relations.vocabulary.name(relation), str(literal))
