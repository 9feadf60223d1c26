"""Texts by owner, kind and language."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice.graph.texts import FALLBACK_LANGUAGES, TextKind, Texts

ROWS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(list(TextKind)),
        st.sampled_from(["", "en", "de", "mul", "zh"]),
        st.text(max_size=4),
    ),
    max_size=25,
)


def build(rows):
    return Texts.build(*([row[place] for row in rows] for place in range(4)))


@given(ROWS, st.randoms(use_true_random=False))
def test_each_row_once_in_whatever_order(rows, rng):
    texts = build(rows)
    assert set(texts.items()) == set(rows)
    assert len(texts) == len(set(rows))
    shuffled = [*rows, *rows[:3]]
    rng.shuffle(shuffled)
    assert build(shuffled).digest() == texts.digest()
    assert [row for owner in range(5) for row in texts.rows(owner)] == [row[1:] for row in texts.items()]


@given(ROWS, st.sampled_from(["en", "de", "fr"]))
def test_preferred_language(rows, language):
    found = build(rows).labels([-1, 0, 1, 2, 3, 4, 99], language)
    assert found[0] is None
    assert found[-1] is None
    for owner in range(5):
        labels = sorted((code, text) for o, kind, code, text in rows if (o, kind) == (owner, TextKind.LABEL))
        order = dict.fromkeys((language, *FALLBACK_LANGUAGES, *(code for code, _ in labels)))
        expected = next((text for wanted in order for code, text in labels if code == wanted), None)
        assert found[owner + 1] == expected


@settings(deadline=None)
@given(ROWS)
def test_reopened_is_equal(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("texts") / "texts.arrow"
    texts = build(rows)
    texts.save(path)
    assert Texts.open(path).digest() == texts.digest()
    assert list(Texts.open(path).items()) == list(texts.items())
