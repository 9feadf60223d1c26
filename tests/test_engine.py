"""The engine over a real small release."""

from __future__ import annotations

import numpy as np
import pytest

from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion, UnknownEntity, UnknownModel, UnknownRelation, UnknownType
from kgservice.query import QueryBatch

EX = "https://example.org/"


@pytest.fixture(scope="module")
def engine(family_engine: Engine) -> Engine:
    return family_engine


def ask(engine: Engine, k: int = 10, **parts: str):  # type: ignore[no-untyped-def]
    options = {name: parts.pop(name) for name in ("types", "exclude_known", "model", "language") if name in parts}
    return engine.complete([Question(**parts)], k=k, **options)[0]


def test_an_answer_echoes_names_and_ranks(engine: Engine) -> None:
    answer = ask(engine, subject="ex:child3", relation="ex:livesIn", exclude_known=False, k=3)
    assert answer.release == f"{engine.release.id}@0"
    assert (answer.subject.id, answer.subject.label) == ("ex:child3", "Child 3")
    assert answer.relation.label == "lives in"
    assert answer.object is None
    assert [c.rank for c in answer.candidates] == [1, 2, 3]
    scores = [c.score for c in answer.candidates]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", ["ex:child3", EX + "child3", f"<{EX}child3>", " ex:child3 "])
def test_an_entity_may_be_given_as_curie_or_iri(engine: Engine, name: str) -> None:
    assert ask(engine, subject=name, relation="ex:parent").subject.id == "ex:child3"


@pytest.mark.parametrize(
    "parts", [{"subject": "ex:child3", "relation": "ex:parent"}, {"relation": "ex:livesIn", "object": "ex:town1"}]
)
def test_known_answers_are_hidden_or_marked(engine: Engine, parts: dict[str, str]) -> None:
    graph = engine.graph
    relation = graph.relations.id(EX + parts["relation"][3:])
    if "subject" in parts:
        queries = QueryBatch.objects([graph.entities.id(EX + parts["subject"][3:])], [relation])
    else:
        queries = QueryBatch.subjects([relation], [graph.entities.id(EX + parts["object"][3:])])
    known = {engine.entities.short(name) for name in graph.entities.names_of(graph.known(queries)[0])}
    hidden = engine.complete([Question(**parts)], k=93)[0]
    shown = engine.complete([Question(**parts)], k=93, exclude_known=False)[0]
    assert known
    assert not known & {c.id for c in hidden.candidates}
    assert {c.id for c in shown.candidates if c.known} == known
    # The anchor itself is never offered where no statement of the relation is a loop.
    anchor = parts.get("subject") or parts["object"]
    assert anchor not in {c.id for c in shown.candidates}
    assert len(hidden.candidates) + len(known) == len(shown.candidates) == graph.n - 1
    # An unknown candidate has the same probability whether known ones are shown or not.
    of = {c.id: c.probability for c in hidden.candidates}
    for candidate in shown.candidates:
        assert candidate.probability == (None if candidate.known else of[candidate.id])


def test_types_restrict_before_the_cut(engine: Engine) -> None:
    answer = engine.complete([Question(subject="ex:child3", relation="ex:livesIn")], k=10, types=["ex:Town"])[0]
    ids = {c.id for c in answer.candidates}
    assert ids <= {"ex:town0", "ex:town1", "ex:town2"}
    assert len(ids) == 2  # the third is known


def test_the_hole_may_be_the_relation(engine: Engine) -> None:
    answer = ask(engine, subject="ex:mother5", object="ex:father5", exclude_known=False)
    assert answer.relation is None
    assert answer.candidates[0].id == "ex:spouse"
    assert "ex:age" not in {c.id for c in answer.candidates}  # it leads to literals only


def test_bulk_equals_single_whatever_the_slots(engine: Engine) -> None:
    questions = [
        Question(subject="ex:child3", relation="ex:parent"),
        Question(relation="ex:parent", object="ex:mother4"),
        Question(subject="ex:mother5", object="ex:father5"),
        Question(subject="ex:child9", relation="ex:livesIn"),
    ]
    bulk = engine.complete(questions, k=5)
    for question, answer in zip(questions, bulk, strict=True):
        single = engine.complete([question], k=5)[0]
        assert [c.id for c in single.candidates] == [c.id for c in answer.candidates]
        np.testing.assert_allclose(
            [c.score for c in single.candidates], [c.score for c in answer.candidates], rtol=1e-5
        )
    assert engine.complete([]) == []


