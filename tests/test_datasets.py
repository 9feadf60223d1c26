"""Manifests, fetching and exact counts."""

import hashlib
import lzma
import os
import tarfile
import urllib.error
from pathlib import Path

import pytest

from kgservice import datasets, downloads, resources
from kgservice.datasets import Manifest
from kgservice.downloads import Download, fetch_file
from kgservice.errors import DataError, RecipeError, UnknownDataset
from kgservice.readers import FORMATS
from kgservice.texts import TextKind

MIRROR = os.environ.get("KGSERVICE_DATA_MIRROR")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="set KGSERVICE_DATA_MIRROR to a folder of the public data sets")


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
        assert file.url or file.optional or file.source == "bundled"
        assert file.url is None or " " not in file.url
    if not described.is_bundled:
        assert {"entities", "relations", "train", "valid", "test", "negatives"} <= set(described.expected)


@needs_mirror
@pytest.mark.parametrize("name", [name for name in datasets.names() if not datasets.manifest(name).is_bundled])
def test_exact_counts(name, home):
    graph = datasets.load(name, Path(MIRROR))
    files = graph.provenance["report"]["files"]
    assert all(file["read"] == sum(file["kept"].values()) for file in files)
    assert (home / "downloads" / name / "train.txt").is_file()
    assert str(home) not in str(graph.provenance)


@pytest.mark.skipif(not any((resources.share() / "data" / "world").glob("*.ttl")), reason="no data/world/*.ttl")
def test_the_bundled_graph(offline):
    graph = datasets.load("world")
    assert all(graph.texts.labels(range(graph.n)))
    total = graph.provenance["report"]["total"]
    assert total["read"] == sum(total["kept"].values()) + sum(total["dropped"].values())


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
