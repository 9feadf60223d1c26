"""How a graph hangs together, what is said of its entities, and whether its class hierarchy has cycles."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
HIERARCHY = re.compile(r"(?:^|[/#:])(subClassOf|P279|broader)$")
"""Names of relations that lead to a broader class: of RDFS, Wikidata and SKOS, as IRI, CURIE or plain id."""
EXAMPLES = 5


@dataclass(frozen=True)
class Bin:
    """How many have a value in [low, high]."""

    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Degrees:
    """Statements an entity is subject or object of, all splits.

    Attributes:
        mean: over all entities.
        quantiles: (share of the entities, degree).
        histogram: by powers of two; entities without any statement apart.
        isolated: entities that are neither subject nor object; of these `in_qualifiers` stand in a qualifier.
    """

    mean: float
    quantiles: tuple[tuple[float, int], ...]
    histogram: tuple[Bin, ...]
    isolated: int
    in_qualifiers: int


@dataclass(frozen=True)
class Components:
    """Parts of the graph without a link between them; entities without links apart.

    Attributes:
        count: how many.
        largest: entities in the largest; `share` is that of the linked entities.
        histogram: components by size.
    """

    count: int
    largest: int
    share: float
    histogram: tuple[Bin, ...]


@dataclass(frozen=True)
class Hierarchy:
    """One relation that leads to a broader class.

    Attributes:
        relation: its name.
        statements: how many.
        cycles: sets of more than one class, each below every other of the set; `in_cycles` counts their classes.
        largest: classes in the largest of them.
        loops: classes that are below themselves by one statement.
        examples: names of some classes of the largest cycle.
    """

    relation: str
    statements: int
    cycles: int
    in_cycles: int
    largest: int
    loops: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Language:
    """Entities with a text of each kind in one language; "" is text without a language."""

    language: str
    labels: int
    aliases: int
    descriptions: int


@dataclass(frozen=True)
class Coverage:
    """What is said of entities and of statements: counts of those of which it is.

    Attributes:
        labelled, described, typed: entities, in whatever language.
        languages: most labels first.
        qualified: statements with qualifiers.
        literal_facts: statements whose object is a literal.
    """

    labelled: int
    described: int
    typed: int
    languages: tuple[Language, ...]
    qualified: int
    literal_facts: int


def degrees(graph: KnowledgeGraph) -> Degrees:
    """Degrees of all entities; O(m)."""
    table = graph.statements
    degree = np.bincount(table.subject, minlength=graph.n) + np.bincount(table.object, minlength=graph.n)
    degree -= np.bincount(table.subject[table.subject == table.object], minlength=graph.n)  # a loop is one statement
    values = table.qualifier_value[table.qualifier_value >= 0]
    isolated = degree == 0
    in_qualifiers = np.unique(values[isolated[values]])
    at = np.quantile(degree, QUANTILES, method="inverted_cdf").tolist() if graph.n else []
    return Degrees(
        mean=float(degree.mean()) if graph.n else 0.0,
        quantiles=tuple((share, int(value)) for share, value in zip(QUANTILES, at, strict=False)),
        histogram=_histogram(degree),
        isolated=int(np.count_nonzero(isolated)),
        in_qualifiers=len(in_qualifiers),
    )


def components(graph: KnowledgeGraph) -> Components:
    """Weakly connected components; O(n + m)."""
    table = graph.statements
    _, member = csgraph.connected_components(_adjacency(table.subject, table.object, graph.n), directed=False)
    linked = np.zeros(graph.n, bool)
    linked[table.subject] = linked[table.object] = True
    sizes = np.bincount(member[linked]) if linked.any() else np.zeros(0, np.int64)
    sizes = sizes[sizes > 0]
    largest = int(sizes.max()) if len(sizes) else 0
    return Components(len(sizes), largest, largest / max(int(linked.sum()), 1), _histogram(sizes))


def hierarchies(graph: KnowledgeGraph) -> tuple[Hierarchy, ...]:
    """Every relation whose name says that it leads to a broader class, with its cycles."""
    table, found = graph.statements, []
    for id, name in enumerate(graph.relations.names.to_pylist()):
        if not HIERARCHY.search(name):
            continue
        rows = table.relation == id
        subject, object = table.subject[rows], table.object[rows]
        if not len(subject):
            continue
        edges = _adjacency(subject, object, graph.n)
        _, member = csgraph.connected_components(edges, directed=True, connection="strong")
        sizes = np.bincount(member)
        cyclic = np.flatnonzero(sizes > 1)
        largest = cyclic[np.argmax(sizes[cyclic])] if len(cyclic) else -1
        shown = np.flatnonzero(member == largest)[:EXAMPLES]
        labels = zip(graph.texts.labels(shown), graph.entities.names_of(shown), strict=True)
        found.append(
            Hierarchy(
                relation=name,
                statements=len(subject),
                cycles=len(cyclic),
                in_cycles=int(sizes[cyclic].sum()),
                largest=int(sizes[largest]) if len(cyclic) else 0,
                loops=len(np.unique(subject[subject == object])),
                examples=tuple(f"{label} ({name})" if label else name for label, name in labels),
            )
        )
    return tuple(found)


def coverage(graph: KnowledgeGraph) -> Coverage:
    """Texts by language, types, qualifiers, literals."""
    texts, n = graph.texts, max(graph.n, 1)
    encoded = texts.language.dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int64)
    names: list[str] = encoded.dictionary.to_pylist()
    by_kind = {}
    for kind in TextKind:
        rows = texts.kind == kind
        keys = np.unique(codes[rows] * n + texts.owner[rows])
        by_kind[kind] = np.bincount(keys // n, minlength=len(names)).tolist(), len(np.unique(keys % n))
    languages = [
        Language(name, *(by_kind[kind][0][place] for kind in (TextKind.LABEL, TextKind.ALIAS, TextKind.DESCRIPTION)))
        for place, name in enumerate(names)
    ]
    return Coverage(
        labelled=by_kind[TextKind.LABEL][1],
        described=by_kind[TextKind.DESCRIPTION][1],
        typed=int(np.count_nonzero(graph.types.of_entity.lengths)),
        languages=tuple(sorted(languages, key=lambda each: (-each.labels, -each.descriptions, each.language))),
        qualified=int(np.count_nonzero(np.diff(graph.statements.qualifier_offset))),
        literal_facts=len(graph.literals),
    )


def _adjacency(subject: npt.NDArray[np.int32], object: npt.NDArray[np.int32], n: int) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(subject), bool), (subject, object)), shape=(n, n))  # bool: sums cannot wrap


def _histogram(values: npt.NDArray[np.int64]) -> tuple[Bin, ...]:
    """Positive values by powers of two: 1, 2–3, 4–7, ..."""
    power = np.frexp(values[values > 0].astype(np.float64))[1] - 1
    counts = np.bincount(power).tolist() if len(power) else []
    return tuple(Bin(2**place, 2 ** (place + 1) - 1, count) for place, count in enumerate(counts))
