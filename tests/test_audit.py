"""The audit: figures by hand and by brute force, faults of known benchmarks, and a page on which names stay data."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kgservice import datasets
from kgservice.audit import Audit, audit
from kgservice.audit.page import render
from kgservice.audit.relations import SUPPORT
from kgservice.cli import cli
from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.splits import random_split
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary

DOCS = Path(__file__).resolve().parent.parent / "docs" / "splits-and-audit.md"


def graph_of(
    triples: list[tuple[int, int, int]], split: list[int] | None = None, *, n: int | None = None, **parts: object
) -> KnowledgeGraph:
    """Entities e0, e1, ... and relations r0, r1, ... of a list of triples."""
    subject, relation, object = (list(column) for column in zip(*triples, strict=True)) if triples else ([], [], [])
    n = n or max([*subject, *object], default=-1) + 1
    graph = KnowledgeGraph(
        Vocabulary.build(f"e{i:03}" for i in range(n)),
        Vocabulary.build(f"r{i}" for i in range(max(relation, default=-1) + 1)),
        StatementTable.build(subject, relation, object, split=split),
    )
    return replace(graph, **parts)  # type: ignore[arg-type]


def codes(found: Audit, severity: str | None = None) -> set[str]:
    return {flag.code for flag in found.flags if severity in (None, flag.severity)}


def test_relations_by_hand() -> None:
    # r0: a star from 0, once back; r1: three pairs and a loop.
    triples = [(0, 0, 1), (0, 0, 2), (0, 0, 3), (1, 0, 0), (4, 1, 5), (6, 1, 7), (8, 1, 8), (8, 1, 9)]
    graph = graph_of(
        triples,
        n=11,
        types=Types.build(Vocabulary.build(["city", "person"]), [0, 1, 2, 4], [0, 1, 1, 1], n=11),
    )
    first, second = audit(graph).relations
    assert (first.name, first.statements, first.pairs, first.loops) == ("r0", 4, 4, 0)
    assert (first.tails_per_head, first.heads_per_tail) == (2.0, 1.0)
    assert first.cardinality == "1-N"
    assert first.symmetric == 0.5, "of four pairs (0, 1) and (1, 0)"
    assert [(each.type, each.share) for each in first.domain] == [("city", 0.75), ("person", 0.25)]
    assert [(each.type, each.share) for each in first.range] == [("person", 0.5), ("city", 0.25)]
    assert (second.loops, second.symmetric, second.cardinality) == (1, 0.0, "1-1")
    assert second.tails_per_head == pytest.approx(4 / 3)


def test_structure_by_hand() -> None:
    graph = graph_of([(0, 0, 1), (1, 0, 2), (3, 0, 4), (5, 0, 5)], n=8)
    found = audit(graph)
    assert found.components.count == 3
    assert (found.components.largest, found.components.share) == (3, 0.5)
    assert found.degrees.isolated == 2
    assert found.degrees.mean == 7 / 8, "a loop is one statement"
    assert {bin.low: bin.count for bin in found.degrees.histogram} == {1: 5, 2: 1}
    assert dict(found.degrees.quantiles) == {0.0: 0, 0.25: 0, 0.5: 1, 0.75: 1, 0.9: 2, 0.99: 2, 1.0: 2}
    assert {"isolated-entities", "scattered", "no-held-out"} <= codes(found, "info")


@pytest.mark.parametrize("seed", range(4))
def test_leakage_is_a_brute_force_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, [25, 3, 25], (250, 3)).tolist()
    triples = [(s, r, o) for s, r, o in base]
    triples += [(o, r + 3, s) for s, r, o in base if rng.random() < 0.9]  # inverses of 0, 1, 2 are 3, 4, 5
    triples += [(s, 6, o) for s, r, o in base if r == 0]
    triples += [(o, 7, s) for s, r, o in base if r == 1] + [(s, 7, o) for s, r, o in base if r == 1]
    split = rng.choice(4, len(triples), p=[0.7, 0.1, 0.15, 0.05]).tolist()
    graph = graph_of(triples, split, n=26)
    table = graph.statements
    rows = list(
        zip(*(getattr(table, name).tolist() for name in ("subject", "relation", "object", "split")), strict=True)
    )
    pairs = {r: {(s, o) for s, q, o, _ in rows if q == r} for r in range(graph.r)}
    apart = {r: {(s, o) for s, o in held if s != o} for r, held in pairs.items()}
    turned = {r: {(o, s) for s, o in held} for r, held in apart.items()}

    def implies(body: int, head: dict[int, set[tuple[int, int]]], r: int) -> bool:
        return len(apart[body]) >= SUPPORT and len(apart[body] & head[r]) >= 0.8 * len(apart[body])

    given = {(s, r, o) for s, r, o, part in rows if part in (Split.TRAIN, Split.CONTEXT)}
    trained = {entity for s, _, o, part in rows if part == Split.TRAIN for entity in (s, o)}
    for leak in audit(graph).leakage:
        expected = dict.fromkeys(("direct", "reversed", "symmetric", "inverse", "same_pair", "duplicate", "implied"), 0)
        expected |= {"linked": 0, "unseen_entities": 0, "statements": 0}
        for s, r, o, part in rows:
            if Split(part).name.lower() != leak.split:
                continue
            here = [q for q in range(graph.r) if (s, q, o) in given and q != r]
            back = [q for q in range(graph.r) if (o, q, s) in given] if s != o else []
            facts = {
                "statements": True,
                "direct": (s, r, o) in given,
                "same_pair": bool(here),
                "duplicate": any(implies(q, apart, r) and implies(r, apart, q) for q in here),
                "reversed": bool(back),
                "symmetric": r in back,
                "inverse": any(implies(q, turned, r) and implies(r, turned, q) for q in back if q != r),
                "implied": any(implies(q, apart, r) for q in here)
                or any(implies(q, turned, r) for q in back if q != r),
                "linked": (s, r, o) in given or bool(here) or bool(back),
                "unseen_entities": not {s, o} <= trained,
            }
            for name, fact in facts.items():
                expected[name] += fact
        assert {name: getattr(leak, name) for name in expected} == expected
        assert expected["inverse"]
        assert expected["implied"] > expected["inverse"]


def test_overlapping_relations() -> None:
    base = [(i, i + 20) for i in range(20)]
    triples = [(s, 0, o) for s, o in base] + [(o, 1, s) for s, o in base[:18]] + [(s, 2, o) for s, o in base[1:]]
    triples += (
        [(s, 3, o) for s, o in base[:12]] + [(i, 4, 41 + i) for i in range(3)] + [(41 + i, 5, i) for i in range(3)]
    )
    found = audit(graph_of(triples))
    told = {(each.kind, each.first, each.second): each for each in found.overlaps}
    assert set(told) == {
        ("inverse", "r1", "r0"),
        ("inverse", "r1", "r2"),
        ("duplicate", "r2", "r0"),
        ("duplicate", "r3", "r0"),
        ("duplicate", "r3", "r2"),
        ("inverse", "r3", "r1"),
    }, "three pairs are too few to tell"
    inverse = told["inverse", "r1", "r0"]
    assert inverse.mutual
    assert (inverse.first_pairs, inverse.second_pairs) == (18, 20)
    assert (inverse.first_share, inverse.second_share) == (1.0, 0.9)
    implied = told["duplicate", "r3", "r0"]
    assert not implied.mutual
    assert (implied.first_share, implied.second_share) == (1.0, 0.6)
    assert {"inverse-relations", "duplicate-relations"} <= codes(found, "info")


def test_cyclic_hierarchy() -> None:
    triples = [(0, 0, 1), (1, 0, 2), (2, 0, 0), (3, 0, 0), (4, 0, 5), (5, 0, 4), (6, 0, 6), (7, 1, 8), (8, 1, 7)]
    graph = graph_of(triples)
    names = Vocabulary.build(["http://www.w3.org/2000/01/rdf-schema#subClassOf", "related"])
    # "http..." sorts before "related", so relation 0 is the hierarchy.
    found = audit(replace(graph, relations=names, texts=Texts.build([0], [TextKind.LABEL], ["en"], ["thing"])))
    (hierarchy,) = found.hierarchies
    assert (hierarchy.cycles, hierarchy.in_cycles, hierarchy.largest, hierarchy.loops) == (2, 5, 3, 1)
    assert hierarchy.examples == ("thing (e000)", "e001", "e002")
    (flag,) = (flag for flag in found.flags if flag.code == "cyclic-hierarchy")
    assert "2 cycles over 5 classes, the largest over 3: thing (e000), e001, e002; 1 class below itself" in flag.message


def test_a_hundred_of_the_same_link_is_one_edge() -> None:
    # 256 statements that differ in qualifiers alone: a sum in eight bits would be none.
    table = StatementTable.build(
        [0] * 256,
        [0] * 256,
        [1] * 256,
        qualifier_offset=np.arange(257),
        qualifier_relation=[0] * 256,
        qualifier_value=range(256),
    )
    found = audit(replace(graph_of([(0, 0, 1)], n=256), statements=table))
    assert found.components.largest == 2
    assert found.relations[0].pairs == 1
    assert found.degrees.in_qualifiers == 254


def test_coverage() -> None:
    texts = Texts.build(
        [0, 0, 1, 0, 2],
        [TextKind.LABEL, TextKind.LABEL, TextKind.LABEL, TextKind.DESCRIPTION, TextKind.ALIAS],
        ["en", "de", "en", "en", "fr"],
        ["a", "b", "c", "d", "e"],
    )
    found = audit(graph_of([(0, 0, 1), (1, 0, 2)], texts=texts)).coverage
    assert (found.labelled, found.described, found.typed) == (2, 1, 0)
    assert [(each.language, each.labels, each.aliases, each.descriptions) for each in found.languages] == [
        ("en", 2, 0, 1),
        ("de", 1, 0, 0),
        ("fr", 0, 1, 0),
    ]


def test_contradiction_and_empty() -> None:
    negatives = StatementTable.build([0, 1], [0, 0], [1, 0], split=[2, 2])
    assert "contradiction" in codes(audit(graph_of([(0, 0, 1)], negatives=negatives)), "error")
    empty = audit(graph_of([]))
    assert codes(empty) == {"no-statements", "no-held-out"}
    assert "no statement" in render(empty, "empty").lower()
    with pytest.raises(InputError, match="must be a share in"):
        audit(graph_of([]), threshold=0.0)


@pytest.mark.parametrize(
    ("name", "errors", "warnings"),
    [
        ("wn18", {"leakage-inverse", "leakage-reversed"}, {"leakage-symmetric"}),
        ("jf17k", {"leakage-direct"}, {"unseen-entities"}),
        (
            "nations",
            {"leakage-reversed", "leakage-duplicate"},
            {"leakage-symmetric", "leakage-inverse", "leakage-pair"},
        ),
        ("fb15k-237", set(), set()),
        ("wn18rr", set(), {"leakage-symmetric", "unseen-entities"}),
        ("codex-s", set(), {"leakage-symmetric"}),
    ],
)
def test_benchmarks(name: str, errors: set[str], warnings: set[str], mirror: Path) -> None:
    found = audit(datasets.load(name))
    assert codes(found, "error") == errors
    assert codes(found, "warning") == warnings
    assert bool(found.failing(["leakage"])) == bool(errors)


@pytest.mark.parametrize(
    ("name", "what", "count", "percent"),
    [
        ("wn18", "reversed", 4698, 94.0),
        ("jf17k", "direct", 10954, 44.6),
        ("nations", "reversed", 201, 100.0),
        ("fb15k-237", "linked", 0, 0.0),
        ("fb15k-237", "unseen_entities", 28, 0.1),
        ("wn18rr", "reversed", 1095, 34.9),
        ("wn18rr", "unseen_entities", 210, 6.7),
        ("codex-s", "reversed", 258, 14.1),
    ],
)
def test_known_figures(name: str, what: str, count: int, percent: float, mirror: Path) -> None:
    test = audit(datasets.load(name)).leakage[-1]
    assert test.split == "test"
    assert getattr(test, what) == count
    assert 100 * test.share(count) == pytest.approx(percent, abs=0.05)


def test_inductive_sets(mirror: Path) -> None:
    blp = audit(datasets.load("blp-fb15k-237"))
    assert not codes(blp, "error") | codes(blp, "warning")
    assert "inductive" in codes(blp)
    assert "inductive-overlap" not in codes(blp), "validation shows no entity of the test"
    ilpc = audit(datasets.load("ilpc2022-small"))
    assert ilpc.leakage[-1].unseen_entities == ilpc.leakage[-1].statements
    assert ilpc.leakage[-1].without_context == 0


def test_a_split_anew_does_not_leak(mirror: Path) -> None:
    anew = audit(random_split(datasets.load("jf17k"), valid=0.05, test=0.05, seed=0))
    assert not anew.failing(["leakage"])
    assert all(leak.direct == leak.symmetric == leak.unseen_entities == 0 for leak in anew.leakage)


class Page(HTMLParser):
    """Elements and their attributes as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag != "circle":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = '</title></svg><script>alert(1)</script><b onclick="x">{{ 7 * 7 }} \''


