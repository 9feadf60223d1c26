"""Names and numbers: a bijection that survives extension and the disk."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice.graph.vocabulary import Vocabulary

NAMES = st.lists(st.text(max_size=6).filter(lambda s: s.isprintable()), max_size=30)


@given(NAMES)
def test_ids_follow_the_bytes_of_the_names(names):
    vocabulary = Vocabulary.build(names)
    expected = sorted(set(names), key=lambda name: name.encode())
    assert vocabulary.names.to_pylist() == expected
    assert [vocabulary.id(name) for name in expected] == list(range(len(expected)))
    assert vocabulary.ids(names).tolist() == [vocabulary.id(name) for name in names]
    assert vocabulary.names_of(range(len(expected))) == [vocabulary.name(i) for i in range(len(expected))] == expected


@given(NAMES, NAMES, NAMES)
def test_extending_keeps_ids(first, second, third):
    base = Vocabulary.build(first)
    grown = base.extend(second).extend(third)
    assert grown.names.to_pylist()[: len(base)] == base.names.to_pylist()
    assert sorted(grown.names.to_pylist()) == sorted({*first, *second, *third})
    assert all(grown.name(grown.id(name)) == name for name in {*first, *second, *third})


@settings(deadline=None)
@given(NAMES, NAMES)
def test_reopened_is_equal(tmp_path_factory, first, second):
    path = tmp_path_factory.mktemp("vocabulary") / "names.arrow"
    vocabulary = Vocabulary.build(first).extend(second)
    vocabulary.save(path)
    reopened = Vocabulary.open(path)
    assert reopened == vocabulary
    assert reopened.names.to_pylist() == vocabulary.names.to_pylist()
    assert [reopened.id(name) for name in first] == vocabulary.ids(first).tolist()


def test_absent_names_and_ids():
    vocabulary = Vocabulary.build(["b", "a"])
    assert (vocabulary.id("c"), "c" in vocabulary, "a" in vocabulary) == (-1, False, True)
    assert vocabulary.ids(["c", "a"]).tolist() == [-1, 0]
    with pytest.raises(IndexError, match=r"id 2 is outside \[0, 2\)"):
        vocabulary.name(2)


def test_hash_tells_content_apart():
    assert Vocabulary.build(["ab", "c"]).content_hash != Vocabulary.build(["a", "bc"]).content_hash
    assert Vocabulary.build(["a", "b"]).content_hash == Vocabulary.build(["b", "a", "a"]).content_hash
