"""Native formats of benchmarks: small files, malformed lines by message, and the files that have no training part."""

import json
import lzma

import numpy as np
import pytest

from kgservice.errors import DataError, MalformedStatement
from kgservice.graph.statements import Split
from kgservice.ingestion import read
from kgservice.readers import FORMATS, BatchBuilder, ReadOptions, format_of
from kgservice.readers.companions import Companion, add_companions
from kgservice.readers.sources import Source

NATIVE = ("benchmark", "hynt", "nary", "openke", "wd50k", "wikipeople")
XSD = "http://www.w3.org/2001/XMLSchema#"
YEAR = "+1903-01-01T00:00:00Z#0#0#0#9#http://www.wikidata.org/entity/Q1985727"


def write(folder, **contents):
    paths = []
    for stem, content in contents.items():
        suffix = ".json" if stem.startswith("n_ary") else ".txt"
        path = folder / (stem.replace("n_ary", "n-ary") + suffix)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return paths


def account(paths, format, *, skip=False):
    """The reader's own reports, by file; what each file holds is accounted for."""
    reports, prefixes = FORMATS[format].files([Source(p, p.name) for p in paths], BatchBuilder(), skip_malformed=skip)
    assert prefixes == {}
    assert all(report.read == report.kept.total() + report.dropped.total() for report in reports)
    return {report.name: report for report in reports}


def spelled(graph):
    """Every statement and every literal fact in words: (subject, relation, object, qualifiers, split)."""
    name, of, literal = graph.entities.name, graph.relations.name, graph.literals.vocabulary.name
    found = set()
    for table, object_of in ((graph.statements, name), (graph.literals.statements, literal)):
        for row in range(len(table)):
            pairs = range(table.qualifier_offset[row], table.qualifier_offset[row + 1])
            values = ((table.qualifier_relation[pair], int(table.qualifier_value[pair])) for pair in pairs)
            qualifiers = sorted(
                (of(role), name(value) if value >= 0 else literal(-1 - value)) for role, value in values
            )
            triple = name(table.subject[row]), of(table.relation[row]), object_of(table.object[row])
            found.add((*triple, tuple(qualifiers), Split(table.split[row]).name))
    return found


def test_every_native_format_is_tested_here():
    assert set(NATIVE) == {name for name, format in FORMATS.items() if format.files is not None and name != "tsv"}


def test_wd50k(tmp_path):
    content = "Q1,P1,Q2\r\nQ1,P1,Q2,P3,Q4,P3,Q3\n\nQ1,P1,Q2,P3,Q3,P3,Q4\n"
    paths = write(tmp_path, train=content, test="Q1,P1,Q2\n")
    assert spelled(read(paths, format="wd50k")) == {
        ("Q1", "P1", "Q2", (), "TRAIN"),
        ("Q1", "P1", "Q2", (("P3", "Q3"), ("P3", "Q4")), "TRAIN"),
        ("Q1", "P1", "Q2", (), "TEST"),
    }
    assert account(paths, "wd50k")["train.txt"].dropped == {"duplicate": 1}  # the order of qualifiers says nothing


def test_the_order_of_lines_and_qualifiers_does_not_matter(tmp_path):
    lines = ["a,r,b,k,x,k,y", "a,r,b", "c,r,a,l,b", "c,r,a,l,b,k,x"]
    (tmp_path / "other").mkdir()
    one = read(write(tmp_path, train="\n".join(lines)), format="wd50k")
    turned = ["c,r,a,k,x,l,b", *lines[2::-1]]
    other = read(write(tmp_path / "other", train="\n".join(turned).replace("k,x,k,y", "k,y,k,x")), format="wd50k")
    assert one.content_hash == other.content_hash


def test_nary_facts(tmp_path):
    test = f"instance0\tr.s\ta\tb\tc\td\ninstance1 r.s a b\nP1 Q1 Q2 {YEAR}\n"
    graph = read(write(tmp_path, train="r.s\ta\tb\tc\n", test=test), format="nary")
    assert spelled(graph) == {
        ("a", "r.s", "b", (("r.s_3", "c"),), "TRAIN"),
        ("a", "r.s", "b", (("r.s_3", "c"), ("r.s_4", "d")), "TEST"),
        ("a", "r.s", "b", (), "TEST"),
        ("Q1", "P1", "Q2", (("P1_3", f'"1903"^^<{XSD}gYear>'),), "TEST"),
    }


