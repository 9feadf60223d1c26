"""Laws of ingestion: what is stored depends on what was said alone, whatever the order, the files and the sizes."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyoxigraph as ox
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kgservice import ingestion
from kgservice.errors import InputError, MalformedStatement
from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import XSD
from kgservice.graph.texts import TextKind
from kgservice.ingestion import Sizes, assembly, chunks, terms
from kgservice.readers.lines import read_lines
from kgservice.readers.options import RDF, RDFS, SKOS, ReadOptions, text_predicates

Named = dict[str, Counter[Any]]


def named(graph: KnowledgeGraph) -> Named:
    """All that a graph says, by names."""
    entity, relation, literal = graph.entities.name, graph.relations.name, graph.literals.vocabulary.name
    said: Named = {name: Counter() for name in ("statements", "literals", "texts", "types")}
    for what, table, object_ in (
        ("statements", graph.statements, entity),
        ("literals", graph.literals.statements, literal),
    ):
        for row in range(len(table)):
            pairs = [(relation(q), entity(v) if v >= 0 else literal(-1 - v)) for q, v in table.qualifiers(row)]
            triple = entity(table.subject[row]), relation(table.relation[row]), object_(table.object[row])
            said[what][(*triple, tuple(sorted(pairs)))] += 1
    for i in range(graph.n):
        for text in graph.texts.rows(i):
            said["texts"][(entity(i), *text)] += 1
        for type_ in graph.types.of_entity[i].tolist():
            said["types"][entity(i), graph.types.vocabulary.name(type_)] += 1
    return said


def vocabularies(graph: KnowledgeGraph) -> list[list[str]]:
    held = (graph.entities, graph.relations, graph.types.vocabulary, graph.literals.vocabulary)
    return [names.names.to_pylist() for names in held]


def checked(graph: KnowledgeGraph, folder: Path) -> KnowledgeGraph:
    """The report adds up, and the stored hash is that of the content."""
    report = graph.provenance["report"]
    assert report["read"] == sum(report["kept"].values()) + sum(report["dropped"].values()), report
    assert sum(sum(counts.values()) for counts in report["by_predicate"].values()) == report["read"]
    assert all(count > 0 for counts in report["by_predicate"].values() for count in counts.values()), report
    stored = json.loads((folder / "graph.json").read_text())
    assert stored["content_hash"] == KnowledgeGraph.open(folder).content_hash == graph.content_hash
    return graph


def write(folder: Path, *parts: Sequence[str]) -> list[Path]:
    paths = [folder / f"part{number}.nt" for number in range(len(parts))]
    for path, lines in zip(paths, parts, strict=True):
        path.write_text("# written by a test\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return paths


Ingest = Callable[..., KnowledgeGraph]


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "sync_tree", lambda folder: None)
        yield


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Ingest:
    """Ingests lists of lines, a file each, and checks what holds for every graph."""
    numbers = itertools.count()

    def run(*parts: Sequence[str], into: Path | None = None, **settings: Any) -> KnowledgeGraph:
        folder = tmp_path_factory.mktemp(f"ingest{next(numbers)}", numbered=False)
        out = into or folder / "graph"
        return checked(ingestion.ingest(write(folder, *parts), out, into=into, **settings), out)

    return run


@pytest.fixture(scope="module")
def kept(ingest: Ingest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Like `ingest`, but the folder of the graph."""
    numbers = itertools.count()

    def run(*parts: Sequence[str]) -> Path:
        folder = tmp_path_factory.mktemp(f"kept{next(numbers)}", numbered=False)
        ingestion.ingest(write(folder, *parts), folder / "graph")
        return folder / "graph"

    return run


# What may be said: entities a–f, relations, types and reifiers are told apart by their names.