def test_page_is_whole_and_names_stay_data() -> None:
    rng = np.random.default_rng(0)
    triples = [tuple(row) for row in rng.integers(0, [30, 3, 30], (300, 3)).tolist()]
    split = rng.choice(3, 300, p=[0.8, 0.1, 0.1]).tolist()
    graph = graph_of(triples, split, n=30)
    graph = replace(
        graph,
        relations=Vocabulary.build([f"{HOSTILE}{i}" for i in range(2)] + ["x/subClassOf"]),
        texts=Texts.build([0], [TextKind.LABEL], [HOSTILE], [HOSTILE]),
        types=Types.build(Vocabulary.build([HOSTILE + "type"]), range(30), [0] * 30, n=30),
    )
    found = audit(graph)
    text = render(found, HOSTILE + "title")
    assert text == render(found, HOSTILE + "title")
    page = Page(text)
    assert page.open == []
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "link", "b onclick"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert all(
        (value or "").startswith("#")
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name == "href"
    )
    for part in ("title", "type", "0", "1"):
        assert HOSTILE + part in page.text
    for heading in ("Verdicts", "Leakage", "Relations", "Overlaps", "Structure", "Coverage", "Class hierarchy"):
        assert heading in page.text
    for flag in found.flags:
        assert flag.message in page.text
    circles = [attributes for tag, attributes in page.elements if tag == "circle"]
    assert len(circles) == len(found.relations)
    assert all(
        0 <= float(each["cx"] or math.nan) <= 640 and 0 <= float(each["cy"] or math.nan) <= 420 for each in circles
    )


