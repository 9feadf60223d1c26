"""The sample graph's questions whose answer changes with the qualifier, and docs/qualifiers.md, whose commands run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kgservice.answers import Pair, Question
from kgservice.cli import cli
from kgservice.engine import Engine
from kgservice.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "qualifiers.md").read_text(encoding="utf-8")


JAPAN = {"1956": "United_Nations", "1989": "APEC", "1995": "World_Trade_Organization"}
PERU = {"1945": "United_Nations", "1969": "Andean_Community", "1995": "World_Trade_Organization"}


@pytest.mark.parametrize(
    ("subject", "relation", "qualifier", "answers"),
    [
        ("France", "currency", "startTime", {"1960": "French_Franc", "1999": "Euro"}),
        ("Italy", "currency", "startTime", {"1862-08-24": "Italian_Lira", "1999-01-01": "Euro"}),
        ("Japan", "memberOf", "startTime", JAPAN),
        ("Peru", "memberOf", "startTime", PERU),
        ("Ethiopia", "memberOf", "startTime", {"1945": "United_Nations", "2002": "African_Union"}),
    ],
)
def test_the_answer_changes_with_the_qualifier(
    engine: Engine, subject: str, relation: str, qualifier: str, answers: dict[str, str]
) -> None:
    """The questions differ in one value alone; of their answers each has its own before the others'."""
    questions = [
        Question(f"world:{subject}", f"world:{relation}", qualifiers=(Pair(f"world:{qualifier}", value),))
        for value in answers
    ]
    expected = [f"world:{name}" for name in answers.values()]
    found = engine.complete(questions, k=100, exclude_known=False)
    first = [next(one for one in answer.candidates if one.id in expected) for answer in found]
    assert [one.id for one in first] == expected
    assert sum(one.rank == 1 for one in first) >= len(first) - 1
    assert {answer.model for answer in found} == {"hyperformer"}


@pytest.mark.parametrize("words", [shlex.split(line) for line in re.findall(r"^kgservice .*$", PAGE, re.MULTILINE)])
def test_commands_of_the_page(words: list[str], world_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGSERVICE_HOME", str(world_home))
    done = CliRunner().invoke(cli, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_python_of_the_page(engine: Engine) -> None:
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code, "docs/qualifiers.md", "exec"), {"engine": engine})


def test_recipe_of_the_page() -> None:
    import tomllib

    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    recipe = Recipe.parse({"name": "page", **tomllib.loads(text)})
    assert recipe.models["hyperformer"].transformer.qualifiers == 6