def test_wikipeople(tmp_path):
    curie = {"P166_h": "Q7186", "P166_t": "Q38104", "N": 5, "P585": [YEAR], "P1706": ["Q41269", "Q37463"]}
    born = {"P569_h": "Q7186", "P569_t": YEAR.replace("#9#", "#11#"), "N": 2}
    paths = write(tmp_path, n_ary_valid=json.dumps(curie) + "\n", n_ary_train=json.dumps(born) + "\n")
    graph = read([tmp_path])  # told by the names of the files
    qualifiers = (("P1706", "Q37463"), ("P1706", "Q41269"), ("P585", f'"1903"^^<{XSD}gYear>'))
    assert spelled(graph) == {
        ("Q7186", "P166", "Q38104", qualifiers, "VALID"),
        ("Q7186", "P569", f'"1903-01-01"^^<{XSD}date>', (), "TRAIN"),
    }
    assert format_of(Source(paths[0], "n-ary_valid.json.xz")) == "wikipeople"


def test_openke(tmp_path):
    contents = {
        "entity2id": "3\nz\t1\n<http://e/é>\t0\nnobody 2\n",
        "relation2id": "1\n_r\t0\n",
        "train2id": "1\n0 1 0\n",
        "valid2id": "2\n1 0 0\n1 0 0\n",
    }
    paths = write(tmp_path, **contents)
    graph = read([tmp_path])
    assert spelled(graph) == {("http://e/é", "_r", "z", (), "TRAIN"), ("z", "_r", "http://e/é", (), "VALID")}
    assert "nobody" in graph.entities  # a name without a statement
    assert spelled(read(paths[2:])) == spelled(graph)  # the names lie beside
    assert account(paths[2:], "openke")["valid2id.txt"].dropped == {"duplicate": 1}
    for path in paths[:2]:
        path.with_suffix(".txt.xz").write_bytes(lzma.compress(path.read_bytes()))
        path.unlink()
    assert spelled(read(paths[2:], format="openke")) == spelled(graph)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train2id": "1\n0 1\n"},
            r"train2id\.txt:2: expected three numbers, head, tail and relation\. Use --on-error",
        ),
        (
            {"train2id": "1\n0 0 1\n"},
            r"train2id\.txt:2: expected a relation below 1; .*head, tail and relation, in this",
        ),
        ({"train2id": "1\n0 2 0\n"}, r"train2id\.txt:2: expected a tail below 2"),
        ({"train2id": "1\n99999999999 0 0\n"}, r"train2id\.txt:2: expected a head below 2"),
        ({"train2id": "2\n0 1 0\n"}, r"train2id\.txt:1: says that 2 lines follow, found 1"),
        ({"train2id": "0 1 0\n"}, r"train2id\.txt:1: expected the number of lines that follow, found '0 1 0'"),
    ],
)
def test_malformed_openke(tmp_path, changed, message):
    names = {"entity2id": "2\na 0\nb 1\n", "relation2id": "1\nr 0\n"}
    paths = write(tmp_path, **names, **changed)
    with pytest.raises(MalformedStatement, match=message):
        account(paths, "openke")
    assert account(paths, "openke", skip=True)["train2id.txt"].malformed


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ("2\na 0\nb 2\n", r"entity2id\.txt: expected each number from 0 to 1 and each name once"),
        ("2\na 0\na 1\n", r"entity2id\.txt: expected each number from 0 to 1 and each name once"),
        ("2\na 0\nb\n", r"entity2id\.txt:3: expected a name and its number"),
        ("2\na 0\n", r"entity2id\.txt:1: says that 2 lines follow, found 1"),
        (None, r"train2id\.txt: entity2id\.txt is not beside it"),
    ],
)
def test_names_of_openke_must_be_whole(tmp_path, entities, message):
    given = {} if entities is None else {"entity2id": entities}
    paths = write(tmp_path, train2id="1\n0 0 0\n", relation2id="1\nr 0\n", **given)
    with pytest.raises((DataError, MalformedStatement), match=message):
        account(paths, "openke")


def test_hynt(tmp_path):
    lines = [
        'a\thasArea\t"73.32"^^<km2>',
        'a\tbornOn\t"949-12-25"^^xsd:date\tsince\t"3"^^xsd:integer\tby\tb',
        'a\tisIn\tc\tsince\t"-1.5"^^</km2>',
    ]
    graph = read(write(tmp_path, train="3\n" + "\n".join(lines) + "\n"), format="hynt")
    quantity = "http://wikiba.se/ontology#Quantity"
    assert spelled(graph) == {
        ("a", "hasArea", f'"73.32 km2"^^<{quantity}>', (), "TRAIN"),
        ("a", "bornOn", f'"0949-12-25"^^<{XSD}date>', (("by", "b"), ("since", f'"3"^^<{XSD}integer>')), "TRAIN"),
        ("a", "isIn", "c", (("since", f'"-1.5 /km2"^^<{quantity}>'),), "TRAIN"),
    }
    assert np.allclose(np.sort(graph.literals.number), [-1.5, 3, 73.32, 949.98], atol=0.01)