def test_probabilities_fall_with_the_score(engine: Engine) -> None:
    answer = ask(engine, subject="ex:child3", relation="ex:parent", k=50)
    assert answer.population is not None
    probabilities = [c.probability for c in answer.candidates]
    assert all(0 <= p <= 1 for p in probabilities)
    assert probabilities == sorted(probabilities, reverse=True)


def test_classify(engine: Engine) -> None:
    true, false = engine.classify([("ex:child3", "ex:parent", "ex:mother3"), ("ex:town1", "ex:parent", "ex:town2")])
    assert true.known
    assert not false.known
    assert true.probability > false.probability
    assert true.decision in ("accept", "abstain")
    assert false.decision in ("reject", "abstain")
    assert 0 <= false.reject_to <= false.threshold <= false.accept_from <= 1
    assert (true.decision == "accept") == (true.accept_from <= true.probability)
    assert "made ones" in true.population


def test_one_statement_or_many_at_once_is_judged_alike(engine: Engine) -> None:
    statements = [(f"ex:child{i}", "ex:parent", f"ex:mother{j}") for i in range(1, 4) for j in range(1, 4)]
    for statement, verdict in zip(statements, engine.classify(statements), strict=True):
        assert engine.classify([statement])[0].probability == pytest.approx(verdict.probability, rel=1e-3)
    assert engine.classify([]) == []


def test_an_entity_page(engine: Engine) -> None:
    page = engine.entity("ex:mother4")
    assert (page.id, page.iri, page.label) == ("ex:mother4", EX + "mother4", "Mother 4")
    assert [t.id for t in page.types] == ["ex:Person"]
    statements = {(s.subject.id, s.relation.id, s.object.id or s.object.label) for s in page.statements}
    assert {("ex:mother4", "ex:age", "24"), ("ex:mother4", "ex:spouse", "ex:father4")} <= statements
    assert ("ex:child4", "ex:parent", "ex:mother4") in statements
    spouse = next(s for s in page.statements if s.relation.id == "ex:spouse")
    assert [(q.relation.id, q.value.label) for q in spouse.qualifiers] == [("ex:since", "1954-06-01")]
    assert page.statement_count == len(page.statements) == 4
    assert len(engine.entity("ex:mother4", limit=1).statements) == 1


def test_labels_in_a_language_with_fallback(engine: Engine) -> None:
    assert engine.entity("ex:town1", language="de").label == "Stadt 1"
    assert engine.entity("ex:town1", language="fr").label == "Town 1"
    assert engine.entity("ex:town1").labels == {"en": "Town 1", "de": "Stadt 1"}


def test_search(engine: Engine) -> None:
    found = engine.search("stadt 1")
    assert found.matches[0].id == "ex:town1"
    assert [t.id for t in found.matches[0].types] == ["ex:Town"]
    assert not found.dense
    assert all(m.types[0].id == "ex:Person" for m in engine.search("4", types=["ex:Person"]).matches)


@pytest.mark.parametrize(
    ("parts", "k", "error", "message"),
    [
        ({"subject": "ex:chidl3", "relation": "ex:parent"}, 5, UnknownEntity,
         r"'ex:chidl3' is not an entity in release \w{12} \(93 entities\). Closest: 'ex:child3'"),
        ({"subject": "ex:child3", "relation": "ex:parents"}, 5, UnknownRelation, r"not a relation .* Closest: 'ex:parent'"),
        ({"subject": "ex:child3"}, 5, InvalidQuestion, "must be missing; relation and object are"),
        ({"subject": "ex:child3", "relation": "ex:parent", "object": "ex:mother3"}, 5, InvalidQuestion, "none is"),
        ({"subject": "ex:child3", "relation": "ex:parent"}, 0, InvalidQuestion, r"k must be in \[1, 1000\], found 0"),
        ({"subject": "ex:child3", "relation": "ex:parent"}, 1001, InvalidQuestion, "found 1001"),
    ],
)  # fmt: skip
def test_bad_questions(engine: Engine, parts: dict[str, str], k: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        engine.complete([Question(**parts)], k=k)


def test_unknown_model_and_type(engine: Engine) -> None:
    question = Question(subject="ex:child3", relation="ex:parent")
    with pytest.raises(UnknownModel, match="'transe' is not a model in release .* Closest: 'complex'"):
        engine.complete([question], model="transe")
    with pytest.raises(UnknownType, match="'ex:Twon' is not a type .* Closest: 'ex:Town'"):
        engine.complete([question], types=["ex:Twon"])
