"""The search index of a release, and of what was put since."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import pyarrow as pa

from kgservice.arrays.ragged import Ragged
from kgservice.encoders import shared_encoder
from kgservice.engine.adding import AddedEntities, Entry, texts_of
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.release import Release
from kgservice.search import EntitySearch, LayeredSearch, Remembering, Segment, segments


class ReleaseSearch:
    """The search index of a release, and behind it those of what was put since; safe from many threads.

    Args:
        release: where the index lies.
    """

    def __init__(self, release: Release) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._segments: list[Segment] = []
        self._encoder: Remembering | None = None

    @cached_property
    def base(self) -> EntitySearch:
        """The release's own, opened at first use."""
        with self._lock:
            return EntitySearch.open(self._release.folder / "search", self._release.graph)

    def over(self, added: AddedEntities) -> LayeredSearch:
        """With what was put; of former calls is kept what still stands."""
        base, graph = self.base, added.graph
        with self._lock:
            if base.encoder_name and self._encoder is None:
                self._encoder = Remembering(shared_encoder(base.encoder_name))
            entry_of = dict(zip(added.documents, added.entries, strict=True))
            alone = partial(_alone, graph.base, entry_of)
            self._segments = segments(self._segments, added.documents, alone, self._encoder)
            ids = {document: graph.base.n + place for document, place in added.places.items()}
            return LayeredSearch(base, self._segments, ids, graph.erased, graph.subjects)


def _alone(base: KnowledgeGraph, entry_of: Mapping[str, Entry], documents: Sequence[str]) -> KnowledgeGraph:
    """Entities that were put, numbered by their places among the documents, which are sorted by name; without statements."""
    entries = [entry_of[document] for document in documents]
    records = [entry.record for entry in entries]
    return KnowledgeGraph(
        Vocabulary([pa.array([one.id for one in records], pa.large_string())]),
        base.relations,
        StatementTable.empty(),
        texts_of(records, 0),
        types=replace(base.types, of_entity=Ragged.of([entry.types for entry in entries])),
        prefixes=base.prefixes,
    )
