"""Entities as texts, words as vectors, and scorers that read them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kgservice import scorers
from kgservice.answers import Described, Question
from kgservice.encoders import DEFAULT_ENCODER, encoded_width, open_encoder
from kgservice.encoders.describing import described
from kgservice.encoders.words import WordEncoder
from kgservice.engine import Engine
from kgservice.errors import KGServiceError, RecipeError
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.vocabulary import Vocabulary
from kgservice.pipeline import build
from kgservice.query import QueryBatch
from kgservice.recipe import ModelSettings, Recipe
from kgservice.recipe.template import Template
from kgservice.scorers.text import TextScorer
from kgservice.training.loop import fit

COUNTRIES = ["France", "Spain", "Italy", "Japan"]
SCHEMA = "http://www.w3.org/2000/01/rdf-schema#"
CITIES = 24
"""Of each country; its description names the country."""


def places(held_out: int = 4) -> KnowledgeGraph:
    """Cities lie in the country that their description names; some of each country are in no training statement."""
    names, kinds, texts, subject, object, split = [], [], [], [], [], []
    for country in COUNTRIES:
        names.append(f"a{country}")
        texts.append(country)
        kinds.append(TextKind.LABEL)
    for number in range(CITIES * len(COUNTRIES)):
        country = number % len(COUNTRIES)
        names.append(f"b{number:03d}")
        texts.append(f"town {number} in {COUNTRIES[country]}")
        kinds.append(TextKind.DESCRIPTION)
        subject.append(len(COUNTRIES) + number)
        object.append(country)
        new = number >= (CITIES - held_out) * len(COUNTRIES)
        split.append((Split.VALID if number % 8 < 4 else Split.TEST) if new else Split.TRAIN)
    owners = np.arange(len(names))
    return KnowledgeGraph(
        Vocabulary.build(names),
        Vocabulary.build(["country"]),
        StatementTable.build(subject, [0] * len(subject), object, split=np.array(split, dtype=np.int8)),
        texts=Texts.build(owners, kinds, ["en"] * len(names), texts),
    )


def settings(scorer: str = "blp-complex", **text: object) -> ModelSettings:
    return ModelSettings.model_validate(
        {
            "scorer": scorer,
            "width": 16,
            "initial_scale": 0.3,
            "text": {"encoder": "none", "words": 32, "hidden": 32, "dropout": 0.1, **text},
            "training": {"epochs": 40, "optimizer": "adam", "learning_rate": 0.01, "batch_size": 32, "device": "cpu"},
        }
    )


def test_a_template_leaves_out_what_is_not_known() -> None:
    template = Template.parse("{label}[: {description}][ ({types})]")
    known = {"label": "Paris", "description": "capital of France", "types": "city"}
    assert template.fill(known) == "Paris: capital of France (city)"
    assert template.fill({**known, "description": ""}) == "Paris (city)"
    assert template.fill({**known, "label": ""}) == "capital of France (city)"
    assert template.fill({**known, "label": "", "description": ""}) == ""
    assert Template.parse("{types}").fill({"types": "city"}) == "city"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{lable}", "'lable' is not a field. Did you mean 'label'"),
        ("{label", "expected '}'"),
        ("[{label}", "no partner"),
        ("{label:{x}}", "without a format"),
        ("{label!r}", "without a format"),
    ],
)
def test_a_wrong_template_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Template.parse(text)
    recipe = {"name": "x", "graph": {"dataset": "world"}, "models": {"m": {"text": {"template": text}}}}
    with pytest.raises(RecipeError, match="template"):
        Recipe.parse(recipe)


def test_texts_are_made_of_labels_descriptions_and_aliases() -> None:
    texts = Texts.build(
        [0, 0, 0, 0, 0, 1],
        [TextKind.LABEL, *[TextKind.DESCRIPTION] * 3, TextKind.ALIAS, TextKind.LABEL],
        ["fr", "de", "en", "en", "en", "en"],
        ["Londres", "Stadt", "capital.", "large city", "The Smoke", "Leeds"],
    )  # fmt: skip
    graph = KnowledgeGraph(
        Vocabulary.build(["a", "b", "c"]), Vocabulary.build(["r"]), StatementTable.build([0], [0], [1]), texts=texts
    )
    assert described(graph) == ["Londres: capital. large city", "Leeds", ""]
    assert described(graph, "{label}[, {aliases}]", "en", np.array([0, 2])) == ["Londres, The Smoke", ""]


def test_words_are_weighed_by_the_fitted_texts_alone() -> None:
    texts = ["a red apple", "a green apple", "a red car", "a blue car", ""]
    encoder = WordEncoder.fit(texts, width=4)
    vectors = encoder.encode(["red apple", "Apple, RED", "unheard of", ""])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert not vectors[2:].any()
    likeness = encoder.encode(texts) @ encoder.encode(["a red apple"]).T
    assert likeness[:, 0].argmax() == 0
    assert WordEncoder.fit([""], width=4).encode(["word"]).shape == (1, 4)


def test_an_entity_without_training_statements_is_answered_for_by_its_text() -> None:
    graph = places()
    chosen = settings()
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    assert isinstance(scorer, TextScorer)
    fit(scorer, graph, chosen.training)
    ranks = rank(scorer, graph, Split.TEST)
    assert ranks.unseen.all()
    assert ranks.where(ranks.side == "tail").figures()["hits@1"] == 1.0
    assert ranks.where(ranks.side == "head").figures()["mrr"] > 0.5


def test_what_is_held_out_neither_competes_nor_weighs_words_in_training() -> None:
    """Other texts of held-out entities leave every trained weight as it was."""
    graph, chosen = places(), settings()
    train = graph.statements.in_split(Split.TRAIN)
    seen = np.isin(np.arange(graph.n), np.concatenate([train.subject, train.object]))
    rows = [row if seen[row[0]] else (*row[:3], "something else") for row in graph.texts.items()]
    columns = [list(column) for column in zip(*rows, strict=True)]
    other = KnowledgeGraph(
        graph.entities, graph.relations, graph.statements,
        texts=Texts.build(columns[0], columns[1], columns[2], columns[3]),
    )  # fmt: skip
    trained = []
    for one in (graph, other):
        scorer = scorers.build(chosen, n=graph.n, r=graph.r)
        fit(scorer, one, chosen.training)
        trained.append(scorer)
    for (name, weight), (_, changed) in zip(*(s.state_dict().items() for s in trained), strict=True):
        if name == "read":
            assert torch.equal(weight[seen], changed[seen])
            assert not torch.equal(weight[~seen], changed[~seen])
        else:
            assert torch.equal(weight, changed), name


def test_an_encoder_is_read_beside_words() -> None:
    chosen = settings(encoder=DEFAULT_ENCODER, words=8)
    graph = places()
    scorer = scorers.build(chosen, n=graph.n, r=graph.r).eval()
    assert isinstance(scorer, TextScorer)
    scorer.prepare(graph, (Split.TRAIN,))
    width = encoded_width()
    assert scorer.read.shape == (graph.n, width + 8)
    expected = open_encoder().encode(described(graph)[:3]) * np.sqrt(width)
    np.testing.assert_allclose(scorer.read[:3, :width].numpy(), expected, atol=1e-4)
    with torch.inference_mode():
        scores = scorer.scores(QueryBatch.objects(np.array([5]), np.array([0])))
    assert scores.isfinite().all()


@pytest.mark.parametrize(("template", "reads"), [("{label}[ ({types})]", True), ("{label}", False)])
def test_a_scorer_says_whether_it_reads_types(template: str, reads: bool) -> None:
    assert scorers.build(settings(template=template), n=4, r=1).reads_types is reads


def test_a_text_scorer_has_no_teacher() -> None:
    graph, chosen = places(), settings()
    student = chosen.model_copy(update={"training": chosen.training.model_copy(update={"objective": "distil"})})
    scorer, teacher = (scorers.build(one, n=graph.n, r=graph.r) for one in (student, settings()))
    with pytest.raises(RecipeError, match="has no teacher"):
        fit(scorer, graph, student.training, teacher=teacher)


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"reads an encoder's vectors or words"):
        scorers.build(settings(words=0), n=4, r=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A release of two models over towns, of which some are in no training statement."""
    home = tmp_path_factory.mktemp("towns")
    base, label, comment = "http://example.org/", *(f"<{SCHEMA}{name}>" for name in ("label", "comment"))
    parts: dict[str, list[str]] = {"train.tsv": [], "valid.tsv": [], "test.tsv": [], "texts.nt": []}
    parts["texts.nt"] += [f'<{base}{country}> {label} "{country}"@en .' for country in COUNTRIES]
    for number in range(100):
        country = COUNTRIES[number % len(COUNTRIES)]
        part = "train.tsv" if number < 88 else "valid.tsv" if number < 92 else "test.tsv"
        parts[part].append(f"{base}town{number}\t{base}country\t{base}{country}")
        parts["texts.nt"].append(f'<{base}town{number}> {label} "Town {number}"@en .')
        parts["texts.nt"].append(f'<{base}town{number}> {comment} "a town in {country}"@en .')
    for name, lines in parts.items():
        (home / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    chosen = settings()
    table = {"width": 16, "initial_scale": 0.1, "training": {"epochs": 20, "batch_size": 32, "learning_rate": 0.3}}
    recipe = Recipe.parse(
        {
            "name": "towns",
            "graph": {"sources": list(parts)},
            "models": {"table": table, "text": chosen.model_dump()},
            "search": {"encoder": "none"},
        }
    )
    return Engine(build(recipe, home, base=home))


def test_a_release_serves_what_was_learnt_of_texts(engine: Engine) -> None:
    """Weights come back from disk; a question about an entity without training statements goes to the text scorer."""
    new = [f"http://example.org/town{number}" for number in range(92, 100)]
    answers = engine.complete([Question(name, "http://example.org/country") for name in new], k=1, exclude_known=False)
    assert {answer.model for answer in answers} == {"text"}
    found = [answer.candidates[0].label for answer in answers]
    assert found == [COUNTRIES[number % len(COUNTRIES)] for number in range(92, 100)]
    asked = engine.complete([Question(new[0], "http://example.org/country")], model="table")
    assert asked[0].model == "table"


def test_each_statement_is_judged_by_the_model_that_knows_its_ends(engine: Engine) -> None:
    base = "http://example.org/"
    old, new = (f"{base}town0", f"{base}country", f"{base}France"), (f"{base}town92", f"{base}country", f"{base}France")
    best = engine.model().name
    verdicts = engine.classify([old, new, old])
    assert [verdict.model for verdict in verdicts] == [best, "text", best]
    assert [verdict.subject.label for verdict in verdicts] == ["Town 0", "Town 92", "Town 0"]


def test_an_entity_need_only_be_described(engine: Engine) -> None:
    """What the graph does not hold is asked about by its text, in both directions, without training or storing anything."""
    base = "http://example.org/"
    new = Described("Newtown", "a town in Japan")
    (answer,) = engine.complete([Question(new, f"{base}country")], k=2)
    assert answer.model == "text"
    assert (answer.subject.id, answer.subject.label) == ("", "Newtown")
    assert answer.candidates[0].label == "Japan"
    assert answer.candidates[0].known is False
    (other,) = engine.complete([Question(None, f"{base}country", Described("Spain"))], k=5)
    stated = engine.complete(
        [Question(None, f"{base}country", f"{base}Spain")], k=5, exclude_known=False, model="text"
    )[0]
    others = [one.id for one in other.candidates if one.id != f"{base}Spain"]
    assert others == [one.id for one in stated.candidates][: len(others)]
    mixed = engine.complete([Question(f"{base}town0", f"{base}country"), Question(new, f"{base}country")], k=1)
    assert mixed[1].candidates[0].label == "Japan"


@pytest.mark.parametrize(
    ("question", "chosen", "message"),
    [
        (Question(Described("x"), "http://example.org/country"), "table", "knows entities by their rows; text reads"),
        (
            Question(Described(types=("town",)), "http://example.org/country"),
            None,
            "entity 0 of those described has no text",
        ),
        (Question(Described("x"), None, "http://example.org/Spain"), None, "can be asked for subjects or objects"),
        (Question(Described("x"), "http://example.org/land"), None, "land"),
    ],
)
def test_a_description_that_cannot_be_answered_for_is_told(
    engine: Engine, question: Question, chosen: str | None, message: str
) -> None:
    with pytest.raises(KGServiceError, match=message):
        engine.complete([question], model=chosen)
