"""The knowledge graph: names, statements, texts, types and literals in one immutable value."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import mix
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.errors import GraphError
from kgservice.files import exchange, sync, sync_tree
from kgservice.graph.captions import Captions
from kgservice.graph.literals import Literals
from kgservice.graph.media import Media
from kgservice.graph.questions import AnswerIndex, Ids, Level, keys_of, numbers_of, pair_keys, questions_of
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import Texts
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch, Slot

FORMAT_VERSION = 1
ALL_SPLITS = tuple(Split)


@dataclass(frozen=True)
class KnowledgeGraph:
    """`n` entities and `r` relations with all that is said of them.

    Attributes:
        entities, relations: the vocabularies. A relation that only links to literals or only qualifies has an id too.
        statements: links between entities, with qualifiers and splits.
        texts, relation_texts: labels, aliases, descriptions.
        types: the types of entities.
        literals: numbers, dates and strings.
        negatives: statements known to be false, where a data set verifies some; split VALID or TEST.
        captions: what images of entities show.
        prefixes: short names of namespaces, for CURIEs.
        provenance: what was read and what became of it; not part of the content hash.
    """

    entities: Vocabulary
    relations: Vocabulary
    statements: StatementTable
    texts: Texts = field(default_factory=Texts.build)
    relation_texts: Texts = field(default_factory=Texts.build)
    types: Types = field(default_factory=Types)
    literals: Literals = field(default_factory=Literals)
    negatives: StatementTable = field(default_factory=StatementTable.empty)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    captions: Captions = field(default_factory=Captions)

    def __post_init__(self) -> None:
        for table in (self.statements, self.negatives):
            for name, bound in (("subject", self.n), ("object", self.n), ("relation", self.r)):
                column = getattr(table, name)
                if len(column) and not (0 <= column.min() and column.max() < bound):
                    raise GraphError(f"{name} ids must be in [0, {bound}), found [{column.min()}, {column.max()}]")
        if len(self.types.of_entity) not in (0, self.n):
            raise GraphError(f"types are given for {len(self.types.of_entity)} entities, the graph has {self.n}")

    @property
    def n(self) -> int:
        """How many entities."""
        return len(self.entities)

    @property
    def r(self) -> int:
        """How many relations."""
        return len(self.relations)

    def competing(self, table: StatementTable) -> npt.NDArray[np.bool_] | None:
        """bool `[n]`: which entities compete for the questions of held-out statements; None where all do.

        Where facts about unseen entities are given at inference (the split `context`), statements lie in the graph of training
        or in that of inference, and only entities of the same graph compete, as such benchmarks are measured.
        """
        facts = self.statements
        ends = np.concatenate([table.subject, table.object])
        if not len(ends) or not (facts.split == Split.CONTEXT).any():
            return None
        for split in (Split.CONTEXT, Split.TRAIN):
            inside = np.zeros(self.n, dtype=bool)
            of_graph = facts.split == split
            inside[facts.subject[of_graph]] = inside[facts.object[of_graph]] = True
            if inside[ends].all():
                return inside
        return None

    @cached_property
    def seen(self) -> npt.NDArray[np.bool_]:
        """bool `[n]`: the entities that a training statement has as subject or object."""
        seen = np.zeros(self.n, dtype=bool)
        train = self.statements.split == Split.TRAIN
        seen[self.statements.subject[train]] = True
        seen[self.statements.object[train]] = True
        return seen

    @cached_property
    def erased(self) -> npt.NDArray[np.bool_]:
        """bool `[n]`: the entities that must not be shown; none, but see `grown`."""
        return np.zeros(self.n, dtype=bool)

    @cached_property
    def linking(self) -> npt.NDArray[np.bool_]:
        """bool `[r]`: the relations that link two entities in some statement, and so can answer a relation question."""
        linking = np.zeros(self.r, dtype=bool)
        linking[self.statements.relation] = True
        return linking

    @cached_property
    def qualifying(self) -> npt.NDArray[np.bool_]:
        """bool `[r]`: the relations that qualify some statement."""
        qualifying = np.zeros(self.r, dtype=bool)
        qualifying[self.statements.qualifier_relation] = True
        return qualifying

    @cached_property
    def degree(self) -> npt.NDArray[np.int64]:
        """int64 `[n]`: statements an entity is subject or object of, all splits but TEST and VALID."""
        kept = (self.statements.split == Split.TRAIN) | (self.statements.split == Split.CONTEXT)
        ends = np.concatenate([self.statements.subject[kept], self.statements.object[kept]])
        return np.bincount(ends, minlength=self.n)

    @cached_property
    def media(self) -> Media:
        """The images of entities."""
        return Media.of(self.literals)

    def rows_of(self, entity: int) -> npt.NDArray[np.int64]:
        """int64: the statements that have an entity as subject, then those that have it as object alone."""
        table = self.statements
        low, high = np.searchsorted(table.subject, [entity, entity + 1])
        first, last = np.searchsorted(table.object, [entity, entity + 1], sorter=self._by_object)
        as_object = np.sort(self._by_object[first:last])
        return np.concatenate([np.arange(low, high), as_object[table.subject[as_object] != entity]])

    @cached_property
    def _by_object(self) -> npt.NDArray[np.int64]:
        return np.argsort(self.statements.object, kind="stable")

    def known(self, queries: QueryBatch, level: Level = "triple", splits: Sequence[Split] = ALL_SPLITS) -> Ragged:
        """ragged `[b]`: what the graph already states in the hole of each question.

        Args:
            queries: questions of any slot; for a qualifier's value, what is stated of the same triple.
            level: "triple" ignores qualifiers; "statement" counts a statement only if its qualifiers are the question's.
            splits: where to look.
        """
        return self.answers(queries.slot, level, tuple(splits)).lookup(keys_of(queries, level))

    def known_counts(self, queries: QueryBatch, splits: Sequence[Split] = ALL_SPLITS) -> npt.NDArray[np.int64]:
        """int64 `[b]`: how many answers `known` lists, whatever their qualifiers."""
        return self.answers(queries.slot, "triple", tuple(splits)).count(keys_of(queries, "triple"))

    def stated(self, queries: QueryBatch) -> Ragged:
        """ragged `[b]`: what statements that hold all the question's qualifiers, and perhaps more, have in its hole.

        Literals of equal numbers are equal here: the year 1960 is 1960-01-01, as a date precise to the year is often written.
        For a qualifier's value, what is stated of the same triple.
        """
        relation, value = queries.qualifier_relation, queries.qualifier_value
        if queries.slot is Slot.QUALIFIER or not len(value.values):
            return self.known(queries)
        table = self.statements
        found = self._rows_by(queries.slot).lookup(keys_of(queries, "triple"))
        question, row = found.rows(), found.values
        wanted = Ragged(value.offset, np.arange(len(value.values), dtype=np.int32)).take(question)
        pairs = pair_keys(relation.values, value.values, queries.qualifier_number)[wanted.values]
        rows = np.unique(row)
        held = Ragged(table.qualifier_offset, table.qualifier_relation).take(rows)
        values = Ragged(table.qualifier_offset, table.qualifier_value).take(rows).values
        held_pairs = pair_keys(held.values, values, numbers_of(values, self.literals))
        there = np.isin(
            mix(row[wanted.rows()].astype(np.uint64) + pairs),
            mix(rows[held.rows()].astype(np.uint64) + held_pairs),
        )
        whole = np.bincount(wanted.rows()[~there], minlength=len(row)) == 0
        filled = {Slot.SUBJECT: table.subject, Slot.RELATION: table.relation, Slot.OBJECT: table.object}[queries.slot]
        counts = np.bincount(question[whole], minlength=len(queries))
        return Ragged(offsets_of(counts), filled[row[whole]]).union(Ragged.empty(len(queries)))

    def questions(self, slot: Slot, table: StatementTable) -> tuple[QueryBatch, Ids, npt.NDArray[np.int64]]:
        """What a hole in the statements of `table` asks, and what filled it: see `graph.questions`."""
        return questions_of(slot, table, self.literals)

    @cached_property
    def irreflexive(self) -> npt.NDArray[np.bool_]:
        """bool `[r]`: the relations that link no entity to itself in any statement."""
        irreflexive = np.ones(self.r, dtype=bool)
        irreflexive[self.statements.relation[self.statements.subject == self.statements.object]] = False
        return irreflexive

    def loops(self, queries: QueryBatch) -> Ragged:
        """ragged `[b]`: the anchor itself, where its relation is irreflexive; it competes in ranks, but is no answer."""
        if queries.slot in (Slot.RELATION, Slot.QUALIFIER):
            return Ragged.empty(len(queries))
        chosen = self.irreflexive[queries.relation]
        return Ragged(offsets_of(chosen.astype(np.int64)), queries.anchor[chosen])

    def answers(self, slot: Slot, level: Level = "triple", splits: tuple[Split, ...] = ALL_SPLITS) -> AnswerIndex:
        """The index behind `known`, built once per slot, level and splits."""
        key = (slot, level, splits)
        if key not in self._answer_indexes:
            table = self.statements
            if set(splits) != set(ALL_SPLITS):
                table = table.take(np.isin(table.split, splits))
            queries, filled, _ = self.questions(slot, table)
            self._answer_indexes[key] = AnswerIndex.build(keys_of(queries, level), filled)
        return self._answer_indexes[key]

    def _rows_by(self, slot: Slot) -> AnswerIndex:
        """Which rows of `statements` answer a question, whatever their qualifiers."""
        if slot not in self._row_indexes:
            queries, _, rows = self.questions(slot, self.statements)
            self._row_indexes[slot] = AnswerIndex.build(keys_of(queries, "triple"), rows.astype(np.int32))
        return self._row_indexes[slot]

    @cached_property
    def _row_indexes(self) -> dict[Slot, AnswerIndex]:
        return {}

    @cached_property
    def _answer_indexes(self) -> dict[tuple[Slot, Level, tuple[Split, ...]], AnswerIndex]:
        return {}

    @cached_property
    def content_hash(self) -> str:
        """sha256 that is the same for the same content, however it was read."""
        parts = [
            self.entities.content_hash,
            self.relations.content_hash,
            self.statements.content_hash,
            self.texts.digest(),
            self.relation_texts.digest(),
            self.types.digest(),
            self.literals.digest(),
            self.negatives.content_hash,
            json.dumps(dict(self.prefixes), sort_keys=True),
            *([self.captions.digest()] if len(self.captions) else []),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def counts(self) -> dict[str, int]:
        """The numbers that manifests and reports state."""
        split = np.bincount(self.statements.split, minlength=len(Split))
        return {
            "entities": self.n,
            "relations": self.r,
            "statements": len(self.statements),
            **{name.name.lower(): int(split[name]) for name in Split},
            "qualified": int(np.count_nonzero(np.diff(self.statements.qualifier_offset))),
            "qualifier_pairs": len(self.statements.qualifier_relation),
            "types": len(self.types),
            "texts": len(self.texts),
            "literals": len(self.literals),
            "negatives": len(self.negatives),
        }

    def save(self, folder: Path) -> None:
        """Write the graph beside `folder` and rename it into place; nothing half-written ever bears its name."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
        staging.mkdir()
        try:
            self.entities.save(staging / "entities.arrow")
            self.relations.save(staging / "relations.arrow")
            self.statements.save(staging / "statements.arrow")
            self.negatives.save(staging / "negatives.arrow")
            self.texts.save(staging / "texts.arrow")
            self.relation_texts.save(staging / "relation_texts.arrow")
            self.types.save(staging)
            self.literals.save(staging)
            self.captions.save(staging)
            meta = {
                "format_version": FORMAT_VERSION,
                "content_hash": self.content_hash,
                "counts": self.counts(),
                "prefixes": dict(self.prefixes),
                "provenance": dict(self.provenance),
            }
            (staging / "graph.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False), encoding="utf-8")
            sync_tree(staging)
            if folder.exists():
                exchange(staging, folder)
            else:
                staging.rename(folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @classmethod
    def open(cls, folder: Path) -> KnowledgeGraph:
        """Map a saved graph; large parts are read when they are used.

        Raises:
            GraphError: the folder holds no graph, or one of another format version.
        """
        try:
            meta = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise GraphError(
                f"{folder} holds no graph: {error}. Make one with: kgservice ingest SOURCE --out {folder}"
            ) from error
        if meta.get("format_version") != FORMAT_VERSION:
            raise GraphError(
                f"{folder}: graph format {meta.get('format_version')}, this kgservice reads {FORMAT_VERSION}; ingest it anew"
            )
        return cls(
            entities=Vocabulary.open(folder / "entities.arrow"),
            relations=Vocabulary.open(folder / "relations.arrow"),
            statements=StatementTable.open(folder / "statements.arrow"),
            texts=Texts.open(folder / "texts.arrow"),
            relation_texts=Texts.open(folder / "relation_texts.arrow"),
            types=Types.open(folder),
            literals=Literals.open(folder),
            negatives=StatementTable.open(folder / "negatives.arrow"),
            prefixes=meta["prefixes"],
            provenance=meta["provenance"],
            captions=Captions.open(folder),
        )