def test_an_entity_known_by_numbers_alone(tmp_path):
    graph = read(write(tmp_path, train='1\nlonely\thasArea\t"1"^^<km2>\n'), format="hynt")
    assert graph.entities.names.to_pylist() == ["lonely"]
    assert len(graph.literals) == 1


def test_benchmark_labels_and_inductive_parts(tmp_path):
    for folder in ("g_v1", "g_v1_ind"):
        (tmp_path / folder).mkdir()
    training = write(tmp_path / "g_v1", train="a\tr\tb\n", dev="a\tr\tb\t1\na\tr\tc\t-1\r\n")
    ranked = write(tmp_path / "g_v1_ind", train="x\tr\ty\n", test="y\tr\tx\n", inference="y\tr\tz\n")
    graph = read([*training, *ranked], format="benchmark")
    assert spelled(graph) == {
        ("a", "r", "b", (), "TRAIN"),
        ("a", "r", "b", (), "VALID"),
        ("x", "r", "y", (), "CONTEXT"),
        ("y", "r", "z", (), "CONTEXT"),
        ("y", "r", "x", (), "TEST"),
    }
    (false,) = range(len(graph.negatives))
    assert graph.entities.name(graph.negatives.object[false]) == "c"
    assert graph.negatives.split[false] == Split.VALID


def test_names_that_begin_with_a_quotation_mark_are_names(tmp_path):
    graph = read(write(tmp_path, train='"Heroes"_(song)\tby\t"Weird_Al"_Yankovic\n'), format="benchmark")
    assert graph.entities.names.to_pylist() == ['"Heroes"_(song)', '"Weird_Al"_Yankovic']


@pytest.mark.parametrize(
    ("format", "line", "message"),
    [
        (
            "wd50k",
            "a,r",
            r"train\.txt:2:4: expected subject,relation,object and pairs of qualifiers, found 2 fields\. Use",
        ),
        ("wd50k", "a,r,b,k", r"train\.txt:2:8: .* found 4 fields"),
        ("wd50k", "a,r,,k,x", r"train\.txt:2:5: .* found an empty field"),
        ("nary", "r a", r"train\.txt:2:4: expected a relation and at least two values, found 2 fields"),
        ("nary", "instance7 r a", r"train\.txt:2:14: .*, found 2 fields"),
        ("benchmark", "a\tr", r"train\.txt:2:4: expected head, relation, tail and perhaps a label, found 2 fields"),
        ("benchmark", "a\tr\tb\t0", r"train\.txt:2:7: expected the label 1 or -1, found 0"),
        ("benchmark", "a\t\tb", r"train\.txt:2:3: expected fields divided by tabs, found an empty one"),
        ("hynt", "a\tr\tb\tk", r"train\.txt:2:8: .* divided by tabs, found 4 fields"),
        ("hynt", 'a\tr\t"1"', r'train\.txt:2:5: expected literals like "73\.32"\^\^<km2>'),
        ("hynt", '"1"^^<m>\tr\tb', r"train\.txt:2:1: expected an entity as subject, found a literal"),
        ("wikipeople", '{"P1_h": "Q1"', r"n-ary_train\.json:2:\d+: not JSON: "),
        ("wikipeople", "[]", r"n-ary_train\.json:2: expected an object with roles as keys"),
        ("wikipeople", '{"P1_h": "Q1", "P2_t": "Q2", "N": 2}', r":2: expected one pair of roles that end in _h and _t"),
        ("wikipeople", '{"P1_h": "Q1", "P1_t": "Q2", "N": 3}', r":2: N says 3 values, found 2"),
        ("wikipeople", '{"P1_h": "Q1", "P1_t": 2, "N": 2}', r":2: expected every value to be a string"),
        ("wikipeople", '{"P1_h": "Q1", "P1_t": "Q2", "N": 2, "P3": {}}', r":2: expected every value to be a string"),
    ],
)
def test_malformed_lines_are_named_or_skipped(tmp_path, format, line, message):
    good = {
        "wd50k": "a,r,b",
        "nary": "r a b",
        "benchmark": "a\tr\tb",
        "hynt": "2",
        "wikipeople": '{"P1_h": "Q1", "P1_t": "Q2", "N": 2}',
    }[format]
    last = "a\tr\tb" if format == "hynt" else good
    stem = "n_ary_train" if format == "wikipeople" else "train"
    paths = write(tmp_path, **{stem: f"{good}\n{line}\n{last}\n"})
    with pytest.raises(MalformedStatement, match=message):
        account(paths, format)
    (report,) = account(paths, format, skip=True).values()
    assert report.malformed == 1
    assert report.kept["statements"] == 1
    graph = read(paths, format=format, options=ReadOptions(on_error="skip"))
    assert graph.provenance["report"]["notes"]["malformed"] == 1


