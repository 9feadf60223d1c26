"""Readers: what becomes of every statement, errors by message, and order that does not matter."""

import bz2
import gzip
import lzma
import random
import re

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice import ingestion, readers
from kgservice.errors import DataError, InputError, MalformedStatement
from kgservice.graph.literals import XSD, Literal
from kgservice.graph.statements import Split
from kgservice.graph.texts import TextKind
from kgservice.readers.options import RDF, ReadOptions

PREFIXES = """@prefix : <http://x/> .
@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix schema: <https://schema.org/> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""


@pytest.fixture
def read_turtle(tmp_path):
    def read(content, name="data.ttl"):
        path = tmp_path / name
        path.write_text(PREFIXES + content, encoding="utf-8")
        return ingestion.read([path])

    return read


def statements(graph):
    """Names in place of numbers: (subject, relation, object, qualifiers)."""
    table, entity, relation = graph.statements, graph.entities.name, graph.relations.name
    short = lambda name: name.removeprefix("http://x/")  # noqa: E731
    value = lambda v: short(entity(v)) if v >= 0 else graph.literals.vocabulary.name(-1 - v)  # noqa: E731
    return [
        (
            short(entity(table.subject[row])),
            short(relation(table.relation[row])),
            short(entity(table.object[row])),
            sorted((short(relation(q)), value(v)) for q, v in table.qualifiers(row)),
        )
        for row in range(len(table))
    ]


def total(graph):
    report = graph.provenance["report"]
    assert report["read"] == sum(report["kept"].values()) + sum(report["dropped"].values()), report
    by_predicate = [count for counts in report["by_predicate"].values() for count in counts.values()]
    assert sum(by_predicate) == report["read"]
    assert all(count > 0 for count in by_predicate)
    return report


def test_objects_become_links_texts_types_and_literals(read_turtle):
    graph = read_turtle(
        """:a :knows :b ; rdfs:label "A"@en ; skos:prefLabel "Ah"@de ; skos:altLabel "Aleph" ; a :T .
           :a schema:description "line\\n\\"two\\" é" ; :height 5 ; :born "2000-01-01"^^xsd:date ."""
    )
    assert statements(graph) == [("a", "knows", "b", [])]
    assert set(graph.texts.rows(graph.entities.id("http://x/a"))) == {
        (TextKind.LABEL, "en", "A"),
        (TextKind.LABEL, "de", "Ah"),
        (TextKind.ALIAS, "", "Aleph"),
        (TextKind.DESCRIPTION, "", 'line\n"two" é'),
    }
    assert graph.types.vocabulary.names.to_pylist() == ["http://x/T"]
    table = graph.literals.statements
    facts = {(graph.relations.name(table.relation[row]), graph.literals.value(table.object[row])) for row in range(2)}
    assert facts == {
        ("http://x/height", Literal("5", XSD + "integer")),
        ("http://x/born", Literal("2000-01-01", XSD + "date")),
    }
    assert graph.prefixes[""] == "http://x/"
    assert list(graph.prefixes) == sorted(graph.prefixes)
    assert total(graph)["kept"] == {"statements": 1, "texts": 4, "types": 1, "literals": 2}


def test_annotations_give_one_row_per_reifier(read_turtle):
    graph = read_turtle(':a :p :b {| :since "2000" ; :where :c |} {| :until "2001" |} . :a :p :d .')
    assert sorted(statements(graph)) == [
        ("a", "p", "b", [("since", '"2000"'), ("where", "c")]),
        ("a", "p", "b", [("until", '"2001"')]),
        ("a", "p", "d", []),
    ]
    assert total(graph)["kept"] == {"statements": 2, "qualifiers": 3, "reifications": 2}


def test_classical_reification_gives_the_same_graph(read_turtle):
    classical = read_turtle(
        """_:s a rdf:Statement ; rdf:subject :a ; rdf:predicate :p ; rdf:object :b ; :since "2000" .
           :a :p :b ."""
    )
    modern = read_turtle(':a :p :b {| :since "2000" |} .')
    assert statements(classical) == statements(modern) == [("a", "p", "b", [("since", '"2000"')])]
    assert classical.content_hash == modern.content_hash
    assert total(classical)["kept"] == {"statements": 1, "qualifiers": 1, "reifications": 4}


def test_quoting_does_not_assert(read_turtle):
    graph = read_turtle(":a :p :b . << :a :p :c >> :source :d .")
    assert statements(graph) == [("a", "p", "b", [])]
    assert total(graph)["dropped"] == {"unasserted": 2}
    assert "http://x/d" not in graph.entities


def test_a_reifier_is_no_entity(read_turtle):
    graph = read_turtle(':a :p :b ~ :r {| rdfs:label "remark" ; a :Claim ; :since "1" |} . :z :mentions :r .')
    assert "http://x/r" not in graph.entities
    assert statements(graph) == [("a", "p", "b", [("since", '"1"')])]
    assert total(graph)["dropped"] == {"about_a_reifier": 3}


def test_a_reifier_without_qualifiers_adds_no_row(read_turtle):
    assert statements(read_turtle(':a :p :b ~ :r1 {| rdfs:label "x" |} .')) == [("a", "p", "b", [])]


def test_qualifiers_of_what_is_no_link_are_counted(read_turtle):
    graph = read_turtle(':a :p :b ; :height 5 {| :unit :metre |} ; a :T {| :since "1" |} .')
    assert total(graph)["dropped"] == {"qualifies_no_link": 4}


def test_broken_reification_is_counted(read_turtle):
    graph = read_turtle(
        ":a :p :b . _:s a rdf:Statement ; rdf:subject :a, :b ; rdf:predicate :p ; rdf:object :b ; :q 1 ."
    )
    assert total(graph)["dropped"] == {"broken_reification": 6}
    assert statements(graph) == [("a", "p", "b", [])]


def test_triple_terms_elsewhere_are_counted(read_turtle):
    graph = read_turtle(":a :p :b ; :says <<( :a :p :c )>> .")
    assert total(graph)["dropped"] == {"triple_term": 1}


def test_names_of_relations_and_types_are_entities_only_if_linked(read_turtle):
    graph = read_turtle(
        """:a :p :b ; a :T .
           :p rdfs:label "the relation" ; a rdf:Property . :T rdfs:label "the type" .
           :b :q :c . :q rdfs:label "linked" ; :p :c ."""
    )
    assert [name.removeprefix("http://x/") for name in graph.entities.names.to_pylist()] == ["a", "b", "c", "q"]
    assert [row[3] for row in graph.relation_texts.items()] == ["the relation", "linked"]
    assert [row[3] for row in graph.types.texts.items()] == ["the type"]
    assert [row[3] for row in graph.texts.items()] == ["linked"]
    assert total(graph)["dropped"] == {"about_no_entity": 1}


def test_blank_nodes_are_scoped_by_file_and_stable(tmp_path):
    for name in ("one.ttl", "two.ttl"):
        (tmp_path / name).write_text(PREFIXES + ":a :p _:x . _:x :q [ :r :b ] .")
    first = ingestion.read([tmp_path])
    for _ in range(20):  # pyoxigraph draws the labels of anonymous nodes at random
        assert ingestion.read([tmp_path / "two.ttl", tmp_path / "one.ttl"]).content_hash == first.content_hash
    bnodes = [name for name in first.entities.names.to_pylist() if name.startswith("_:")]
    assert len(bnodes) == 4
    assert all(re.fullmatch(r"_:[0-9a-f]{10}-(x|\.\d)", name) for name in bnodes)


def test_the_same_name_twice_does_not_merge_blank_nodes(tmp_path):
    for folder, what in (("a", "p"), ("b", "q")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.nt").write_text(f"<http://x/s> <http://x/{what}> _:n .\n")
    graph = ingestion.read([tmp_path / "a" / "x.nt", tmp_path / "b" / "x.nt"])
    assert sum(name.startswith("_:") for name in graph.entities.names.to_pylist()) == 2


def test_a_conflicting_prefix_keeps_the_first_file(tmp_path):
    (tmp_path / "a.ttl").write_text("@prefix p: <http://one/> . p:s p:p p:o .")
    (tmp_path / "b.ttl").write_text("@prefix p: <http://two/> . p:s p:p p:o .")
    assert ingestion.read([tmp_path / "b.ttl", tmp_path / "a.ttl"]).prefixes == {"p": "http://one/"}


LINES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("pq"), st.sampled_from("abcd")).map(
            lambda t: f"<http://x/{t[0]}> <http://x/{t[1]}> <http://x/{t[2]}> ."
        ),
        st.tuples(st.sampled_from("abcd"), st.text(max_size=4)).map(
            lambda t: f"<http://x/{t[0]}> <http://x/note> {Literal(t[1])} ."
        ),
        st.tuples(st.sampled_from("ab"), st.sampled_from("cd")).map(
            lambda t: f"_:r{t[0]}{t[1]} <{RDF}reifies> <<( <http://x/{t[0]}> <http://x/p> <http://x/{t[1]}> )>> ."
        ),
        st.tuples(st.sampled_from("ab"), st.sampled_from("cd"), st.sampled_from("abcde")).map(
            lambda t: f"_:r{t[0]}{t[1]} <http://x/q> <http://x/{t[2]}> ."
        ),
        st.sampled_from("abT").map(lambda s: f"<http://x/{s}> <{RDF}type> <http://x/T> ."),
    ),
    min_size=1,
    max_size=25,
).filter(lambda lines: any("/p> <http://x/" in line and not line.startswith("_:") for line in lines))


@settings(max_examples=40, deadline=None)
@given(LINES, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(tmp_path_factory, lines, rng):
    folder = tmp_path_factory.mktemp("shuffled")
    path = folder / "data.nt"
    path.write_text("\n".join(lines), encoding="utf-8")
    first = ingestion.read([path])
    total(first)
    shuffled = [*lines, rng.choice(lines)]
    rng.shuffle(shuffled)
    path.write_text("\n".join(shuffled), encoding="utf-8")
    assert ingestion.read([path]).content_hash == first.content_hash


def test_several_files_are_one_graph(tmp_path):
    lines = [f"<http://x/{i}> <http://x/p> <http://x/{i * 7 % 50}> ." for i in range(50)]
    random.Random(0).shuffle(lines)
    (tmp_path / "all.nt").write_text("\n".join(lines))
    (tmp_path / "parts").mkdir()
    for part in range(3):
        (tmp_path / "parts" / f"{part}.nt").write_text("\n".join(lines[part::3]))
    whole = ingestion.read([tmp_path / "all.nt"])
    assert ingestion.read([tmp_path / "parts"]).content_hash == whole.content_hash
    assert ingestion.read([str(tmp_path / "parts" / "*.nt")]).content_hash == whole.content_hash


NT = b"<http://x/a> <http://x/p> <http://x/b> .\n" * 3
COMPRESSIONS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("named", [True, False])
def test_compressed_files_are_told_by_suffix_and_content(tmp_path, suffix, named):
    path = tmp_path / ("data.nt" + (suffix if named else ""))
    path.write_bytes(COMPRESSIONS[suffix](NT))
    graph = ingestion.read([path])
    assert len(graph.statements) == 1
    assert total(graph)["dropped"] == {"duplicate": 2}
    source = graph.provenance["sources"][0]
    assert (source["name"], source["size_bytes"]) == (path.name, path.stat().st_size)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_truncated_stream_is_an_error(tmp_path, suffix):
    rng = random.Random(0)
    lines = "".join(f"<http://x/{rng.randbytes(40).hex()}> <http://x/p> <http://x/b> .\n" for _ in range(3000))
    content = COMPRESSIONS[suffix](lines.encode())
    (tmp_path / f"data.nt{suffix}").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"data\.nt\S+: the compressed stream ends too early, the file is truncated"):
        ingestion.read([tmp_path / f"data.nt{suffix}"])


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_damaged_stream_is_an_error(tmp_path, suffix):
    content = bytearray(COMPRESSIONS[suffix](random.Random(0).randbytes(5000).hex().encode()))
    content[300:340] = b"\xff" * 40
    (tmp_path / f"data.nt{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=r"data\.nt\S+: .*(damaged|cannot be read)"):
        ingestion.read([tmp_path / f"data.nt{suffix}"])


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("x.nt", b"", DataError, r"x\.nt: the file is empty"),
        ("x.nt", b"# nothing\n", DataError, r"x\.nt: no entity was found"),
        ("x.nt.gz", NT, DataError, "its suffix says gzip, its content does not"),
        ("x.doc", NT, InputError, r"x\.doc: the suffix \.doc tells no format\. Known: .*\.nt"),
        ("x.nt", NT + b"<http://x/a> <http://x/p> oops .\n", MalformedStatement, r"x\.nt:4:\d+: .*--on-error=skip"),
        ("x.nt", b'<http://x/a> <http://x/p> "\xff" .\n', MalformedStatement, r"x\.nt:1:\d+: invalid UTF-8"),
        (
            "x.ttl",
            b"@prefix : <http://x/> .\n:a :b :c .\n:a :b 5 5 .",
            MalformedStatement,
            r"x\.ttl:3:9: .*Mend the file",
        ),
        ("x.rdf", b"<rdf", MalformedStatement, r"x\.rdf.*Mend the file"),
        ("x.tsv", b"a\tr\tb\na\tr\n", MalformedStatement, r"x\.tsv:2: expected 3 non-empty fields .*, found 2"),
        ("x.tsv", b"a\tr\tb\tc\n", MalformedStatement, "found 4"),
        ("x.tsv", b"a\t\tb\n", MalformedStatement, "found an empty one"),
        ("x.tsv", b"a\tr\tb\na\tr\t\xff\n", MalformedStatement, r"x\.tsv:2:5: not UTF-8"),
    ],
)
def test_errors_say_what_and_where(tmp_path, name, content, error, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        ingestion.read([tmp_path / name])


def test_turtle_errors_are_not_skipped(tmp_path):
    (tmp_path / "x.ttl").write_text("@prefix : <http://x/> . :a :b 5 5 . :a :b :c .")
    with pytest.raises(MalformedStatement, match="--on-error=skip does not apply"):
        ingestion.read([tmp_path / "x.ttl"], options=ReadOptions(on_error="skip"))


def test_malformed_lines_are_skipped_and_counted(tmp_path):
    bad = b'<http://x/a> <http://x/p> "\xff" .\nnonsense\n<http://x/a> <http://x/p> <http://x/c>\n'
    (tmp_path / "x.nt").write_bytes(NT + bad + b"<http://x/a> <http://x/p> <http://x/d> .\n")
    graph = ingestion.read([tmp_path / "x.nt"], options=ReadOptions(on_error="skip"))
    assert [row[2] for row in statements(graph)] == ["b", "d"]
    assert total(graph)["notes"] == {"malformed": 3}
    (tmp_path / "x.tsv").write_bytes(b"a\tr\tb\nx\n\tr\tb\n\xff\tr\tb\nc\tr\td\n")
    graph = ingestion.read([tmp_path / "x.tsv"], options=ReadOptions(on_error="skip"))
    assert [row[2] for row in statements(graph)] == ["b", "d"]
    assert total(graph)["notes"] == {"malformed": 3}


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.nt: no such file or folder"):
        ingestion.read([tmp_path / "nowhere.nt"])
    with pytest.raises(InputError, match="the glob matches no file"):
        ingestion.read([str(tmp_path / "*.nt")])
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(InputError, match=r"the folder holds only files with \.md"):
        ingestion.read([tmp_path])
    with pytest.raises(InputError, match=r"'turtel' is not a format\. Did you mean turtle"):
        ingestion.read([tmp_path], format="turtel")
    with pytest.raises(InputError, match="no sources were given"):
        ingestion.read([])


def test_a_benchmark_folder(tmp_path):
    (tmp_path / "train.txt").write_bytes(b'00012\tr\t"q"\r\n00012\tr\t"q"\r\n"q"\tr\t3\r\n')
    (tmp_path / "valid.txt.gz").write_bytes(gzip.compress(b"3\tr\t00012\n"))
    (tmp_path / "test.txt").write_text("3\ts\t00012")
    (tmp_path / "test_negatives.txt").write_text("00012\ts\t3\n")
    (tmp_path / "entity2text.txt").write_text("00012\tnot a triple\n")
    graph = ingestion.read([tmp_path])
    assert graph.entities.names.to_pylist() == ['"q"', "00012", "3"]
    counts = graph.counts()
    assert [counts[split] for split in ("train", "valid", "test", "negatives")] == [2, 1, 1, 1]
    assert graph.negatives.split.tolist() == [Split.TEST]
    assert total(graph)["dropped"] == {"duplicate": 1}


@pytest.mark.parametrize("name", ["ntriples", "nquads", "turtle", "trig", "rdfxml", "jsonld", "tsv"])
def test_every_format_reads(tmp_path, name):
    content = {
        "ntriples": NT,
        "nquads": NT.replace(b" .", b" <http://x/graph> ."),
        "turtle": NT,
        "trig": b"<http://x/graph> { <http://x/a> <http://x/p> <http://x/b> }",
        "rdfxml": b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:x="http://x/">'
        b'<r:Description r:about="http://x/a"><x:p r:resource="http://x/b"/></r:Description></r:RDF>',
        "jsonld": b'{"@id": "http://x/a", "http://x/p": {"@id": "http://x/b"}}',
        "tsv": b"http://x/a\thttp://x/p\thttp://x/b\n",
    }[name]
    path = tmp_path / f"data{readers.FORMATS[name].suffixes[0]}"
    path.write_bytes(content)
    assert (
        statements(ingestion.read([path], format=name)) == statements(ingestion.read([path])) == [("a", "p", "b", [])]
    )
    notes = total(ingestion.read([path], format=name))["notes"]
    assert ("named_graphs" in notes) == (name in ("nquads", "trig"))
