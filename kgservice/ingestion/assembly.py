"""The last steps of a graph: which terms are in which vocabulary, and every row in its place on disk."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.ordering import first_of_equal, order_of
from kgservice.arrays.ragged import offsets_of
from kgservice.errors import DataError
from kgservice.files import sync_tree
from kgservice.graph import FORMAT_VERSION, KnowledgeGraph, statements, texts, types, vocabulary
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import TextKind
from kgservice.ingestion.chunks import Chunks, Range, ranges
from kgservice.ingestion.folders import replace_folder
from kgservice.ingestion.marks import Ids, Marks, Mask, mark
from kgservice.ingestion.rows import PLAIN, QUALIFIED, TEXTS, Graphs
from kgservice.ingestion.spool import Spool, int32
from kgservice.ingestion.terms import Terms
from kgservice.ingestion.texts import sorted_texts
from kgservice.ingestion.vocabularies import Numbering, write_vocabulary
from kgservice.readers.assembly import TEXT_NAMES
from kgservice.readers.batch import Owner
from kgservice.readers.options import RDF

NO_ENTITY = "about_no_entity"
"""The reason of texts, types and literals of names that are not in the graph, or only as a relation or a type."""


@dataclass
class Assembly:
    """Writes a graph.

    Attributes:
        found: the rows.
        folder: for intermediate files.
        part_rows: rows in memory at a time per thread.
        base: a graph that this one continues: its names keep their ids.
        each: called after every part of work.
    """

    terms: Terms
    marks: Marks
    found: Graphs
    pool: Executor
    folder: Path
    part_rows: int
    base: KnowledgeGraph | None = None
    each: Callable[[], None] = lambda: None
    merged: int = field(default=0, init=False)

    def write(self, out: Path, *, prefixes: Mapping[str, str], provenance: Callable[[], Mapping[str, Any]]) -> None:
        """Write the graph beside `out` and rename it into place.

        Args:
            provenance: asked at the end, when the account is complete.

        Raises:
            DataError: no entity is left; what was at `out` stays.
        """
        self._decide()
        if not np.any(self.marks.entity):
            raise DataError(_nothing_left(provenance()))
        staging = self.folder / "staging"
        staging.mkdir(parents=True)
        digests = self._write_parts(staging)
        parts = [*digests, json.dumps(dict(prefixes), sort_keys=True)]
        meta = {
            "format_version": FORMAT_VERSION,
            "content_hash": hashlib.sha256("\n".join(parts).encode()).hexdigest(),
            "prefixes": dict(prefixes),
            "provenance": dict(provenance()),
        }
        path = staging / "graph.json"
        path.write_text(json.dumps(meta), encoding="utf-8")
        meta["counts"] = KnowledgeGraph.open(staging).counts()
        path.write_text(json.dumps(meta, indent=1, ensure_ascii=False), encoding="utf-8")
        sync_tree(staging)
        replace_folder(out, staging, self.folder.parent)

    def _decide(self) -> None:
        """Which terms are entities, relations, types and literals of the graph."""
        marks, found = self.marks, self.found
        mark(marks.rdf_relation, self._base_relations.base_terms)
        mark(marks.rdf_class, self._base_types.base_terms)
        for number in range(0, len(self.terms), 1 << 24):
            part = slice(number, number + (1 << 24))
            described = marks.described[part] & ~marks.rdf_relation[part] & ~marks.rdf_class[part]
            about = marks.reifier[part] | marks.broken[part] | marks.node[part]
            marks.entity[part] = marks.linked[part] | (described & ~about)
        tables = [found.output.plain, found.output.qualified, found.negatives]
        self._each_part(self._decide_statements, tables)
        self._each_part(self._decide_types, [found.output.types])
        for vocabulary_marks, of_base in (
            (marks.entity, self._base_entities),
            (marks.relation, self._base_relations),
            (marks.type, self._base_types),
            (marks.literal, self._base_literals),
        ):
            mark(vocabulary_marks, of_base.base_terms)

    def _decide_statements(self, keys: Range) -> None:
        marks = self.marks
        plain = self.found.output.plain.read(keys)
        s, r, o, is_literal = (plain.column(name).to_numpy() for name in PLAIN.names)
        kept = self._kept(s, r, is_literal)
        mark(marks.relation, r[kept])
        mark(marks.literal, o[kept & (is_literal == 1)])
        for table in (self.found.output.qualified, self.found.negatives):
            batch = table.read(keys)
            s, r, o, is_literal = (batch.column(name).to_numpy() for name in PLAIN.names)
            kept = self._kept(s, r, is_literal)
            mark(marks.relation, r[kept])
            mark(marks.literal, o[kept & (is_literal == 1)])
            batch = batch.filter(pa.array(kept))
            value = batch.column("qualifier_value").flatten().to_numpy()
            mark(marks.relation, batch.column("qualifier_relation").flatten().to_numpy())
            mark(marks.literal, -1 - value[value < 0])

    def _kept(self, s: Ids, r: Ids, is_literal: npt.NDArray[np.int8]) -> Mask:
        """bool `[m]`: the rows that stay in the graph; the others are counted."""
        account, marks = self.found.output.account, self.marks
        excluded = marks.excluded[s]
        account.move("literals", "filtered_class", r[excluded & (is_literal == 1)])
        account.move("statements", "filtered_class", r[excluded & (is_literal == 0)])
        homeless = (is_literal == 1) & ~marks.entity[s] & ~excluded
        account.move("literals", NO_ENTITY, r[homeless])
        kept: Mask = ~(excluded | homeless)
        return kept

    def _decide_types(self, keys: Range) -> None:
        batch = self.found.output.types.read(keys)
        entity, type_, counted = (column.to_numpy() for column in batch.columns)
        kept = self.marks.entity[entity] & ~self.marks.excluded[entity]
        account, excluded = self.found.output.account, self.marks.excluded[entity]
        account.move_named("types", "filtered_class", RDF + "type", int(np.count_nonzero(excluded & counted)))
        account.move_named("types", NO_ENTITY, RDF + "type", int(np.count_nonzero(~kept & ~excluded & counted)))
        mark(self.marks.type, type_[kept])

    def _each_part(self, step: Callable[[Range], None], tables: list[Chunks]) -> None:
        for _ in self.pool.map(step, ranges(tables, len(self.terms), rows=self.part_rows)):
            self.each()

    # Vocabularies

    def _numbering(self, what: str, base: vocabulary.Vocabulary | None) -> Numbering:
        known = base if base is not None else vocabulary.Vocabulary.build([])
        base_terms = self.terms.find_all(known.names) if len(known) else np.empty(0, np.int32)
        return Numbering(getattr(self.marks, what), known, base_terms, self.folder / f"{what}.ids")

    @cached_property
    def _base_entities(self) -> Numbering:
        return self._numbering("entity", None if self.base is None else self.base.entities)

    @cached_property
    def _base_relations(self) -> Numbering:
        return self._numbering("relation", None if self.base is None else self.base.relations)

    @cached_property
    def _base_types(self) -> Numbering:
        return self._numbering("type", None if self.base is None else self.base.types.vocabulary)

    @cached_property
    def _base_literals(self) -> Numbering:
        return self._numbering("literal", None if self.base is None else self.base.literals.vocabulary)

    # Rows

    def _write_parts(self, folder: Path) -> list[str]:
        """Everything but graph.json; returns the digests in the order of `KnowledgeGraph.content_hash`."""
        entities = write_vocabulary(folder / "entities.arrow", self._base_entities, self.terms, self.folder)
        relations = write_vocabulary(folder / "relations.arrow", self._base_relations, self.terms, self.folder)
        type_names = write_vocabulary(folder / "types.arrow", self._base_types, self.terms, self.folder)
        literal_names = write_vocabulary(
            folder / "literals.arrow", self._base_literals, self.terms, self.folder, measured=True
        )
        self.marks.let_go()
        links, facts = self._write_statements(folder / "statements.arrow", folder / "literal_statements.arrow")
        negatives = self._write_negatives(folder / "negatives.arrow")
        of_entity = self._write_types(folder / "entity_types.arrow")
        owners = (
            ("texts.arrow", Owner.ENTITY, self._base_entities),
            ("relation_texts.arrow", Owner.RELATION, self._base_relations),
            ("type_texts.arrow", Owner.TYPE, self._base_types),
        )
        own, of_relations, of_types = self._write_texts(folder, owners)
        typing = hashlib.sha256("\n".join((type_names, of_types, of_entity)).encode()).hexdigest()
        literal = hashlib.sha256((literal_names + facts).encode()).hexdigest()
        return [entities, relations, links, own, of_relations, typing, literal, negatives]

    def _write_statements(self, links_path: Path, facts_path: Path) -> tuple[str, str]:
        links, facts = (Spool(self.folder / path.name, statements.SCHEMA) for path in (links_path, facts_path))
        output = self.found.output
        for link_table, fact_table, merged in self._by_subject([output.plain, output.qualified], self._tables):
            links.append(link_table.to_batch())
            facts.append(fact_table.to_batch())
            self.merged += merged
        links.seal(links_path)
        facts.seal(facts_path)
        return links.hexdigest(), facts.hexdigest()

    def _write_negatives(self, path: Path) -> str:
        spool = Spool(self.folder / path.name, statements.SCHEMA)
        for link_table, _, merged in self._by_subject([self.found.negatives], self._tables):
            spool.append(link_table.to_batch())
            self.merged += merged
        spool.seal(path)
        return spool.hexdigest()

    def _by_subject(self, tables: Sequence[Chunks], make: Callable[..., Any]) -> Iterator[Any]:
        """What `make` makes of the rows of each range of subjects, in the order of entity ids."""
        if not self._base_entities.keeps_order:
            tables = [self._by_id(table, self._base_entities) for table in tables]
        end = len(self.terms) if self._base_entities.keeps_order else int(self._base_entities.of.max(initial=-1)) + 1
        parts = ranges(list(tables), end, rows=self.part_rows)
        for made in in_turn(self.pool, lambda keys: make([table.read(keys) for table in tables]), parts):
            yield made
            self.each()

    def _by_id(self, table: Chunks, numbering: Numbering) -> Chunks:
        """The rows keyed by id in place of the number of the term; of terms without an id, none."""
        again = Chunks(self.folder / f"by-id-{uuid.uuid4().hex[:8]}", table.schema)

        def move(keys: Range) -> None:
            batch = table.read(keys)
            ids = numbering.of[batch.column(0).to_numpy()]
            batch = batch.set_column(0, table.schema[0], int32(ids)).filter(pa.array(ids >= 0))
            again.add(batch.take(pa.array(np.argsort(batch.column(0).to_numpy(), kind="stable"))))

        self._each_part(move, [table])
        return again

    def _tables(self, batches: Sequence[pa.RecordBatch]) -> tuple[StatementTable, StatementTable, int]:
        """Links and literal facts of one range, and how many equal rows became one."""
        keeps_order = self._base_entities.keeps_order
        entity, relation, literal = self._base_entities.of, self._base_relations.of, self._base_literals.of
        columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in QUALIFIED.names}
        counts: list[npt.NDArray[np.int64]] = []
        for batch in batches:
            m = len(batch)
            for name in QUALIFIED.names[:7]:
                present = name in batch.schema.names
                columns[name].append(batch.column(name).to_numpy() if present else np.zeros(m, np.int8))
            if "qualifier_value" in batch.schema.names:
                counts.append(batch.column("qualifier_value").value_lengths().to_numpy())
                for name in ("qualifier_relation", "qualifier_value"):
                    columns[name].append(batch.column(name).flatten().to_numpy())
            else:
                counts.append(np.zeros(m, np.int64))
        whole = {name: np.concatenate(found) if found else np.empty(0, np.int32) for name, found in columns.items()}
        s, is_literal = whole["subject"], whole["literal"] == 1
        if keeps_order:
            kept = (~is_literal | self.marks.entity[s]) & ~self.marks.excluded[s]
            s = entity[s]
        else:
            kept = np.ones(len(s), bool)
        count = np.concatenate(counts)
        pairs_of = np.repeat(np.arange(len(s)), count)
        value = whole["qualifier_value"]
        value = np.where(value < 0, -1 - literal[np.where(value < 0, -1 - value, 0)], entity[np.maximum(value, 0)])
        pair_relation = relation[whole["qualifier_relation"]]
        made, rows = [], 0
        for chosen, objects in ((kept & ~is_literal, entity), (kept & is_literal, literal)):
            in_pairs = chosen[pairs_of]
            made.append(
                StatementTable.build(
                    s[chosen],
                    relation[whole["relation"][chosen]],
                    objects[whole["object"][chosen]],
                    split=whole["split"][chosen],
                    rank=whole["rank"][chosen],
                    references=whole["references"][chosen],
                    qualifier_offset=offsets_of(count[chosen]),
                    qualifier_relation=pair_relation[in_pairs],
                    qualifier_value=value[in_pairs],
                )
            )
            rows += int(np.count_nonzero(chosen)) - len(made[-1])
        return made[0], made[1], rows

    def _write_types(self, path: Path) -> str:
        spool = Spool(self.folder / path.name, types.SCHEMA)
        n = len(self._base_entities.base) + int(np.count_nonzero(self._base_entities.fresh))
        table = self.found.output.types
        if table.rows:
            table = self._by_id(table, self._base_entities)
            type_id, end = self._base_types.of, 0
            for keys in ranges([table], n, rows=self.part_rows):
                batch = table.read(keys)
                pairs = [batch.column(0).to_numpy(), type_id[batch.column(1).to_numpy()]]
                pairs = [column[pairs[1] >= 0] for column in pairs]
                order = order_of(pairs)
                pairs = [column[order] for column in pairs]
                entity, type_ = (column[first_of_equal(pairs)] for column in pairs)
                counts = np.bincount(entity - keys[0], minlength=keys[1] - keys[0])
                lists = pa.LargeListArray.from_arrays(pa.array(offsets_of(counts)), int32(type_))
                spool.append(pa.record_batch([lists], schema=types.SCHEMA))
                end = keys[1]
            assert end == n
        else:
            lists = pa.LargeListArray.from_arrays(pa.array(np.zeros(n + 1, np.int64)), int32([]))
            spool.append(pa.record_batch([lists], schema=types.SCHEMA))
        spool.seal(path)
        return spool.hexdigest()

    def _write_texts(self, folder: Path, owners: Sequence[tuple[str, Owner, Numbering]]) -> list[str]:
        spools = [Spool(self.folder / name, texts.SCHEMA) for name, _, _ in owners]
        parts = ranges([self.found.texts], len(self.terms), rows=self.part_rows)
        for _ in in_turn(self.pool, self._account_texts, parts):
            self.each()
        languages = self.found.languages
        if all(numbering.keeps_order for _, _, numbering in owners):

            def of_part(keys: Range) -> list[pa.RecordBatch]:
                batch = self.found.texts.read(keys)
                return [sorted_texts(batch, bit, numbering.of, languages) for _, bit, numbering in owners]

            for batches in in_turn(self.pool, of_part, parts):
                for spool, batch in zip(spools, batches, strict=True):
                    spool.append(batch)
                self.each()
        else:
            for spool, (_, bit, numbering) in zip(spools, owners, strict=True):
                keyed = self._by_id(self.found.texts, numbering)
                end = int(numbering.of.max(initial=-1)) + 1
                for keys in ranges([keyed], end, rows=self.part_rows):
                    spool.append(sorted_texts(keyed.read(keys), bit, None, languages))
        for spool, (name, _, _) in zip(spools, owners, strict=True):
            spool.seal(folder / name)
        return [spool.hexdigest() for spool in spools]

    def _account_texts(self, keys: Range) -> None:
        """Texts count once they have an owner; those of RDF are counted here, those of readers moved where need be."""
        account, marks = self.found.output.account, self.marks
        owner, of, kind, predicate = (
            column.to_numpy() for column in self.found.texts.read(keys, TEXTS.names[:4]).columns
        )
        held = np.zeros(len(owner), bool)
        for bit, members in ((Owner.ENTITY, marks.entity), (Owner.RELATION, marks.relation), (Owner.TYPE, marks.type)):
            held |= ((of & bit) != 0) & members[owner]
        by_triple = predicate >= 0
        is_reifier = marks.reifier[owner] | marks.broken[owner] | marks.node[owner]
        account.add("texts", predicate[by_triple & held])
        account.add("about_a_reifier", predicate[by_triple & ~held & is_reifier])
        account.add(NO_ENTITY, predicate[by_triple & ~held & ~is_reifier])
        counts = np.bincount(kind[~by_triple & ~held], minlength=len(TextKind))
        for text_kind in TextKind:
            account.move_named("texts", NO_ENTITY, TEXT_NAMES[text_kind], int(counts[text_kind]))


def _nothing_left(provenance: Mapping[str, Any]) -> str:
    report = provenance["report"]
    names = ", ".join(str(file["name"]) for file in report["files"][:5])
    if not report["read"]:
        return f"{names}: no entity was found. Expected statements; see the format with --format."
    why = ", ".join(f"{reason} {count:,}" for reason, count in report["dropped"].items())
    return f"{names}: {report['read']:,} read, and no entity is left ({why}). Loosen the filters."


def in_turn(pool: Executor, call: Callable[[Any], Any], items: Iterable[Any], *, ahead: int = 3) -> Iterator[Any]:
    """`pool.map`, but with few results waiting at a time."""
    waiting: list[Any] = []
    for item in items:
        waiting.append(pool.submit(call, item))
        if len(waiting) >= ahead:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