X = "http://x/"
ENTITY = st.sampled_from("abcdef").map(lambda name: f"<{X}{name}>")
LINK = st.tuples(ENTITY, st.sampled_from("pq"), ENTITY).map(lambda t: f"{t[0]} <{X}{t[1]}> {t[2]} .")
LITERAL = st.sampled_from(['"1"', f'"1"^^<{XSD}integer>', '"é\\n"', '"z"@en', f'"2000"^^<{XSD}gYear>'])
FACT = st.tuples(ENTITY, LITERAL).map(lambda t: f"{t[0]} <{X}height> {t[1]} .")
TEXT = st.tuples(
    ENTITY, st.sampled_from([RDFS + "label", SKOS + "altLabel"]), st.sampled_from(['"A"@en', '"Ä"@de', '"a"'])
).map(lambda t: f"{t[0]} <{t[1]}> {t[2]} .")
TYPE = st.tuples(ENTITY, st.sampled_from("TU")).map(lambda t: f"{t[0]} <{RDF}type> <{X}{t[1]}> .")
REIFIER = st.sampled_from("12").map(lambda name: f"<{X}r{name}>")
QUOTE = st.tuples(REIFIER, LINK).map(lambda t: f"{t[0]} <{RDF}reifies> <<( {t[1][:-2]} )>> .")
QUALIFIER = st.tuples(REIFIER, st.one_of(ENTITY, LITERAL)).map(lambda t: f"{t[0]} <{X}since> {t[1]} .")
SIMPLE = st.lists(st.one_of(LINK, LINK, FACT, TEXT, TYPE), max_size=30)
ANY = st.lists(st.one_of(LINK, LINK, FACT, TEXT, TYPE, QUOTE, QUALIFIER), max_size=40)
A_LINK = f"<{X}a> <{X}p> <{X}b> ."
LAWS = settings(max_examples=10, deadline=None)


@contextmanager
def tiny(block_bytes: int, part_rows: int) -> Iterator[None]:
    """Sizes so small that little content takes many blocks and parts."""
    sizes = Sizes(2, block_bytes, block_bytes, part_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sizes, "within", classmethod(lambda cls, memory, workers=None: sizes))
        patch.setattr(chunks, "_SAMPLE_ROWS", 2)
        patch.setattr(terms, "SAMPLE_EVERY", 2)
        yield


@LAWS
@given(ANY, st.integers(1, 3), st.integers(50, 400), st.integers(2, 20), st.randoms(use_true_random=False))
def test_order_files_and_sizes_do_not_matter(
    ingest: Ingest, lines: list[str], files: int, block_bytes: int, part_rows: int, rng: random.Random
) -> None:
    lines = [A_LINK, *lines]
    whole = ingest(lines)
    shuffled = [*lines, *rng.choices(lines, k=3)]
    rng.shuffle(shuffled)
    with tiny(block_bytes, part_rows):
        cut = ingest(*(shuffled[start::files] for start in range(files)))
    assert cut.content_hash == whole.content_hash
    assert named(cut) == named(whole)
    assert cut.provenance["report"]["read"] == whole.provenance["report"]["read"] + 3


def many_lines() -> list[str]:
    lines = []
    rng = random.Random(0)
    for i in range(2500):
        s, o = f"<{X}{rng.randrange(2000)}>", f"<{X}{rng.randrange(2000)}>"
        lines += [
            f"{s} <{X}p{i % 5}> {o} .",
            f'{s} <{RDFS}label> "label {i} {"x" * (i % 40)}"@en .',
            f"{s} <{RDF}type> <{X}T{i % 30}> .",
            f'{s} <{X}height> "{i}"^^<{XSD}integer> .',
            f"<{X}r{i}> <{RDF}reifies> <<( {s} <{X}p{i % 5}> {o} )>> .",
            f'<{X}r{i}> <{X}since> "{i % 100}" .',
            f"<{X}r{i}> <{X}by> <{X}{rng.randrange(2000)}> .",
        ]
    rng.shuffle(lines)
    return lines


def test_memory_and_workers_do_not_matter(ingest: Ingest) -> None:
    lines = many_lines()
    whole = ingest(lines)
    assert len(whole.statements) >= 2490
    assert int(whole.statements.qualifier_offset[-1]) == 5000
    for memory, workers, files in ((1 << 20, 1, 1), (1 << 20, 2, 5), (16 << 20, 3, 2)):
        parts = [lines[start::files][::-1] for start in range(files)]
        cut = ingest(*parts, memory=memory, workers=workers)
        assert cut.content_hash == whole.content_hash
        assert cut.provenance["report"]["kept"] == whole.provenance["report"]["kept"]


