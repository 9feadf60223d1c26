"""Where the words of a question stand in what was found."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice.search.highlights import highlight
from kgservice.search.matching import Question


def shown(text: str, query: str) -> str:
    return "".join(f"[{part.text}]" if part.marked else part.text for part in highlight(text, Question.of(query).words))


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("New York City", "new yo", "[New] [Yo]rk City"),
        ("New York City", "york", "New [York] City"),
        ("Eiffel Tower", "eifel twoer", "[Eiffel] [Tower]"),
        ("Côte d’Ivoire", "cote d ivoire", "[Côte] [d]’[Ivoire]"),
        ("Straße", "stras", "[Straß]e"),
        ("Zu\u0308rich", "zur", "[Zu\u0308r]ich"),
        ("法国法律", "法国", "[法国法]律"),
        ("Франция", "фран", "[Фран]ция"),
        ("فَرَنْسا", "فرنسا", "[فَرَنْسا]"),
        ("ＡＢＣ", "abc", "[ＡＢＣ]"),
        ("C++", "c++", "[C++]"),
        ("France", "", "France"),
        ("", "x", ""),
    ],
)
def test_words_are_marked(text: str, query: str, expected: str) -> None:
    assert shown(text, query) == expected


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.text(max_size=30))
def test_parts_are_the_text_and_alternate(text: str, query: str) -> None:
    parts = highlight(text, Question.of(query).words)
    assert "".join(part.text for part in parts) == text
    assert all(part.text for part in parts)
    assert all(one.marked != other.marked for one, other in pairwise(parts))


def test_a_long_text_is_read_to_a_limit() -> None:
    parts = highlight("france " * 100_000, ("france",))
    assert "".join(part.text for part in parts) == "france " * 100_000
    assert not parts[-1].marked
