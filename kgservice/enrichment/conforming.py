"""The user's own SHACL shapes: which links must not be added, since with them the graph would break a shape that it keeps.

What is validated is the graph around the ends of the links: their statements, literals and types, and the types of their
neighbours. What the graph breaks already is no link's fault.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.enrichment.table import column
from kgservice.errors import InputError, MissingDependency
from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import Literal
from kgservice.graph.names import iri_of

Rows = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]


class Breach(NamedTuple):
    """One way in which a shape is broken: terms of rdflib, None where the report names none."""

    shape: Any
    constraint: Any
    focus: Any
    path: Any
    value: Any


class Conformance:
    """Shapes, ready to look at links.

    Args:
        shapes: SHACL as Turtle.

    Raises:
        MissingDependency: pySHACL is not installed.
        InputError: the text is no Turtle, or holds no shape.
    """

    def __init__(self, shapes: str) -> None:
        try:
            import pyshacl
        except ImportError as error:
            raise MissingDependency("Shapes need pySHACL. Run: pip install 'kgservice[shacl]'.") from error
        import rdflib

        self._validate, self._rdflib = pyshacl.validate, rdflib
        self._shapes = rdflib.Graph()
        try:
            self._shapes.parse(data=shapes, format="turtle")
        except Exception as error:  # rdflib raises what its parser happens to raise
            raise InputError(f"the shapes are no Turtle: {error}") from error
        kinds = rdflib.SH.NodeShape, rdflib.SH.PropertyShape
        if not any((None, rdflib.RDF.type, kind) in self._shapes for kind in kinds):
            raise InputError("the shapes hold neither a sh:NodeShape nor a sh:PropertyShape")

    def refused(self, graph: KnowledgeGraph, table: pa.Table) -> Rows:
        """bool `[m]`: links that must go so that the rest breaks nothing; of several to blame the least probable goes first.

        Args:
            graph: that they would be added to.
            table: of `SCHEMA`, the most probable first.
        """
        subject, relation, object = (column(table, name).astype(np.int64) for name in ("subject", "relation", "object"))
        gone = np.zeros(len(table), bool)
        if not len(table):
            return gone
        data = self._rdflib.Graph()
        for triple in self._around(graph, np.union1d(subject, object)):
            data.add(triple)
        before = set(self._breaches(data))
        entity, named = self._names(graph.entities), self._names(graph.relations)
        links = [(entity(s), named(r), entity(o)) for s, r, o in zip(subject, relation, object, strict=True)]
        at: defaultdict[Any, list[int]] = defaultdict(list)
        for row, link in enumerate(links):
            data.add(link)
            at[link[0]].append(row)
            at[link[2]].append(row)
        while True:
            blamed = {row for one in self._breaches(data) if one not in before for row in _blamed(one, links, at, gone)}
            if not blamed:
                return gone
            for row in blamed:
                gone[row] = True
                data.remove(links[row])

    def _breaches(self, data: Any) -> Iterator[Breach]:
        sh = self._rdflib.SH
        _, report, _ = self._validate(data, shacl_graph=self._shapes, inference="none", inplace=True)
        for one in report.subjects(self._rdflib.RDF.type, sh.ValidationResult):
            if report.value(one, sh.resultSeverity) == sh.Violation:
                names = (sh.sourceShape, sh.sourceConstraintComponent, sh.focusNode, sh.resultPath, sh.value)
                shape, *rest = (report.value(one, name) for name in names)
                # Nameless shapes and paths have another name in every report.
                yield Breach(*(None if isinstance(term, self._rdflib.BNode) else term for term in (shape, *rest)))

    def _names(self, vocabulary: Any) -> Any:
        terms: dict[int, Any] = {}

        def term(id: int) -> Any:
            if id not in terms:
                name = vocabulary.name(int(id))
                blank = name.startswith("_:")
                terms[id] = self._rdflib.BNode(name[2:]) if blank else self._rdflib.URIRef(iri_of(name))
            return terms[id]

        return term

    def _around(self, graph: KnowledgeGraph, ends: Ids) -> Iterator[tuple[Any, Any, Any]]:
        rdflib = self._rdflib
        entity, relation = self._names(graph.entities), self._names(graph.relations)
        chosen = np.zeros(graph.n, bool)
        chosen[ends] = True
        table = graph.statements
        near = (chosen[table.subject] | chosen[table.object]) & ~(
            graph.erased[table.subject] | graph.erased[table.object]
        )
        for row in np.flatnonzero(near):
            yield entity(table.subject[row]), relation(table.relation[row]), entity(table.object[row])
        facts = graph.literals.statements
        for row in np.flatnonzero(chosen[facts.subject]):
            value = Literal.parse(graph.literals.vocabulary.name(int(facts.object[row])))
            kind = {"lang": value.language} if value.language else {"datatype": rdflib.URIRef(value.datatype)}
            literal = rdflib.Literal(value.lexical, **kind)
            yield entity(facts.subject[row]), relation(facts.relation[row]), literal
        classes = self._names(graph.types.vocabulary)
        known = np.unique(np.concatenate([ends, table.subject[near], table.object[near]]))
        for one in known.tolist():
            for of in graph.types.of_entity[one].tolist():
                yield entity(one), rdflib.RDF.type, classes(of)


def _blamed(breach: Breach, links: list[Any], at: dict[Any, list[int]], gone: Rows) -> list[int]:
    """Rows to take away: all that state the value that is complained of, else the least probable link there."""
    here = [row for row in dict.fromkeys(at.get(breach.focus, ())) if not gone[row]]
    along = [row for row in here if links[row][:2] == (breach.focus, breach.path)]
    stating = [row for row in along if links[row][2] == breach.value]
    return stating or (along or here)[-1:]