def test_quoted_names_may_hold_spaces_of_unicode(ingest: Ingest) -> None:
    link = f"<{X}a> <{X}\u00a0> <{X}b> ."
    graph = ingest([link, *quoted("r", link, "q=1")])
    assert set(named(graph)["statements"]) == {(f"{X}a", f"{X}\u00a0", f"{X}b", ((f"{X}q", f"{X}1"),))}


# Continuing a graph


@LAWS
@given(SIMPLE, SIMPLE)
def test_continuing_a_graph_says_what_both_say(
    ingest: Ingest, kept: Callable[..., Path], first: list[str], second: list[str]
) -> None:
    folder = kept([A_LINK, *first])
    before = KnowledgeGraph.open(folder)
    former, said = vocabularies(before), named(before)
    graph = ingest(second, into=folder)
    for old, new in zip(former, vocabularies(graph), strict=True):
        assert new[: len(old)] == old
        assert len(set(new)) == len(new)
    whole = ingest([A_LINK, *first], second)
    assert named(graph) == named(whole)
    assert {what: +said[what] for what in said if said[what] - named(graph)[what]} == {}
    assert [set(names) for names in vocabularies(graph)] == [set(names) for names in vocabularies(whole)]
    assert graph.provenance["continues"] == before.content_hash


def test_continuing_with_the_same_changes_nothing(ingest: Ingest, kept: Callable[..., Path]) -> None:
    lines = many_lines()
    folder = kept(lines)
    before = KnowledgeGraph.open(folder)
    names, hash_ = vocabularies(before), before.content_hash
    again = ingest(lines[::-1], into=folder, memory=1 << 20)
    assert vocabularies(again) == names
    assert again.content_hash == hash_


def test_a_relation_of_the_base_gets_its_label_later(ingest: Ingest, kept: Callable[..., Path]) -> None:
    first, second = (
        [A_LINK, f"<{X}a> <{RDF}type> <{X}T> ."],
        [f'<{X}{name}> <{RDFS}label> "{name}"@en .' for name in "pT"],
    )
    whole, graph = ingest(first, second), ingest(second, into=kept(first))
    assert [row[3] for row in whole.relation_texts.items()] == ["p"]
    assert [row[3] for row in graph.relation_texts.items()] == ["p"]
    assert [row[3] for row in graph.types.texts.items()] == ["T"]
    assert vocabularies(graph)[0] == vocabularies(whole)[0] == [f"{X}a", f"{X}b"]


# Deleting


@LAWS
@given(SIMPLE, SIMPLE)
@example([f'<{X}a> <{RDFS}label> "A"@de .'], [f'<{X}a> <{RDFS}label> "A"@en .'])
def test_deleting_leaves_what_is_not_named(
    ingest: Ingest, kept: Callable[..., Path], first: list[str], second: list[str]
) -> None:
    both = [A_LINK, *first, *second]
    folder = kept(both)
    before = KnowledgeGraph.open(folder)
    names, said = vocabularies(before), named(before)
    second = [*second, f"<{X}a> <{X}p> <{X}nobody> ."]  # what is not there cannot be deleted
    graph = ingest(second, into=folder, delete=True)
    assert vocabularies(graph) == names
    taken = named(ingest(second))
    assert named(graph) == {what: Counter(said[what].keys() - taken[what].keys()) for what in said}
    notes = graph.provenance["report"]["notes"]
    gone = {what: len(said[what].keys() & taken[what].keys()) for what in said}
    assert notes.get("removed_statements", 0) == gone["statements"] + gone["literals"]
    assert notes.get("removed_texts", 0) == gone["texts"]
    assert notes.get("removed_types", 0) == gone["types"]


def quoted(reifier: str, triple: str, *values: str) -> list[str]:
    return [
        f"<{X}{reifier}> <{RDF}reifies> <<( {triple.removesuffix(' .')} )>> .",
        *(f"<{X}{reifier}> <{X}{value}> .".replace("=", f"> <{X}") for value in values),
    ]


