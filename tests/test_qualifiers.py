"""Questions with qualifiers through the engine: routed, read, echoed, and answered otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kgservice import pipeline
from kgservice.answers import Answer, Pair, Question, Statement
from kgservice.cli import cli
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion, UnknownEntity, UnknownRelation
from kgservice.recipe import Recipe
from kgservice.release import ReleaseStore

COUNTRIES, DECADES = 12, 6
HEAD = """@prefix ex: <https://example.org/> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve countries, governed by one of six parties, another one in every decade; some also say since which year."""
    lines = [HEAD]
    for country in range(COUNTRIES):
        lines.append(f"ex:country{country} ex:neighbour ex:country{(country + 1) % COUNTRIES} .")
        for decade in range(DECADES):
            party = f"ex:party{(decade + country // 4) % DECADES}"
            since = f'ex:since "{1950 + 10 * decade}-06-01"^^xsd:date'
            lines.append(f"ex:country{country} ex:governedBy {party} {{| ex:decade ex:d{decade} ; {since} |}} .")
    folder = tmp_path_factory.mktemp("governments")
    (folder / "governments.ttl").write_text("\n".join(lines), encoding="utf-8")
    training = {"epochs": 120, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.005, "evaluate_every": 20}
    recipe = Recipe.parse(
        {
            "name": "governments",
            "graph": {
                "sources": ["governments.ttl"],
                "split": {"valid": 0.1, "test": 0.1},
                "filter": "statement",
            },
            "models": {
                "complex": {"width": 32, "initial_scale": 0.1, "training": {**training, "epochs": 20}},
                "hyperformer": {
                    "scorer": "hyperformer",
                    "width": 32,
                    "transformer": {"pair_dropout": 0.3, "dropout": 0.0},
                    "training": training,
                },
            },
            "search": {"encoder": "none"},
        }
    )
    pipeline.build(recipe, folder, base=folder)
    return folder


@pytest.fixture(scope="module")
def engine(home: Path) -> Engine:
    return Engine.open(ReleaseStore(home / "releases").get())


def governed(engine: Engine, *pairs: Pair, country: int = 2) -> Answer:
    question = Question(f"ex:country{country}", "ex:governedBy", qualifiers=pairs)
    return engine.complete([question], k=3, exclude_known=False)[0]


@pytest.mark.parametrize("decade", range(DECADES))
def test_the_answer_changes_with_the_qualifier(engine: Engine, decade: int) -> None:
    """By decade as an entity, by the year alone, and by a year that no statement has."""
    expected = f"ex:party{decade}"
    by_entity = governed(engine, Pair("ex:decade", f"ex:d{decade}"), Pair("ex:since", f"{1950 + 10 * decade}-06-01"))
    assert by_entity.candidates[0].id == expected
    assert by_entity.model == "hyperformer"
    by_year = governed(engine, Pair("ex:since", str(1950 + 10 * decade)))
    assert expected in [candidate.id for candidate in by_year.candidates]


def test_what_is_echoed_and_known(engine: Engine) -> None:
    since = Pair("ex:since", "1950-06-01")
    answer = governed(engine, since, Pair("ex:decade", "ex:d0"))
    assert [(pair.relation.id, pair.value.id or pair.value.label) for pair in answer.qualifiers] == [
        ("ex:decade", "ex:d0"),
        ("ex:since", "1950-06-01"),
    ]
    # What is stated with other qualifiers is not known of this question.
    assert {candidate.id for candidate in answer.candidates if candidate.known} == {"ex:party0"}
    unstated = governed(engine, Pair("ex:since", "1953"))
    assert unstated.qualifiers[0].value.label == "1953"
    assert not any(candidate.known for candidate in unstated.candidates)
    bare = engine.complete([Question("ex:country2", "ex:governedBy")], k=3)[0]
    assert bare.qualifiers == []


def test_the_value_of_a_qualifier_is_asked_for(engine: Engine) -> None:
    question = Question("ex:country2", "ex:governedBy", "ex:party3", (Pair("ex:decade"),))
    answer = engine.complete([question], k=4, exclude_known=False)[0]
    assert "ex:d3" in [candidate.id for candidate in answer.candidates]
    assert answer.model == "hyperformer"
    assert answer.qualifiers[-1].relation.id == "ex:decade"
    assert answer.qualifiers[-1].value.id is None


