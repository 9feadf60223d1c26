"""The report of a release: complete, self-contained, escaped, the same every time, and made of whatever there is."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from kgservice.evaluation.breakdowns import breakdowns, frequency_names
from kgservice.evaluation.calibration import Calibration
from kgservice.evaluation.ranking import Ranks
from kgservice.evaluation.report import ModelReport, write_report
from kgservice.evaluation.report.map import LABELS_PER_TYPE, map_groups, map_labels
from kgservice.evaluation.report.tables import BARS, relation_rows
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary
from kgservice.recipe import ModelSettings

SECTIONS = ["figures", "learning", "ranks", "relations", "parts", "calibration", "numbers", "map", "graph", "origin"]
HOSTILE = [
    "<script>alert(1)</script>",
    "</title></svg><img src=x onerror=alert(2)>",
    '" onmouseover="alert(3)',
    "{{ 7 * 7 }} {% raw %}",
    "]]> <!-- & 'quoted'",
    "\u202eright to left\u202c",
    "$\\frac{1}{2}$",
    "名" * 200,
    "lone surrogate is no text",
    "",
]
VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and whether they close."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def made_graph(
    n: int = 40, r: int = 3, *, labels: bool = True, types: bool = True, held_out: bool = True
) -> KnowledgeGraph:
    random = np.random.default_rng(0)
    m = 8 * n
    split = random.choice([Split.TRAIN, Split.VALID, Split.TEST], m, p=[0.8, 0.1, 0.1]) if held_out else np.zeros(m)
    table = StatementTable.build(
        random.integers(0, n, m), random.integers(0, r, m), random.integers(0, n, m), split=split
    )

    def texts(count: int) -> Texts:
        owners = np.arange(count if labels else 0)
        words = [HOSTILE[i % len(HOSTILE)] for i in owners]
        return Texts.build(owners, np.full(len(owners), TextKind.LABEL), ["en"] * len(owners), words)

    kinds = Types()
    if types:
        names = Vocabulary.build(f"type{i:02d}" for i in range(14))
        kinds = Types.build(names, np.arange(n - 2), np.arange(n - 2) % 14, n=n, texts=texts(14))
    return KnowledgeGraph(
        entities=Vocabulary.build(f"http://example.org/entity/{i:04d}" for i in range(n)),
        relations=Vocabulary.build(f"<relation {i}>" for i in range(r)),
        statements=table,
        texts=texts(n),
        relation_texts=texts(r),
        types=kinds,
        provenance={"dataset": "<b>made</b>", "report": {"files": []}},
    )


def made_model(graph: KnowledgeGraph, name: str = "complex", *, seed: int = 0, epochs: int = 4) -> ModelReport:
    random = np.random.default_rng(seed)
    test = graph.statements.in_split(Split.TEST)
    t = len(test)
    better = np.floor(graph.n * random.random(2 * t) ** 3).astype(np.int64)
    ranks = Ranks(
        np.repeat(["tail", "head"], t),
        np.tile(test.subject, 2),
        np.tile(test.relation, 2),
        np.tile(test.object, 2),
        better,
        (random.random(2 * t) < 0.2).astype(np.int64),
        np.full(2 * t, graph.n),
        np.arange(2 * t) % 7 == 0,
    )
    score = random.normal(size=400)
    true = random.random(400) < 1 / (1 + np.exp(-score))
    fitted = Calibration.fit(score, true, population="<i>made</i> statements", method="platt")
    history = [
        {"epoch": i + 1, "loss": 5.0 / (i + 1), "duration_s": 0.5, "validation": 0.1 * i if i % 2 else None}
        for i in range(epochs)
    ]
    return ModelReport(
        name=name,
        settings=ModelSettings(width=8),
        history=history,
        ranks=ranks,
        metrics={"valid": {"filtered": {"realistic": {"mrr": 0.321}}}},
        calibrations={"classification": fitted, "object": fitted},
        entity_vectors=random.normal(size=(graph.n, 8)).astype(np.float32),
    )


def written(path: Path, graph: KnowledgeGraph, models: list[ModelReport], **details: str) -> str:
    write_report(path, title="A <em>title</em>", graph=graph, models=models, details=details)
    return path.read_text(encoding="utf-8")


def check(text: str) -> Page:
    """What holds of every report."""
    page = Page(text)
    assert page.open == []
    assert [attributes["id"] for attributes in page.tags("section")] == SECTIONS
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not page.tags("script")
    assert not page.tags("img")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has {name}"
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value is not None
                assert value.startswith("#")
                assert value[1:] in ids
    for reference in re.findall(r"url\(([^)]*)\)", text):
        assert reference.startswith("#")
        assert reference[1:] in ids
    assert "@import" not in text
    pictures = [attributes for attributes in page.tags("svg") if attributes.get("role") == "img"]
    assert all(attributes["aria-label"] for attributes in pictures)
    return page


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return made_graph()


@pytest.fixture(scope="module")
def page_text(graph: KnowledgeGraph, tmp_path_factory: pytest.TempPathFactory) -> str:
    models = [made_model(graph), made_model(graph, "<u>rotate</u>", seed=1)]
    path = tmp_path_factory.mktemp("report") / "report.html"
    return written(path, graph, models, licence="CC0 <1.0>", recipe="made")


def test_everything_is_there(page_text: str, graph: KnowledgeGraph) -> None:
    page = check(page_text)
    text = " ".join(" ".join(page.texts).split())
    told = ["MRR", "Hits@1", "Hits@3", "Hits@10", "mean rank", "adjusted", "optimistic", "pessimistic", "tail missing"]
    told += ["head missing", "seen entities only", "validation MRR 0.321", "no training statement has", "CC0 <1.0>"]
    told += ["classification", "completion, object missing", "made statements", "Python", graph.content_hash[:12]]
    for words in told:
        assert words in text.replace("<i>made</i>", "made")
    # Two learning curves, ranks, degrees, two reliability plots per model, the map.
    assert sum(attributes.get("role") == "img" for attributes in page.tags("svg")) == 2 + 1 + 1 + 4 + 1
    assert page_text.count("<circle") == graph.n + 11, "one point per entity, one swatch per group that has points"


def test_labels_stay_data(page_text: str) -> None:
    page = check(page_text)
    assert "<script" not in page_text
    assert "onerror=alert" not in re.sub(r"&lt;.*?&gt;", "", page_text)
    seen = "".join(page.texts)
    for label in HOSTILE[:7]:
        assert label in seen
    assert "49" not in [text.strip() for text in page.texts]
    assert HOSTILE[7] not in seen, "a label of 200 signs is cut"
    assert "<u>rotate</u>" in seen
    assert "A <em>title</em>" in seen


def test_the_figures_are_those_of_the_ranks(page_text: str, graph: KnowledgeGraph) -> None:
    figures = made_model(graph).ranks.figures()
    assert f"<b>{figures['mrr']:.3f}</b>" in page_text
    assert f'<td class="num">{figures["adjusted_mean_rank"]:.4f}</td>' in page_text


def test_the_same_input_gives_the_same_bytes(page_text: str, graph: KnowledgeGraph, tmp_path: Path) -> None:
    models = [made_model(graph), made_model(graph, "<u>rotate</u>", seed=1)]
    again = written(tmp_path / "again.html", graph, models, licence="CC0 <1.0>", recipe="made")
    assert again == page_text


def test_matplotlib_is_left_as_it_was(graph: KnowledgeGraph, tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    write_report(tmp_path / "r.html", title="t", graph=graph, models=[], details={})
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("count", [0, 4])
def test_any_number_of_models(count: int, graph: KnowledgeGraph, tmp_path: Path) -> None:
    text = written(tmp_path / "r.html", graph, [made_model(graph, f"m{i}", seed=i) for i in range(count)])
    check(text)
    assert len(text) < 1_500_000


def test_no_labels_no_types_one_relation(tmp_path: Path) -> None:
    graph = made_graph(12, 1, labels=False, types=False)
    page = check(written(tmp_path / "r.html", graph, [made_model(graph)]))
    seen = "".join(page.texts)
    assert "The graph states no types." in seen
    assert "http://example.org/entity/0003 (entity," in seen
    assert "No licence is recorded" in seen


def test_no_test_split_no_history_no_calibration(tmp_path: Path) -> None:
    graph = made_graph(held_out=False)
    model = replace(made_model(graph, epochs=0), calibrations={}, metrics={})
    seen = "".join(check(written(tmp_path / "r.html", graph, [model])).texts)
    for words in (
        "no held-out statement",
        "No training history",
        "no test split",
        "No relation was tested",
        "Nothing was",
    ):
        assert words in seen


def test_history_without_validation(graph: KnowledgeGraph, tmp_path: Path) -> None:
    model = made_model(graph)
    model = replace(model, history=[{**epoch, "validation": None} for epoch in model.history])
    text = written(tmp_path / "r.html", graph, [model])
    assert "Line chart of training loss" in text
    assert "Line chart of validation MRR" not in text


@pytest.mark.parametrize("n", [1, 2, 9])
def test_tiny_graphs(n: int, tmp_path: Path) -> None:
    graph = made_graph(n, 1, types=n > 2)
    text = written(tmp_path / "r.html", graph, [made_model(graph)])
    check(text)
    assert ("No map" in text) == (n < 3)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_vectors_without_a_shape_give_no_map(value: float, graph: KnowledgeGraph, tmp_path: Path) -> None:
    model = replace(made_model(graph), entity_vectors=np.full((graph.n, 8), value, np.float32))
    assert "No map" in written(tmp_path / "r.html", graph, [model])


def test_an_empty_graph(tmp_path: Path) -> None:
    graph = KnowledgeGraph(Vocabulary.build([]), Vocabulary.build([]), StatementTable.empty())
    check(written(tmp_path / "r.html", graph, []))


def test_many_relations_show_the_best_and_the_worst(tmp_path: Path) -> None:
    graph = made_graph(80, 60, labels=False)
    model = made_model(graph)
    rows = relation_rows(graph, [model])
    assert len(rows["shown"]) <= BARS
    assert len(rows["all"]) == len(np.unique(model.ranks.relation))
    mrr = [row["mrr"][0] for row in rows["all"]]
    assert mrr == sorted(mrr, reverse=True)
    first = rows["all"][0]
    chosen = model.ranks.where(model.ranks.relation == graph.relations.id(first["label"]))
    assert first["mrr"][0] == pytest.approx(chosen.figures()["mrr"])
    assert first["count"] == len(chosen)


def test_an_entity_takes_the_commonest_type_that_not_all_have() -> None:
    # Entities 0..7 are things; 0..4 are also people and 0 is also a poet; 5 is a town; 8 has no type.
    pairs = [(i, 0) for i in range(8)] + [(i, 1) for i in range(4)] + [(0, 2), (5, 3)]
    types = Types.build(Vocabulary.build(["a thing", "b person", "c poet", "d town"]), *zip(*pairs, strict=True), n=9)
    graph = KnowledgeGraph(
        Vocabulary.build(f"e{i}" for i in range(9)), Vocabulary.build(["r"]), StatementTable.empty(), types=types
    )
    group, captions = map_groups(graph, np.arange(9))
    told = [captions[i] for i in group]
    assert told == ["b person"] * 4 + ["a thing", "d town", "a thing", "a thing", "no type stated"]


def test_map_labels_do_not_overlap() -> None:
    random = np.random.default_rng(0)
    xy = random.random((200, 2)) * [1000, 700]
    labels = map_labels(xy, [f"name {i}" for i in range(200)], np.arange(200) % 5, 5)
    assert 5 <= len(labels) <= 5 * LABELS_PER_TYPE
    places = [(float(label["x"]), float(label["y"])) for label in labels]
    for i, (x, y) in enumerate(places):
        assert 0 <= x < 1000
        for other_x, other_y in places[:i]:
            assert abs(x - other_x) > 20 or abs(y - other_y) > 10


def test_a_lone_surrogate_in_a_title_does_not_lose_the_report(graph: KnowledgeGraph, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    write_report(path, title="broken \ud800 title", graph=graph, models=[], details={})
    assert "broken ? title" in path.read_text(encoding="utf-8")


def measured_parts(graph: KnowledgeGraph, model: ModelReport) -> ModelReport:
    parts = breakdowns(model.ranks, graph, Split.TEST)
    bins = {
        name: {"count": 9, "mean": 1 / (i + 1), "q25": 0.8 / (i + 1), "median": 1 / (i + 1), "q75": 1.2 / (i + 1)}
        for i, name in enumerate(frequency_names())
    }
    spread = {"spearman": -0.7654, "entities": 54, "by_frequency": bins}
    return replace(model, metrics={**model.metrics, "test": parts, "uncertainty": spread})


def test_parts_with_intervals_baselines_and_spread(graph: KnowledgeGraph, tmp_path: Path) -> None:
    model = measured_parts(graph, made_model(graph, "<u>nfe1</u>"))
    text = written(tmp_path / "r.html", graph, [model, made_model(graph, "old", seed=1)])
    page = check(text)
    seen = " ".join(" ".join(page.texts).split())
    for words in (
        "N-N, head missing",
        "most frequent answer",
        "guessing",
        "What training gives away",
        "-0.77, over 54",
    ):
        assert words in seen
    low, high = model.ranks.intervals()["mrr"]
    assert f"{low:.3f}–{high:.3f}" in seen
    baseline = model.metrics["test"]["baselines"]["most_frequent"]["mrr"]
    assert f'<tr><td>most frequent answer</td><td class="num">{baseline:.3f}</td>' in text
    part = model.metrics["test"]["by_class"]["N-N"]["head"]
    assert f"{part['mrr']:.3f} <small>{part['mrr_interval'][0]:.3f}" in text
    assert "Median spread of entities by training statements: 0: 1, 1–3: 0.5" in text
    assert "<u>nfe1" not in text


def test_parts_of_a_former_version_are_missing(graph: KnowledgeGraph, tmp_path: Path) -> None:
    seen = "".join(check(written(tmp_path / "r.html", graph, [made_model(graph)])).texts)
    assert "Nothing was taken apart" in seen
    assert "Uncertainty and rarity" not in seen