def test_a_bare_triple_takes_all_of_its_statements_a_qualified_one_its_equal(
    ingest: Ingest, kept: Callable[..., Path]
) -> None:
    other = f"<{X}a> <{X}p> <{X}c> ."
    all_ = [
        A_LINK,
        *quoted("r1", A_LINK, "q=1", "s=2"),
        *quoted("r2", A_LINK, "q=1"),
        other,
        *quoted("r3", other, "q=1"),
    ]
    b, c = f"{X}b", f"{X}c"
    q1, s2 = (f"{X}q", f"{X}1"), (f"{X}s", f"{X}2")
    assert set(named(ingest(all_))["statements"]) == {
        (f"{X}a", f"{X}p", b, (q1, s2)),
        (f"{X}a", f"{X}p", b, (q1,)),
        (f"{X}a", f"{X}p", c, (q1,)),
    }

    def left(*lines: str) -> set[tuple[str, Any]]:
        graph = ingest(list(lines), into=kept(all_), delete=True)
        gone = 3 - len(graph.statements)
        assert graph.provenance["report"]["notes"].get("removed_statements", 0) == gone
        return {(object_, qualifiers) for _, _, object_, qualifiers in named(graph)["statements"]}

    assert left(A_LINK) == {(c, (q1,))}
    assert left(A_LINK, *quoted("other", A_LINK, "q=1")) == {(b, (q1, s2)), (c, (q1,))}
    assert left(A_LINK, *quoted("other", A_LINK, "s=2", "q=1")) == {(b, (q1,)), (c, (q1,))}
    assert left(A_LINK, *quoted("other", A_LINK, "s=2")) == {(b, (q1, s2)), (b, (q1,)), (c, (q1,))}


def test_all_can_be_deleted_and_added_again(ingest: Ingest, kept: Callable[..., Path]) -> None:
    lines = many_lines()
    folder = kept(lines)
    before = KnowledgeGraph.open(folder)
    names, hash_ = vocabularies(before), before.content_hash
    empty = ingest(lines, into=folder, delete=True, memory=1 << 20)
    assert vocabularies(empty) == names
    assert not any(named(empty).values())
    again = ingest(lines[::-1], into=folder)
    assert again.content_hash == hash_


# Options


def test_languages_and_predicates_of_texts(ingest: Ingest) -> None:
    lines = [
        A_LINK,
        f'<{X}a> <{RDFS}label> "A"@en, "Ä"@de, "0" .'.replace(", ", f" .\n<{X}a> <{RDFS}label> "),
        f'<{X}a> <{X}motto> "per aspera"@la .\n<{X}a> <{X}motto> "ad astra" .',
        f'<{X}a> <{RDFS}comment> "a comment" .',
    ]
    graph = ingest(lines, options=ReadOptions(languages=frozenset({"de"})))
    assert {text[1:] for text in named(graph)["texts"]} == {
        (TextKind.LABEL, "de", "Ä"),
        (TextKind.LABEL, "", "0"),
        (TextKind.DESCRIPTION, "", "a comment"),
    }
    assert graph.provenance["report"]["dropped"] == {"filtered_language": 1}
    assert sorted(graph.literals.vocabulary.names.to_pylist()) == ['"ad astra"', '"per aspera"@la']
    changed = text_predicates([f"{X}motto=alias", f"{RDFS}comment=none"])
    graph = ingest(lines, options=ReadOptions(text_predicates=changed))
    assert {text[1:] for text in named(graph)["texts"] if text[1] != TextKind.LABEL} == {
        (TextKind.ALIAS, "la", "per aspera"),
        (TextKind.ALIAS, "", "ad astra"),
    }
    assert graph.literals.vocabulary.names.to_pylist() == ['"a comment"']


