"""What a graph is like and whether its splits are fair: leakage, relations, structure, coverage, and verdicts.

Leakage by inverse and duplicate relations after Toutanova and Chen 2015, Dettmers et al. 2018 and Akrami et al. 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kgservice.audit.leakage import Leakage, common_triples, measure_leakage, shared_by_held_out
from kgservice.audit.relations import (
    SUPPORT,
    PairTable,
    RelationPair,
    RelationProfile,
    profiles,
    relation_labels,
)
from kgservice.audit.structure import (
    Components,
    Coverage,
    Degrees,
    Hierarchy,
    components,
    coverage,
    degrees,
    hierarchies,
)
from kgservice.audit.verdicts import Flag, judge
from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph

THRESHOLD = 0.8
"""Share of a relation's pairs from which another relation says the same or the reverse (Akrami et al. 2020)."""


@dataclass(frozen=True)
class Audit:
    """All that was found.

    Attributes:
        graph: the first twelve digits of the graph's content hash.
        threshold: see `THRESHOLD`.
        counts: as `KnowledgeGraph.counts`.
        density: share of the ordered pairs of linked entities that some statement links.
        leakage: of validation and test, where there are any.
        relations: every relation that links entities, most statements first.
        overlaps: pairs of relations of which one implies the other or its reverse, the mutual ones first.
        degrees, components, hierarchies, coverage: see `structure`.
        flags: verdicts, the most severe first.
    """

    graph: str
    threshold: float
    counts: Mapping[str, int]
    density: float
    leakage: tuple[Leakage, ...]
    relations: tuple[RelationProfile, ...]
    overlaps: tuple[RelationPair, ...]
    degrees: Degrees
    components: Components
    hierarchies: tuple[Hierarchy, ...]
    coverage: Coverage
    flags: tuple[Flag, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, for JSON."""
        return asdict(self)

    def failing(self, on: Sequence[str]) -> tuple[Flag, ...]:
        """The flags that one of `on` names: "error", "warning" (and worse), or "leakage" (errors of that kind)."""
        return tuple(
            flag
            for flag in self.flags
            if (flag.severity == "error" and ("error" in on or "warning" in on))
            or (flag.severity == "warning" and "warning" in on)
            or (flag.severity == "error" and flag.code.startswith("leakage-") and "leakage" in on)
        )


def audit(graph: KnowledgeGraph, threshold: float = THRESHOLD) -> Audit:
    """Measure a graph; sorts and sparse products, about a second per million statements.

    Args:
        threshold: share of a relation's pairs, in (0, 1], from which another relation has them too.

    Raises:
        InputError: the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold={threshold:g} must be a share in (0, 1]")
    pairs = PairTable(graph, threshold)
    leaks, relations = measure_leakage(graph, pairs), profiles(graph, pairs)
    overlaps = pairs.overlapping(relation_labels(graph))
    symmetric = [each for each in relations if each.symmetric >= threshold and each.pairs - each.loops >= SUPPORT]
    measured, parts, cycles = degrees(graph), components(graph), hierarchies(graph)
    linked = graph.n - measured.isolated
    density = pairs.linked_pairs / max(linked * (linked - 1), 1)
    flags = judge(
        leaks=leaks,
        shared=shared_by_held_out(graph),
        false_and_true=common_triples(graph.negatives, graph.statements),
        density=density,
        relations=relations,
        overlaps=overlaps,
        symmetric=symmetric,
        degrees=measured,
        components=parts,
        hierarchies=cycles,
    )
    return Audit(
        graph=graph.content_hash[:12],
        threshold=threshold,
        counts=graph.counts(),
        density=density,
        leakage=leaks,
        relations=relations,
        overlaps=overlaps,
        coverage=coverage(graph),
        flags=flags,
        degrees=measured,
        components=parts,
        hierarchies=cycles,
    )
