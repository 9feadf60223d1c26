"""The user's own shapes: what would break one is not given out, and what the graph breaks already is no link's fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kgservice.enrichment.conforming import Conformance
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.selecting import Limits, select
from kgservice.enrichment.table import proposals
from kgservice.errors import InputError, InvalidQuestion
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary

pytest.importorskip("pyshacl", reason="the extra kgservice[shacl] is not installed")

ADA, BEA, OSLO, PARIS, ROME = range(5)
BORN, LIKES = range(2)
PREFIXES = "@prefix sh: <http://www.w3.org/ns/shacl#> . @prefix : <urn:x:> .\n"
ONE_BIRTHPLACE = (
    PREFIXES + "[] a sh:NodeShape ; sh:targetClass :person ; sh:property [ sh:path :born ; sh:maxCount 1 ] ."
)
CITIES = (
    PREFIXES + ":shape a sh:NodeShape ; sh:targetSubjectsOf :born ; sh:property [ sh:path :born ; sh:class :city ] ."
)
ONE_CHILD = (
    PREFIXES
    + ":s a sh:NodeShape ; sh:targetClass :city ; sh:property [ sh:path [ sh:inversePath :born ] ; sh:maxCount 1 ] ."
)


@pytest.fixture
def graph() -> KnowledgeGraph:
    """Ada and Bea are persons, three cities; Ada was born in Oslo, and against all shapes Bea in Ada."""
    entities = Vocabulary.build([f"urn:x:{name}" for name in ("ada", "bea", "oslo", "paris", "rome")])
    kinds = Vocabulary.build(["urn:x:city", "urn:x:person"])
    return KnowledgeGraph(
        entities,
        Vocabulary.build(["urn:x:born", "urn:x:likes"]),
        StatementTable.build([ADA, BEA], [BORN, BORN], [OSLO, ADA]),
        types=Types.build(kinds, [ADA, BEA, OSLO, PARIS, ROME], [1, 1, 0, 0, 0], n=5),
    )


def _table(*rows: tuple[int, int, int, float]) -> pa.Table:
    subject, relation, object, probability = zip(*rows, strict=True)
    m = len(rows)
    ids = (np.array(one, np.int32) for one in (subject, relation, object))
    return proposals(*ids, np.array(probability), np.zeros(m, np.float32), np.ones(m, np.int32), kept=np.ones(m, bool))


@pytest.mark.parametrize(
    ("shapes", "links", "refused"),
    [
        (ONE_BIRTHPLACE, [(ADA, BORN, PARIS, 0.9), (ADA, LIKES, PARIS, 0.8), (BEA, BORN, ROME, 0.7)], [0, 2]),
        (CITIES, [(ADA, BORN, PARIS, 0.9), (ADA, BORN, BEA, 0.8), (BEA, LIKES, ADA, 0.7)], [1]),
        (ONE_CHILD, [(BEA, BORN, OSLO, 0.9), (BEA, BORN, PARIS, 0.8), (ADA, BORN, PARIS, 0.7)], [0, 2]),
        (ONE_CHILD, [(BEA, LIKES, OSLO, 0.9)], []),
    ],
)
def test_what_breaks_a_shape_is_refused(
    graph: KnowledgeGraph, shapes: str, links: list[tuple[int, int, int, float]], refused: list[int]
) -> None:
    assert np.flatnonzero(Conformance(shapes).refused(graph, _table(*links))).tolist() == refused


def test_the_budget_is_filled_with_what_conforms(graph: KnowledgeGraph) -> None:
    table = _table((ADA, BORN, BEA, 0.9), (ADA, BORN, PARIS, 0.8), (ADA, LIKES, ROME, 0.1))
    no = np.zeros(2, bool)
    chosen = select(
        table, Plan("r@0", total=1), Limits(no, no, no), refused=lambda some: Conformance(CITIES).refused(graph, some)
    )
    assert chosen.table["object"].to_pylist() == [PARIS]
    assert chosen.dropped == {"refused: it would break a shape": 1, "below the threshold of its relation": 1}


def test_shapes_that_are_none_are_told() -> None:
    with pytest.raises(InputError, match="the shapes are no Turtle"):
        Conformance("sh:NodeShape")
    with pytest.raises(InputError, match="hold neither a sh:NodeShape nor a sh:PropertyShape"):
        Conformance("<urn:a> <urn:b> <urn:c> .")
    with pytest.raises(InvalidQuestion, match="shapes are for missing links"):
        replace(Plan("r@0", shapes=CITIES), kind="errors")