def test_instances_of_a_class_and_its_subclasses(ingest: Ingest) -> None:
    sub, is_a = f"<{RDFS}subClassOf>", f"<{RDF}type>"
    lines = [
        f"<{X}City> {sub} <{X}Place> .",
        f"<{X}Capital> {sub} <{X}City> .",
        f"<{X}berlin> {is_a} <{X}Capital> .",
        f"<{X}bonn> {is_a} <{X}City> .",
        f"<{X}rhine> {is_a} <{X}River> .",
        f"<{X}bonn> <{X}on> <{X}rhine> .",
        f"<{X}rhine> <{X}through> <{X}bonn> .",
        f"<{X}berlin> <{X}near> <{X}potsdam> .",
        f'<{X}rhine> <{X}length> "1230" .',
        f'<{X}berlin> <{X}height> "34" .',
        f'<{X}potsdam> <{RDFS}label> "Potsdam" .',
        f'<{X}amazon> <{RDFS}label> "Amazon" .',
        *quoted("r", f"<{X}bonn> <{X}on> <{X}rhine> .", "until=kiel"),
    ]
    graph = ingest(lines, options=ReadOptions(instance_of=frozenset({f"{X}Place"})))
    said = named(graph)
    assert {row[:3] for row in said["statements"]} == {
        (f"{X}berlin", f"{X}near", f"{X}potsdam"),
        (f"{X}bonn", f"{X}on", f"{X}rhine"),
    }
    assert set(said["literals"]) == {(f"{X}berlin", f"{X}height", '"34"', ())}
    assert {name.removeprefix(X) for name in graph.entities.names.to_pylist()} == {
        "berlin",
        "bonn",
        "kiel",
        "potsdam",
        "rhine",
    }
    assert {row[3] for row in said["texts"]} == {"Potsdam"}
    assert graph.provenance["report"]["dropped"]["filtered_class"] > 0
    narrow = ingest(lines, options=ReadOptions(instance_of=frozenset({f"{X}Capital", f"{X}River"})))
    assert {row[0] for row in named(narrow)["statements"]} == {f"{X}berlin", f"{X}rhine"}
    with pytest.raises(InputError, match="--instance-of http://x/Castle: no such class in the sources"):
        ingest(lines, options=ReadOptions(instance_of=frozenset({f"{X}Castle"})))


@pytest.fixture
def places(tmp_path: Path) -> KnowledgeGraph:
    """Of a Wikidata dump, the instances of Q11."""

    def claim(other: int) -> dict[str, Any]:
        value = {"value": {"entity-type": "item", "id": f"Q{other}"}, "type": "wikibase-entityid"}
        return {"mainsnak": {"snaktype": "value", "datavalue": value}, "rank": "normal"}

    def item(number: int, **claims: int) -> dict[str, Any]:
        labels = {"en": {"language": "en", "value": f"item {number}"}}
        named = {name: [claim(other)] for name, other in claims.items()}
        return {"type": "item", "id": f"Q{number}", "labels": labels, "claims": named}

    entities = [
        item(10, P279=11),  # city ⊂ place
        item(12, P279=10),  # capital ⊂ city
        item(11, P279=12),  # and place ⊂ capital: a circle
        item(1, P31=12, P17=5),
        item(2, P31=10, P17=5),
        item(3, P31=20, P17=5),
        item(4, P17=1),
    ]
    path = tmp_path / "dump.json"
    path.write_text("[\n" + ",\n".join(map(json.dumps, entities)) + "\n]\n")
    return ingestion.ingest([path], tmp_path / "graph", options=ReadOptions(instance_of=frozenset({"Q11"})))


def test_instances_of_a_class_of_wikidata(places: KnowledgeGraph) -> None:
    assert {row[0] for row in named(places)["statements"]} == {"Q1", "Q2"}
    assert {row[0] for row in named(places)["texts"]} >= {"Q1", "Q2"}
    assert not {"Q3", "Q4", "Q20"} & set(places.entities.names.to_pylist())
    report = places.provenance["report"]
    assert report["dropped"]["filtered_class"] > 0
    assert report["read"] == sum(report["kept"].values()) + sum(report["dropped"].values())


def test_no_count_of_a_report_is_negative(places: KnowledgeGraph, tmp_path: Path) -> None:
    checked(places, tmp_path / "graph")


# The vectorised path and the strict parser