def test_classification_reads_qualifiers(engine: Engine) -> None:
    since = {decade: Pair("ex:since", f"{1950 + 10 * decade}-06-01") for decade in (1, 4)}
    right, wrong = engine.classify(
        [
            Statement("ex:country2", "ex:governedBy", "ex:party1", (since[1], Pair("ex:decade", "ex:d1"))),
            Statement("ex:country2", "ex:governedBy", "ex:party1", (since[4], Pair("ex:decade", "ex:d4"))),
        ]
    )
    assert right.model == wrong.model == "hyperformer"
    assert right.score > wrong.score
    assert (right.known, wrong.known) == (True, False)
    assert [pair.relation.id for pair in right.qualifiers] == ["ex:decade", "ex:since"]


def test_questions_with_and_without_qualifiers_in_one_call(engine: Engine) -> None:
    questions = [
        Question("ex:country2", "ex:neighbour"),
        Question("ex:country2", "ex:governedBy", qualifiers=(Pair("ex:decade", "ex:d1"),)),
        Question(None, "ex:governedBy", "ex:party1", (Pair("ex:decade", "ex:d1"), Pair("ex:decade", "ex:d1"))),
    ]
    together = engine.complete(questions, k=5)
    for question, answer in zip(questions, together, strict=True):
        alone = engine.complete([question], k=5)[0]
        assert [one.id for one in alone.candidates] == [one.id for one in answer.candidates]
        np.testing.assert_allclose(
            [one.score for one in alone.candidates], [one.score for one in answer.candidates], rtol=1e-4, atol=1e-5
        )
    assert len(together[2].qualifiers) == 1  # given twice, there once


def test_what_cannot_be_read_is_said(engine: Engine) -> None:
    country, relation = "ex:country2", "ex:governedBy"
    with pytest.raises(UnknownRelation, match=r"'ex:sinse' is not a relation in release .*Closest: .*'ex:since'"):
        governed(engine, Pair("ex:sinse", "1950"))
    with pytest.raises(
        UnknownRelation, match=r"'ex:neighbour' is not a relation that qualifies .*'ex:decade', 'ex:since'"
    ):
        governed(engine, Pair("ex:neighbour", "1950"))
    for value in ("1e400", "2023-13-01"):  # would be infinite, and a date of no calendar
        with pytest.raises(UnknownEntity, match=f"'{value}' is not an entity in .* nor a number, a date or a literal"):
            governed(engine, Pair("ex:since", value))
    with pytest.raises(UnknownEntity, match=r"'ex:decade1' is not an entity in .*nor a number, a date or a literal"):
        governed(engine, Pair("ex:decade", "ex:decade1"))
    with pytest.raises(InvalidQuestion, match=r"must be missing; object and qualifier are"):
        engine.complete([Question(country, relation, None, (Pair("ex:decade"),))])
    with pytest.raises(InvalidQuestion, match=r"must be missing; qualifier and qualifier are"):
        engine.complete([Question(country, relation, "ex:party1", (Pair("ex:decade"), Pair("ex:since")))])
    with pytest.raises(InvalidQuestion, match=r"the qualifier 'ex:decade' of a whole statement needs a value"):
        engine.classify([Statement(country, relation, "ex:party1", (Pair("ex:decade"),))])
    with pytest.raises(
        InvalidQuestion, match=r"'complex' does not answer questions for a object with qualifiers; hyper"
    ):
        engine.complete([Question(country, relation, None, (Pair("ex:decade", "ex:d1"),))], model="complex")
    many = tuple(Pair("ex:since", str(1000 + year)) for year in range(101))
    with pytest.raises(InvalidQuestion, match="may have 100 qualifiers, this one has 101"):
        engine.complete([Question(country, relation, None, many)])


def test_ranks_by_either_filter_and_what_was_cut(engine: Engine) -> None:
    test = engine.release.metrics("hyperformer")["test"]
    assert test["filter"] == "statement"
    assert set(test["by_filter"]) == {"statement", "triple"}
    assert test["qualifiers"]["cut_pairs"] == 0
    assert test["qualifiers"]["pairs"] == 2 * COUNTRIES * DECADES
    assert test["values"]["count"] > 0
    blind = engine.release.metrics("complex")["test"]
    assert "values" not in blind
    assert blind["qualifiers"]["cut_pairs"] == 2 * COUNTRIES * DECADES


def test_in_the_terminal(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGSERVICE_HOME", str(home))
    asked = ["complete", "ex:country2", "ex:governedBy", "--with", "ex:decade=ex:d1", "--with", "ex:since=1960"]
    shown = CliRunner().invoke(cli, asked)
    assert shown.exit_code == 0, shown.output
    assert "with ex:decade ex:d1; ex:since 1960" in shown.output
    value = ["complete", "ex:country2", "ex:governedBy", "ex:party1", "--with", "ex:decade"]
    assert "with ex:decade ?" in CliRunner().invoke(cli, value).output
