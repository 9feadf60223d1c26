"""Manifests, fetching and exact counts."""

import hashlib
import lzma
import os
import tarfile
import urllib.error
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kgservice import datasets, resources
from kgservice.datasets import Manifest, downloads
from kgservice.datasets.downloads import Download, fetch_file
from kgservice.errors import DataError, RecipeError, UnknownDataset
from kgservice.graph.statements import Split
from kgservice.graph.texts import TextKind
from kgservice.graph.withholding import stating_types
from kgservice.readers import FORMATS

MIRROR = os.environ.get("KGSERVICE_DATA_MIRROR")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="set KGSERVICE_DATA_MIRROR to a folder of the public data sets")


MIRROR_ONLY = {("blp-fb15k-237", "train.txt")}
"""Files that were rebuilt from others: they have no address."""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def offline(monkeypatch):
    """No mirror, no network, no waiting."""
    calls = []

    def refuse(request, timeout):
        calls.append(request.full_url)
        raise urllib.error.URLError("no network here")

    monkeypatch.delenv("KGSERVICE_DATA_MIRROR", raising=False)
    monkeypatch.setattr(downloads.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    return calls


@pytest.mark.parametrize("name", datasets.names())
def test_every_manifest_is_whole(name):
    described = datasets.manifest(name)
    assert described.title
    assert described.licence
    assert described.format in FORMATS
    for file in described.files:
        assert file.url or file.optional or file.source == "bundled" or (name, file.path) in MIRROR_ONLY
        assert file.format is None or file.format in FORMATS
        assert file.url is None or " " not in file.url
    if not described.is_bundled:
        assert {"entities", "relations", "train", "valid", "test", "negatives"} <= set(described.expected)


@needs_mirror
@pytest.mark.parametrize("name", [name for name in datasets.names() if not datasets.manifest(name).is_bundled])
def test_exact_counts(name, home):
    described, graph = datasets.manifest(name), datasets.load(name, Path(MIRROR))
    report = graph.provenance["report"]
    assert report["read"] == sum(report["kept"].values()) + sum(report["dropped"].values())
    assert str(home) not in str(graph.provenance)

    # A line of a file of statements is a statement: what is not kept is a duplicate, and nothing is malformed.
    lines = 0
    for file in described.files:
        format = file.format or described.format
        if file.role in datasets.SPLIT_ROLES:
            content = (home / "downloads" / name / file.path).read_bytes()
            lines += sum(bool(line.strip()) for line in content.split(b"\n")) - (format in ("openke", "hynt"))
    counts = graph.counts()
    in_files = counts["statements"] + counts["negatives"] + (counts["literals"] if described.format == "hynt" else 0)
    assert in_files + report["dropped"].get("duplicate", 0) + graph.provenance.get("withheld", 0) == lines
    assert "malformed" not in report["notes"]


def facts_by_hand(path, read):
    """An independent parse, line by line."""
    return [read(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


@needs_mirror
def test_qualifiers_against_an_independent_parse(home):
    graph = datasets.load("wd50k-100", Path(MIRROR))
    rows = facts_by_hand(home / "downloads" / "wd50k-100" / "train.txt", lambda line: line.split(","))
    expected = {(*row[:3], tuple(sorted(zip(row[3::2], row[4::2], strict=True)))) for row in rows}
    assert statements_of(graph, Split.TRAIN) == expected

    graph = datasets.load("jf17k", Path(MIRROR))
    rows = facts_by_hand(home / "downloads" / "jf17k" / "test.txt", lambda line: line.split("\t")[1:])
    places = range(3, 8)
    expected = {
        (
            row[1],
            row[0],
            row[2],
            tuple((f"{row[0]}_{place}", value) for place, value in zip(places, row[3:], strict=False)),
        )
        for row in rows
    }
    assert statements_of(graph, Split.TEST) == expected
    # The trap that the manifest tells of.
    train = {fact[:3] for fact in statements_of(graph, Split.TRAIN)}
    assert sum(fact[:3] in train for fact in expected) / len(expected) == pytest.approx(0.446, abs=0.0005)


def statements_of(graph, split):
    table, name, of = graph.statements, graph.entities.name, graph.relations.name
    return {
        (
            name(table.subject[row]),
            of(table.relation[row]),
            name(table.object[row]),
            tuple(
                sorted(
                    (of(table.qualifier_relation[pair]), name(table.qualifier_value[pair]))
                    for pair in range(table.qualifier_offset[row], table.qualifier_offset[row + 1])
                )
            ),
        )
        for row in (table.split == split).nonzero()[0]
    }


@needs_mirror
@pytest.mark.parametrize("name", ["fb237-v1", "wn18rr-v4", "nell-v2", "ilpc2022-small"])
def test_inference_graphs_share_no_entity_with_training(name):
    table = datasets.load(name, Path(MIRROR)).statements
    entities = {
        split: set(table.subject[table.split == split]) | set(table.object[table.split == split]) for split in Split
    }
    assert not entities[Split.TRAIN] & entities[Split.CONTEXT]
    assert entities[Split.TEST] <= entities[Split.CONTEXT]
    assert entities[Split.VALID] <= entities[Split.CONTEXT if name.startswith("ilpc") else Split.TRAIN]


@needs_mirror
def test_every_held_out_statement_of_blp_has_a_new_entity():
    table = datasets.load("blp-wn18rr", Path(MIRROR)).statements
    is_train = table.split == Split.TRAIN
    seen = np.union1d(table.subject[is_train], table.object[is_train])
    assert not (np.isin(table.subject, seen) & np.isin(table.object, seen))[~is_train].any()


@needs_mirror
def test_wn18_leaks_and_triple_classification_is_balanced():
    table = datasets.load("wn18", Path(MIRROR)).statements
    pairs = table.subject.astype(np.int64) << 32 | table.object
    inverse = table.object.astype(np.int64) << 32 | table.subject
    is_test = table.split == Split.TEST
    assert np.isin(inverse[is_test], pairs[table.split == Split.TRAIN]).mean() == pytest.approx(0.94, abs=0.005)

    graph = datasets.load("fb13", Path(MIRROR))
    assert (graph.negatives.split == Split.TEST).sum() == 47466 // 2 - 2  # two are there twice
    assert (graph.negatives.split == Split.VALID).sum() == 11816 // 2
    male = graph.entities.id("male")
    row = graph.negatives.take(graph.negatives.subject == graph.entities.id("cornelie_van_zanten"))
    assert (graph.relations.name(row.relation[0]), row.object[0]) == ("gender", male)


@needs_mirror
def test_numbers_types_and_texts_of_benchmarks():
    graph = datasets.load("litwd1k", Path(MIRROR))
    gabon, attribute = graph.entities.id("Q1000"), graph.relations.id("P1082_Q199")
    rows = graph.literals.rows_of(gabon)
    (row,) = rows[graph.literals.statements.relation[rows] == attribute]
    assert graph.literals.number[graph.literals.statements.object[row]] == 2025137
    assert graph.relation_texts.label(attribute) == "population"
    assert graph.texts.label(gabon) == "Gabon"
    assert "Gabonese Republic" in [text for owner, kind, _, text in graph.texts.items() if owner == gabon]
    assert not np.isnan(graph.literals.number).any()

    graph = datasets.load("hn-yg", Path(MIRROR))
    rows = graph.literals.rows_of(graph.entities.id("YAGO_Leicester"))
    assert 73.32 in graph.literals.number[graph.literals.statements.object[rows]]
    unread = graph.literals.vocabulary.names.filter(np.isnan(graph.literals.number)).to_pylist()
    assert [one.partition("^^")[0] for one in unread] == ['"2016-20-11"']  # no day of any calendar
    assert (graph.literals.statements.split == Split.TRAIN).sum() == 24892

    graph = datasets.load("dbpedia50", Path(MIRROR))
    einstein = graph.entities.id("Albert_Einstein")
    assert [graph.types.vocabulary.name(type_) for type_ in graph.types.of_entity[einstein]] == ["Scientist"]

    graph = datasets.load("mkg-w", Path(MIRROR))
    assert sum(bool(label) for label in graph.texts.labels(range(graph.n))) >= 5957


@pytest.mark.skipif(not any((resources.share() / "data" / "world").glob("*.ttl")), reason="no data/world/*.ttl")
def test_the_bundled_graph(offline):
    graph = datasets.load("world")
    assert all(graph.texts.labels(range(graph.n)))
    report = graph.provenance["report"]
    assert report["read"] == sum(report["kept"].values()) + sum(report["dropped"].values())


@needs_mirror
def test_texts_and_types_of_benchmarks():
    graph = datasets.load("codex-s", Path(MIRROR))
    boston = graph.entities.id("Q100")
    assert graph.texts.label(boston) == "Boston"
    assert [graph.types.vocabulary.name(t) for t in graph.types.of_entity[boston]]
    assert graph.relation_texts.label(graph.relations.id("P101"), "de") == "Arbeitsgebiet"
    assert sorted(graph.relation_texts.languages()) == ["ar", "de", "en", "es", "ru", "zh"]
    assert graph.types.texts.label(0)

    graph = datasets.load("umls", Path(MIRROR))
    assert all(graph.texts.labels(range(graph.n)))
    assert graph.texts.description(graph.entities.id("virus")).startswith("A virus is a small infectious agent")


@needs_mirror
def test_a_task_of_types_has_no_statement_that_tells_them():
    graph, whole = (datasets.load(name, Path(MIRROR)) for name in ("wd50k-nc", "wd50k"))
    held_out = [pair for part in datasets.held_out_types("wd50k-nc", Path(MIRROR)).values() for pair in part]
    assert len(held_out) == 26_505 + 26_670
    assert not stating_types(graph, held_out).any()
    assert graph.relations.id("P31") not in graph.statements.relation
    # Counted apart from this code when the data set was described.
    assert stating_types(replace(whole, types=graph.types), held_out).sum() == 7_378


def mirror_with(tmp_path, content=b"a\tr\tb\n"):
    (tmp_path / "mirror").mkdir(exist_ok=True)
    (tmp_path / "mirror" / "train.txt.xz").write_bytes(lzma.compress(content))
    return tmp_path / "mirror"


def wanted(tmp_path, content=b"a\tr\tb\n", **changes):
    given = {"mirror": "train.txt.xz", "url": None, **changes}
    return Download(tmp_path / "set" / "train.txt", hashlib.sha256(content).hexdigest(), len(content), **given)


def test_a_mirrored_file_is_unpacked_and_verified(tmp_path, offline):
    assert fetch_file(wanted(tmp_path), mirror=mirror_with(tmp_path))
    assert (tmp_path / "set" / "train.txt").read_bytes() == b"a\tr\tb\n"
    assert fetch_file(wanted(tmp_path))  # intact: nothing is asked of anyone
    assert not offline


def test_the_mirror_may_be_named_by_the_environment(tmp_path, offline, monkeypatch):
    monkeypatch.setenv("KGSERVICE_DATA_MIRROR", str(mirror_with(tmp_path)))
    assert fetch_file(wanted(tmp_path))


def test_a_wrong_file_is_never_put_into_place(tmp_path, offline):
    with pytest.raises(
        DataError, match=r"set/train\.txt: the mirror's train\.txt\.xz is not .* expected sha256 \w{64}"
    ):
        fetch_file(wanted(tmp_path), mirror=mirror_with(tmp_path, b"tampered"))
    assert list((tmp_path / "set").iterdir()) == []


def test_a_damaged_file_is_fetched_anew(tmp_path, offline):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.txt").write_bytes(b"half of")
    assert fetch_file(wanted(tmp_path), mirror=mirror_with(tmp_path))
    assert (tmp_path / "set" / "train.txt").read_bytes() == b"a\tr\tb\n"


def test_no_network_says_what_to_do(tmp_path, offline):
    with pytest.raises(DataError, match=r"https://host/train\.txt cannot be fetched: .*no network here.*--mirror"):
        fetch_file(wanted(tmp_path, url="https://host/train.txt"))
    assert offline == ["https://host/train.txt"] * downloads.ATTEMPTS
    with pytest.raises(DataError, match="no public address and is not in a mirror"):
        fetch_file(wanted(tmp_path))
    assert not fetch_file(wanted(tmp_path, optional=True))


def test_members_of_archives(tmp_path, monkeypatch):
    (tmp_path / "train.txt").write_bytes(b"a\tr\tb\n")
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "train.txt", "Set/._train.txt")
        tar.add(tmp_path / "train.txt", "Set/train.txt")
    monkeypatch.setattr(
        downloads, "_save", lambda url, path, title: path.write_bytes((tmp_path / "set.tar.gz").read_bytes())
    )
    assert fetch_file(wanted(tmp_path, url="https://host/set.tar.gz", member="train.txt"))
    with pytest.raises(DataError, match=r"holds no nothing\.txt\. Correct `member`"):
        fetch_file(wanted(tmp_path / "other", url="https://host/set.tar.gz", member="nothing.txt"))


def test_unknown_names_offer_the_closest():
    with pytest.raises(UnknownDataset, match=r"'codexs' is not a dataset with a manifest .*Closest: 'codex-s'"):
        datasets.load("codexs")


MANIFEST = """title = "T"
description = "D"
licence = "none"
format = "tsv"
[[files]]
path = "train.txt"
role = "train"
mirror = "train.txt.xz"
sha256 = "{sha256}"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence", "license", r"set\.toml: license is not a key\. Did you mean licence\?"),
        ("mirror =", "miror =", r"set\.toml: files\.0\.miror is not a key\. Did you mean mirror\?"),
        ('role = "train"', 'role = "entity_label_tsv"', "is not a role. Did you mean entity_labels_tsv"),
        ('role = "train"', 'role = "valid"', r"must be named valid\.txt"),
        ('role = "train"', 'role = "context"', r"must be named context\.txt"),
        ('role = "train"', 'role = "test_negatives"', r"must be named test_negatives\.txt"),
        ("sha256", "size_bytes = 3 #", "a download needs sha256"),
        ('format = "tsv"', "", r"set\.toml: format is missing"),
        ("title", "title = ", "cannot be read as TOML"),
    ],
)
def test_manifests_are_closed(tmp_path, old, new, message):
    (tmp_path / "set.toml").write_text(MANIFEST.replace("{sha256}", "0" * 64).replace(old, new))
    with pytest.raises(RecipeError, match=message):
        Manifest.load(tmp_path / "set.toml")


@pytest.fixture
def share(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "share", lambda: tmp_path / "share")
    (tmp_path / "share" / "data").mkdir(parents=True)
    return tmp_path / "share" / "data"


def test_counts_are_checked(tmp_path, share, offline):
    digest = hashlib.sha256(b"a\tr\tb\n").hexdigest()
    (share / "set.toml").write_text(
        MANIFEST.format(sha256=digest) + "[expected]\nentities = 3\nrelations = 1\nfrogs = 1\n"
    )
    with pytest.raises(DataError, match="set: entities: expected 3, found 2; frogs is not a count"):
        datasets.load("set", mirror_with(tmp_path))


def test_labels_fill_gaps_in_order(tmp_path, share, offline):
    contents = {"first.txt": b"a\tA\nunknown\tU\n", "second.txt": b"a\tother\nb\tB\tsource\n"}
    text = MANIFEST.format(sha256=hashlib.sha256(b"a\tr\tb\n").hexdigest())
    for name, content in contents.items():
        (mirror_with(tmp_path) / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        text += f'[[files]]\npath = "{name}"\nrole = "entity_labels_tsv"\nmirror = "{name}"\nsha256 = "{digest}"\n'
    (share / "set.toml").write_text(text)
    graph = datasets.load("set", tmp_path / "mirror")
    assert list(graph.texts.items()) == [(0, TextKind.LABEL, "en", "A"), (1, TextKind.LABEL, "en", "B")]
    assert [path.name for path in datasets.files("set")] == ["first.txt", "second.txt", "train.txt"]


def test_files_of_other_formats_and_files_beside(tmp_path, share, offline):
    contents = {
        "train2id.txt": (b"1\n0 1 0\n", 'role = "train"'),
        "entity2id.txt": (b"2\nhttp://e/a 0\nhttp://e/b 1\n", 'role = "names"'),
        "relation2id.txt": (b"1\nr 0\n", 'role = "names"'),
        "dev.tsv": (b"http://e/b\tr\tc\t1\nhttp://e/b\tr\td\t-1\n", 'role = "valid"\nformat = "benchmark"'),
        "inference.txt": (b"x\tr\ty\n", 'role = "context"\nformat = "benchmark"'),
        "labels.txt": (b"a\tA\n", 'role = "entity_labels_tsv"\nprefix = "http://e/"'),
        "answers.json": (b"not read", 'role = "beside"'),
    }
    text = MANIFEST.partition("[[files]]")[0].replace("tsv", "openke")
    for name, (content, said) in contents.items():
        (mirror_with(tmp_path) / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        text += f'[[files]]\npath = "{name}"\n{said}\nmirror = "{name}"\nsha256 = "{digest}"\n'
    (share / "set.toml").write_text(
        text + "[expected]\ntrain = 1\nvalid = 1\ncontext = 1\nnegatives = 1\nentities = 6\n"
    )
    graph = datasets.load("set", tmp_path / "mirror")
    assert graph.texts.label(graph.entities.id("http://e/a")) == "A"
    assert "answers.json" in [path.name for path in datasets.files("set")]
    assert "answers.json" not in str(graph.provenance)