LINE = "<http://x/a> <http://x/p> <http://x/b> .\n"
IRI_PIECES = [
    *(
        "a",
        "B",
        "0",
        "-",
        ".",
        "_",
        "~",
        "/",
        "//",
        ":",
        "@",
        "?",
        "#",
        "!",
        "$",
        "&",
        "'",
        "(",
        ")",
        "*",
        "+",
        ",",
        ";",
    ),
    *(
        "=",
        "%41",
        "%4",
        "%zz",
        "%",
        " ",
        "é",
        "中",
        "\U0001f600",
        "\ue000",
        "\ufdd0",
        "\ufffe",
        "\ufffd",
        "\u00a0",
        "\u0080",
    ),
    *(
        "\\u0041",
        "\\U00000041",
        "\\U0001F600",
        "\\u00",
        "\\u0020",
        "\\n",
        "<",
        ">",
        '"',
        "{",
        "|",
        "^",
        "`",
        "\\",
        "[",
        "]",
    ),
    *("\x7f", "\x00", "..", "/../", "/./", ":80", ":99999999", "[::1]", "[v1.a]", "u@"),
]
STARTS = ["http://x/", "http://", "urn:", "a:", "HTTP://é.x:80/", "http:", "a+b-c.1:", "1:", "", "/", "mailto:", "://"]
TEXT_PIECES = [
    *(
        "a",
        " ",
        "  ",
        "é",
        "中",
        "\U0001f600",
        "\ufffe",
        "\uffff",
        "\ud7ff",
        "\ue000",
        "\x00",
        "\x01",
        "\x7f",
        "\x80",
        "\t",
    ),
    *(
        '\\"',
        "\\\\",
        "\\n",
        "\\r",
        "\\t",
        "\\b",
        "\\f",
        "\\'",
        "\\u00E9",
        "\\U0001F600",
        "\\uD800",
        "\\u",
        "\\x",
        "\\",
        '"',
        "\r",
    ),
    *("<", ">", "#", " .", "@en", "^^", "\u2028", "\x85", "<http://x/b> .", "_:b"),
]
ENDS_OF_TEXT = [
    *(
        "",
        "",
        "",
        "@en",
        "@EN",
        "@en-GB",
        "@en-gb-x",
        "@en-123",
        "@zh-hant",
        "@zh-hant-tw",
        "@e",
        "@english",
        "@abcdefghi",
    ),
    *(
        "@en--ltr",
        "@en--xyz",
        "@",
        "@1",
        "@en-",
        "@-en",
        " @en",
        "@x-private",
        "@i-klingon",
        "@de-1996",
        "@en_US",
        "@en-latn-us",
    ),
    *(
        f"^^<{XSD}string>",
        f"^^<{XSD}integer>",
        f"^^<{RDF}langString>",
        f"^^<{RDF}dirLangString>",
        "^^<rel>",
        "^^",
        f"^^ <{XSD}integer>",
    ),
    *(f"@en^^<{XSD}string>", f"^^{XSD}string", "^<a:b>", "^^<a:b c>", "^^<a:é>"),
]
BNODE_PIECES = ["a", "Z", "0", ".", "-", "_", ":", "é", "·", "\u0300", "b1", "%", "\u203f", "\U00010000"]


def joined(pieces: list[str], most: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=most).map("".join)


SOME_IRI = st.one_of(
    st.sampled_from("abc").map(lambda name: f"<{X}{name}>"),
    st.tuples(st.sampled_from(STARTS), joined(IRI_PIECES, 4)).map(lambda t: f"<{t[0]}{t[1]}>"),
)
SOME_BNODE = joined(BNODE_PIECES, 4).map(lambda label: f"_:{label}")
SOME_LITERAL = st.tuples(joined(TEXT_PIECES, 4), st.sampled_from(ENDS_OF_TEXT)).map(lambda t: f'"{t[0]}"{t[1]}')
SOME_TRIPLE_TERM = st.tuples(SOME_IRI, SOME_LITERAL).map(lambda t: f"<<( {t[0]} <{X}p> {t[1]} )>>")
NODE = st.one_of(SOME_IRI, SOME_IRI, SOME_BNODE)
SPACE = st.sampled_from([" "] * 12 + ["", "  ", "\t", "\r", "\u00a0", "\x0b"])
END = st.sampled_from(
    [" .\n"] * 12
    + [".\n", "\t.\n", "  .\n", " .\r\n", " . \n", " . # c\n", " .# é\n", "\n", " . .\n", " ;\n", " .\x00\n"]
    + [f" .\r{LINE}", f" . {LINE}"]
)
GRAPH = st.one_of(st.just(""), st.just(""), NODE, SOME_LITERAL)
STATEMENT = st.tuples(
    NODE, SPACE, SOME_IRI, SPACE, st.one_of(NODE, SOME_LITERAL, SOME_LITERAL, SOME_TRIPLE_TERM), SPACE, GRAPH, END
).map(lambda t: "".join(t[:5]) + (t[5] + t[6] if t[6] else "") + t[7])
NOISE = st.sampled_from(["\n", "# c\n", "  # é\n", "\r\n", "\t\n", " \n", "\ufeff\n", "x\n", "\x0c\n", LINE])
STATEMENTS = st.lists(st.one_of(STATEMENT, STATEMENT, STATEMENT, NOISE), min_size=1, max_size=6)


