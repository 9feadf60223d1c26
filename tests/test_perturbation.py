"""Copies of a graph with other texts: the structure stays, mappings are bijections, and what was replaced is counted right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice import datasets
from kgservice.cli import cli
from kgservice.cli.perturb import COPIES
from kgservice.errors import InputError
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary
from kgservice.perturbation import Copy, Replaced, perturb
from kgservice.perturbation.mentions import Mentions, replace_mentions
from kgservice.perturbation.strings import exchanged, strings_like
from kgservice.pipeline import learn
from kgservice.recipe import Recipe

LABEL, ALIAS, DESCRIPTION = TextKind
DOCS = Path(__file__).resolve().parent.parent / "docs"


def small() -> KnowledgeGraph:
    """Two countries, two towns and a river; its texts mention their neighbours."""
    rows = [
        (0, LABEL, "en", "Arland"),
        (0, LABEL, "de", "Arlandien"),
        (0, DESCRIPTION, "en", "country with the town New Bay, on the Bay"),
        (1, LABEL, "en", "Borland"),
        (1, ALIAS, "en", "Republic of Borland"),
        (1, DESCRIPTION, "de", "Nachbar von Arlandien"),
        (2, LABEL, "en", "New Bay"),
        (2, DESCRIPTION, "en", "town in Arland, not in arland or Arlandia"),
        (3, LABEL, "en", "Portum"),
        (3, DESCRIPTION, "en", "town in the Republic of Borland"),
        (4, LABEL, "en", "Bay"),
    ]
    relation_rows = [
        (0, LABEL, "en", "country"),
        (0, DESCRIPTION, "en", "country of an item such as Portum"),
        (1, LABEL, "en", "flows through"),
        (1, DESCRIPTION, "en", "countries on a river"),
    ]
    types = Types.build(
        Vocabulary.build(["t:Country", "t:Town"]),
        [0, 1, 2, 3],
        [0, 0, 1, 1],
        n=5,
        texts=Texts.build([0], [LABEL], ["en"], ["land"]),
    )
    return KnowledgeGraph(
        Vocabulary.build([f"e:{number}" for number in range(5)]),
        Vocabulary.build(["r:0", "r:1"]),
        StatementTable.build([2, 3, 4, 4], [0, 0, 1, 1], [0, 1, 0, 1], split=[Split.TRAIN] * 3 + [Split.TEST]),
        texts=texts_of(rows),
        relation_texts=texts_of(relation_rows),
        types=types,
    )


def texts_of(rows: list[tuple[int, TextKind, str, str]]) -> Texts:
    return Texts.build(*(list(column) for column in zip(*rows, strict=True))) if rows else Texts.build()


def described(graph: KnowledgeGraph, entity: int) -> str:
    return " / ".join(text for kind, _, text in graph.texts.rows(entity) if kind is DESCRIPTION)


def called(graph: KnowledgeGraph, entity: int) -> set[str]:
    return {text for kind, _, text in graph.texts.rows(entity) if kind is not DESCRIPTION}


def mapped(mapping: pl.DataFrame, what: str) -> dict[str, str]:
    return dict(mapping.filter(pl.col("what") == what).select("old", "new").iter_rows())


@pytest.mark.parametrize("seed", range(5))
def test_in_the_virtual_world_entities_trade_names_and_texts_say_so(seed: int) -> None:
    graph = small()
    made = perturb(graph, Copy.VIRTUAL_WORLD, seed=seed)
    donor = {int(old[2:]): int(new[2:]) for old, new in mapped(made.mapping, "entity names").items()}
    assert sorted(donor) == sorted(donor.values()) == list(range(5))
    for entity, other in donor.items():
        assert entity != other
        assert called(made.graph, entity) == called(graph, other)
    name = {entity: graph.texts.label(other) for entity, other in donor.items()}
    assert described(made.graph, 0) == f"country with the town {name[2]}, on the {name[4]}"
    assert described(made.graph, 2) == f"town in {name[0]}, not in arland or Arlandia"
    assert described(made.graph, 3) == f"town in the {name[1]}"
    german = graph.texts.label(donor[0], "de")
    assert described(made.graph, 1) == f"Nachbar von {german}"
    assert mapped(made.mapping, "relation names") == {"r:0": "r:1", "r:1": "r:0"}
    assert made.graph.relation_texts.description(0) == f"flows through of an item such as {name[3]}"
    assert made.graph.types.texts.label(0) == "land"
    assert dict(made.replaced) == {"names": Replaced(9, 9), "mentions": Replaced(8, 7)}
    assert made.replaced["mentions"].recall == 7 / 8


def test_in_the_virtual_world_names_may_stay_within_types() -> None:
    for seed in range(5):
        made = perturb(small(), Copy.VIRTUAL_WORLD, seed=seed, within_types=True)
        pairs = mapped(made.mapping, "entity names")
        assert pairs == {"e:0": "e:1", "e:1": "e:0", "e:2": "e:3", "e:3": "e:2", "e:4": "e:4"}
        assert made.replaced["names"] == Replaced(9, 8)  # no other has the types of the river: none
        assert made.graph.provenance["perturbation"]["within_types"] is True


def test_anonymised_names_are_random_strings_of_like_length() -> None:
    graph = small()
    made = perturb(graph, Copy.ANONYMISED)
    new = mapped(made.mapping, "names")
    assert len(set(new.values())) == len(new) == 9
    for name, string in new.items():
        assert re.fullmatch("[a-z ]+", string)
        assert len(string) == max(len(name), 4)
        assert [place for place, letter in enumerate(string) if letter == " "] == [
            place for place, letter in enumerate(name) if letter == " "
        ]
    assert called(made.graph, 1) == {new["Borland"], new["Republic of Borland"]}
    assert described(made.graph, 0) == f"country with the town {new['New Bay']}, on the {new['Bay']}"
    assert described(made.graph, 1) == f"Nachbar von {new['Arlandien']}"
    assert made.graph.relation_texts.description(0) == f"{new['country']} of an item such as {new['Portum']}"
    assert made.replaced["mentions"] == Replaced(8, 7)


def test_inconsistent_descriptions_are_others() -> None:
    graph = small()
    made = perturb(graph, Copy.INCONSISTENT)
    assert [called(made.graph, entity) for entity in range(5)] == [called(graph, entity) for entity in range(5)]
    donor = mapped(made.mapping, "entity descriptions")
    assert sorted(donor) == sorted(donor.values()) == ["e:0", "e:1", "e:2", "e:3"]
    for entity, other in donor.items():
        assert entity != other
        assert described(made.graph, int(entity[2:])) == described(graph, int(other[2:]))
    assert dict(made.replaced) == {"descriptions": Replaced(6, 6)}


def test_fully_anonymised_leaves_no_word() -> None:
    graph = small()
    made = perturb(graph, Copy.FULLY_ANONYMISED)
    tables = lambda of: (of.texts, of.relation_texts, of.types.texts)  # noqa: E731
    words = lambda of: {word for texts in tables(of) for text in texts.text.to_pylist() for word in text.split()}  # noqa: E731
    assert not words(graph) & words(made.graph)
    assert made.graph.types.texts.labels([0, 1]) != [None, None]
    assert all(made.graph.types.texts.labels([0, 1]))  # the second had none, and would be shown by its id
    assert dict(made.replaced) == {"names": Replaced(10, 10), "descriptions": Replaced(6, 6)}


def test_the_same_description_of_two_becomes_two() -> None:
    graph = small()
    twice = texts_of([(0, LABEL, "en", "A"), (1, DESCRIPTION, "en", "a town"), (2, DESCRIPTION, "en", "a town")])
    graph = KnowledgeGraph(graph.entities, graph.relations, graph.statements, texts=twice)
    made = perturb(graph, Copy.FULLY_ANONYMISED).graph
    assert made.texts.description(1) != made.texts.description(2)
    inconsistent = perturb(graph, Copy.INCONSISTENT)
    assert inconsistent.replaced["descriptions"] == Replaced(2, 0)  # exchanged for its like
    assert inconsistent.replaced["descriptions"].recall == 0
    assert perturb(small(), Copy.INCONSISTENT).graph.relation_texts.description(0) == "countries on a river"


words = st.text(alphabet="ab é日.", min_size=1, max_size=6)
rows = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(list(TextKind)), st.sampled_from(["en", "de", "mul", ""]), words),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(
    rows,
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from(list(TextKind)), st.just("en"), words), max_size=6),
    st.data(),
)
def test_laws(of_entities: list[tuple], of_relations: list[tuple], data: st.DataObject) -> None:
    base = small()
    graph = KnowledgeGraph(
        base.entities, base.relations, base.statements, texts_of(of_entities), texts_of(of_relations), base.types
    )
    copy, seed = data.draw(st.sampled_from(list(Copy))), data.draw(st.integers(0, 3))
    made = perturb(graph, copy, seed=seed)
    for part in ("entities", "relations", "statements"):
        assert getattr(made.graph, part).content_hash == getattr(graph, part).content_hash
    assert made.graph.types.of_entity is graph.types.of_entity
    again = perturb(graph, copy, seed=seed)
    assert again.graph.content_hash == made.graph.content_hash
    assert again.mapping.equals(made.mapping)
    for (_,), part in made.mapping.group_by("what"):
        assert part["old"].is_unique().all()
        assert part["new"].is_unique().all()
    for counts in made.replaced.values():
        assert 0 <= counts.done <= counts.wanted
    for before, after in ((graph.texts, made.graph.texts), (graph.relation_texts, made.graph.relation_texts)):
        # An owner has what it got: as many rows, but where two of them became one.
        assert len(after) <= len(before)
        assert set(after.owner.tolist()) == set(before.owner.tolist())


def test_another_seed_is_another_copy() -> None:
    for copy in Copy:
        made = {perturb(small(), copy, seed=seed).graph.content_hash for seed in range(6)}
        assert len(made) > 1


def lexicon(*names: tuple[int, TextKind, str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(names, ["owner", "kind", "language", "text", "new"], orient="row")


@pytest.mark.parametrize(
    ("text", "expected", "counts"),
    [
        ("York, New York and Yorkshire", "<1>, <2> and Yorkshire", Mentions(2, 0)),
        ("in the new york", "in the new york", Mentions(0, 1)),
        ("New York York's", "<2> <1>'s", Mentions(2, 0)),
        ("日本の首都", "<3>の首都", Mentions(1, 0)),
        ("C++ and C", "<4> and C", Mentions(1, 0)),
        ("a Springfield", "a <5>", Mentions(1, 0, 1)),
        ("Rom und Köln", "Rom und Köln", Mentions(0, 0)),
        ("!!!", "!!!", Mentions(0, 0)),
        ("New\x01 York\x04", "<2>", Mentions(1, 0)),
    ],
)
def test_mentions(text: str, expected: str, counts: Mentions) -> None:
    names = lexicon(
        (0, LABEL, "en", "York", "<1>"),
        (1, LABEL, "en", "New York", "<2>"),
        (2, LABEL, "mul", "日本", "<3>"),
        (3, LABEL, "", "C++", "<4>"),
        (4, LABEL, "en", "Springfield", "<5>"),
        (5, LABEL, "en", "Springfield", "<6>"),
        (6, ALIAS, "en", "York", "<1>"),
        (7, LABEL, "de", "Rom", "<7>"),
        (8, LABEL, "en", "!!!", "<8>"),
    )
    made, found = replace_mentions(pl.DataFrame({"language": ["en"], "text": [text]}), names)
    assert made["text"].to_list() == [expected]
    assert found == counts


def test_names_are_sought_in_texts_of_their_language() -> None:
    names = lexicon((0, LABEL, "de", "Rom", "<de>"), (0, LABEL, "en", "Rome", "<en>"), (1, LABEL, "en", "Rom", "<x>"))
    texts = pl.DataFrame({"language": ["de", "en", "", "fr"], "text": ["Rom Rome"] * 4})
    made, found = replace_mentions(texts, names)
    assert dict(made.iter_rows()) == {"de": "<de> Rome", "en": "<x> <en>", "": "<x> <en>", "fr": "Rom Rome"}
    assert found == Mentions(5, 0)


def test_strings_are_distinct_however_short_and_many() -> None:
    texts = pl.Series(["a"] * 20_000 + ["New York", ""])
    made = strings_like(texts, np.random.default_rng(0))
    assert made.is_unique().all()
    assert set(made.str.len_chars()[:20_000].to_list()) <= {4, 5, 6}
    assert re.fullmatch("[a-z]{3} [a-z]{4}", made[20_000])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 5))
def test_exchanges_are_bijections_within_groups(groups: list[int], seed: int) -> None:
    owners = np.arange(len(groups)) * 10
    group = np.array(groups, np.uint64)
    alone = np.bincount(groups)[groups] == 1
    for given_group in (None, group):
        donors = exchanged(owners, np.random.default_rng(seed), given_group)
        assert sorted(donors) == owners.tolist()
        if given_group is None:
            assert len(groups) == 1 or (donors != owners).all()
        else:
            np.testing.assert_array_equal(np.where(alone, 99, group)[donors // 10], np.where(alone, 99, group))
            assert (donors != owners)[~alone].all()
            assert alone.sum() == 1 or (donors != owners).all()


def test_a_model_of_the_graph_alone_is_the_same_on_all_copies(tmp_path: Path) -> None:
    graph = small()
    recipe = Recipe.parse(
        {"name": "small", "graph": {"dataset": "world"}, "models": {"complex": {"width": 8, "training": {"epochs": 3}}}}
    )
    copies = [graph, *(perturb(graph, copy).graph for copy in Copy)]
    assert len({copy.content_hash for copy in copies}) == 5
    ranks = [rank(learn(recipe, "complex", copy, tmp_path)[0], copy, Split.TEST).ranks().tolist() for copy in copies]
    assert ranks == [ranks[0]] * 5


def test_commands_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "text.md").read_text(encoding="utf-8")
    calls = [shlex.split(line, comments=True) for line in re.findall(r"^kgservice perturb .*$", text, flags=re.M)]
    assert calls
    outputs = ""
    for words in calls:
        result = CliRunner().invoke(cli, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        outputs += result.output
    world = datasets.load("world")
    made = KnowledgeGraph.open(tmp_path / "world-copies" / "virtual-world")
    assert made.statements.content_hash == world.statements.content_hash
    how = made.provenance["perturbation"]
    assert how["of"] == world.content_hash
    counts = how["replaced"]["mentions"]
    share = f"{counts['done'] / counts['wanted']:.1%}"
    assert f"{counts['done']:,} of {counts['wanted']:,} mentions ({share})" in outputs
    for copy in Copy:
        mapping = pl.read_parquet(tmp_path / "world-copies" / f"{copy}.mapping.parquet")
        assert mapping.columns == ["what", "old", "new"]
        assert len(mapping)


def test_the_command_offers_every_copy() -> None:
    assert [*COPIES] == [*map(str, Copy)]


def test_a_graph_without_texts_is_refused() -> None:
    graph = small()
    bare = KnowledgeGraph(graph.entities, graph.relations, graph.statements)
    with pytest.raises(InputError, match="no entity of this graph has a label, an alias or a description"):
        perturb(bare, Copy.ANONYMISED)