def test_a_lone_surrogate_does_not_lose_the_page() -> None:
    render(audit(graph_of([(0, 0, 1)])), "broken \ud800 title").encode("utf-8")


def test_command(tmp_path: Path) -> None:
    base = [(i, i + 20) for i in range(20)]
    triples = [(s, 0, o) for s, o in base] + [(o, 1, s) for s, o in base]
    graph_of(triples, [0] * 20 + [0] * 10 + [2] * 10).save(tmp_path / "leaky")
    words = ["audit", str(tmp_path / "leaky"), "--json", str(tmp_path / "a.json"), "--page", str(tmp_path / "a.html")]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert "error leakage-inverse: 100.0 % of the test statements (10 of 10)" in result.output
    told = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert told["leakage"][0]["inverse"] == 10
    assert told["overlaps"][0]["kind"] == "inverse"
    assert told["flags"][0]["severity"] == "error"
    assert "Audit of leaky" in Page((tmp_path / "a.html").read_text(encoding="utf-8")).text
    for on in ("leakage", "error", "warning"):
        result = CliRunner().invoke(cli, [*words, "--fail-on", on])
        assert result.exit_code == 1
        assert "failed on leakage-inverse" in result.output
    graph_of(triples).save(tmp_path / "sound")
    assert CliRunner().invoke(cli, ["audit", str(tmp_path / "sound"), "--fail-on", "warning"]).exit_code == 0


def test_every_flag_is_documented() -> None:
    import re

    from kgservice.audit import verdicts

    source = Path(verdicts.__file__).read_text(encoding="utf-8")
    known = set(re.findall(r'Flag\(\s*"([a-z-]+)"', source)) | {"leakage-inverse", "leakage-duplicate"}
    known |= {"inverse-relations", "duplicate-relations"}
    assert len(known) >= 18
    text = DOCS.read_text(encoding="utf-8")
    assert not {code for code in known if f"`{code}`" not in text}


def test_documented_commands_run(tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import re
    import shlex

    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in "".join(blocks).replace("\\\n", " ").splitlines() if line]
    assert len(commands) >= 5
    for words in commands:
        assert words[0] == "kgservice"
        result = CliRunner().invoke(cli, words[1:])
        expected = 1 if "--fail-on" in words else 0
        assert result.exit_code == expected, (words, result.output, result.exception)