def term(node: Any) -> str:
    """As `read_lines` names it."""
    if isinstance(node, ox.NamedNode):
        return node.value
    return f"<<( {node} )>>" if isinstance(node, ox.Triple) else str(node)


def triples_of(block: bytes, syntax: ox.RdfFormat) -> list[tuple[str, ...]]:
    return [(term(q.subject), term(q.predicate), term(q.object)) for q in ox.parse(block, format=syntax)]


def read_of(found: Any) -> list[tuple[str, ...]]:
    column = found.terms.to_pylist()
    return list(zip(*[iter(column)] * 3, strict=True))


@pytest.mark.parametrize("syntax", [ox.RdfFormat.N_TRIPLES, ox.RdfFormat.N_QUADS], ids=["N-Triples", "N-Quads"])
@settings(max_examples=800, deadline=None)
@given(STATEMENTS)
@example([f'<{X}a> <{X}p> "a <{X}b> ." .\n'])
@example([f'<{X}a> <{X}p> "a"^^<{RDF}langString> <{X}g> .\n'])
@example([f"<{X}a> <{X}p> <{X}b> <{XSD}string> .\n", f'<{X}a> <{X}p> "b" <x:^^> .\n'])
@example([f"<{X}a> <{X}\u00a0> <{X}b> <{X}g>.\n"])
@example([f'<{X}a> <{X}p> "b"^^<{XSD}string> <{X}\u00a0> .\n'])
def test_the_two_paths_accept_and_refuse_the_same(syntax: ox.RdfFormat, statements: list[str]) -> None:
    block = "".join(statements).encode("utf-8", "surrogatepass")
    expected, refused, graphs = Counter[tuple[str, ...]](), 0, 0
    first_refused = None
    for number, line in enumerate(_lines(block), 1):
        try:
            expected.update(triples_of(line, syntax))
            graphs += sum(not isinstance(q.graph_name, ox.DefaultGraph) for q in ox.parse(line, format=syntax))
        except SyntaxError:
            refused += 1
            first_refused = first_refused or number
    found = read_lines(block, syntax, source="x", skip_malformed=True)
    assert Counter(read_of(found)) == expected
    assert (found.malformed, found.in_named_graphs) == (refused, graphs)
    if first_refused:
        with pytest.raises(MalformedStatement, match=rf"^x:{first_refused}(:\d+)?: "):
            read_lines(block, syntax, source="x")
        with pytest.raises(SyntaxError):
            triples_of(block, syntax)
    else:
        assert Counter(triples_of(block, syntax)) == expected


def _lines(block: bytes) -> Iterator[bytes]:
    return (line + b"\n" for line in block.removesuffix(b"\n").split(b"\n"))


def test_lines_of_the_usual_form_need_no_strict_parser() -> None:
    """Else the law above would say nothing."""
    usual = [LINE, f'<{X}a> <{X}p> "é \\n \\""@en-GB .\n'.lower(), f'_:a <{X}p> "1"^^<{XSD}integer> .\n']
    assert read_lines("".join(usual).encode(), ox.RdfFormat.N_TRIPLES, source="x").slow == 0
    quads = [line.replace(" .\n", f" <{X}g> .\n") for line in usual]
    assert read_lines("".join(quads).encode(), ox.RdfFormat.N_QUADS, source="x").slow == 0