@pytest.mark.parametrize("format", [format for format in NATIVE if format not in ("hynt", "openke", "wikipeople")])
def test_bytes_that_are_not_utf8(tmp_path, format):
    line = {"wd50k": b"a,r,b", "nary": b"r a b", "benchmark": b"a\tr\tb"}[format]
    paths = write(tmp_path, train=line + b"\n" + line.replace(b"b", b"\xff") + b"\n")
    with pytest.raises(MalformedStatement, match=r"train\.txt:2:\d: not UTF-8"):
        account(paths, format)
    report = account(paths, format, skip=True)["train.txt"]
    assert (report.read, report.malformed) == (1, 1)


def test_the_partial_files_of_wikipeople(mirror):
    reports = account(sorted((mirror / "hyper-relational/wikipeople-partial").glob("n-ary*")), "wikipeople")
    assert {name: report.read for name, report in reports.items()} == {
        "n-ary_test.json.xz": 38281,
        "n-ary_valid.json.xz": 38223,
    }
    assert reports["n-ary_valid.json.xz"].kept == {"statements": 37715, "literals": 508}
    graph = read([mirror / "hyper-relational/wikipeople-partial/n-ary_valid.json.xz"])
    curie = [fact for fact in spelled(graph) if fact[:3] == ("Q7186", "P166", "Q38104")]
    assert curie == [
        (
            "Q7186",
            "P166",
            "Q38104",
            (("P1706", "Q37463"), ("P1706", "Q41269"), ("P585", f'"1903"^^<{XSD}gYear>')),
            "VALID",
        )
    ]


def companion_of(tmp_path, role, content, **given):
    (path,) = write(tmp_path, companion=content)
    return Companion(Source(path, path.name), role, **given)


def batch_with(*companions):
    builder = BatchBuilder()
    builder.add_statements(["Q1"], ["P1"], ["Q2"])
    add_companions(builder, companions)
    return builder.build()


def test_classes_written_as_python_sets(tmp_path):
    content = 'entity,classes\nA,set()\n"B,_C",{\'Film\'}\nD,"{""O\'Neil"", \'Film\'}"\n'
    batch = batch_with(companion_of(tmp_path, "entity_classes_csv", content))
    terms = batch.terms.to_pylist()
    found = {(terms[entity], terms[type_]) for entity, type_ in batch.type_of.T}
    assert found == {("B,_C", "Film"), ("D", "O'Neil"), ("D", "Film")}


@pytest.mark.parametrize(
    ("role", "content", "message"),
    [
        ("entity_classes_csv", "entity,classes\nA,__import__('os')\n", "companion.txt: not in the layout of entity_cl"),
        ("entity_classes_csv", 'entity,classes\nA,"{1, 2}"\n', "line 2: expected a set of strings"),
        ("entity_classes_csv", "A,{'b'}\n", "line 1 is not the header entity,classes"),
        ("entity_types_tsv", "Q1 Q5\n", "line 1 has no tab"),
        ("literals_tsv", 'Q1\tP1\t"1"\n', "line 1 is not a subject, an attribute and a literal with its datatype"),
    ],
)
def test_companions_in_another_layout(tmp_path, role, content, message):
    with pytest.raises(DataError, match=message):
        batch_with(companion_of(tmp_path, role, content))


def test_texts_of_attributes_aliases_and_prefixes(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "aliases").mkdir()
    numbers = companion_of(tmp_path, "literals_tsv", f'1\tP9_Q199\t"+2.5"^^<{XSD}decimal>\n', prefix="Q")
    labels = companion_of(tmp_path / "labels", "attribute_labels_tsv", "P9\theight\nP8\twidth\n")
    aliases = companion_of(tmp_path / "aliases", "entity_aliases_tsv", "Q1\tone, first\n")
    batch = batch_with(numbers, labels, aliases)
    terms = batch.terms.to_pylist()
    texts = list(zip((terms[owner] for owner in batch.texts.owner), batch.texts.text.to_pylist(), strict=True))
    assert texts == [("P9_Q199", "height"), ("P8", "width"), ("Q1", "one"), ("Q1", "first")]
    literals = [terms[place] for place in batch.statements.object[batch.statements.object_is_literal]]
    assert literals == [f'"2.5"^^<{XSD}decimal>']
