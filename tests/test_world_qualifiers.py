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
from kgservice.release import ReleaseStore

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "qualifiers.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def engine(release_store: ReleaseStore) -> Engine:
    return Engine.open(release_store.get())


@pytest.mark.parametrize(
    ("subject", "relation", "qualifier", "answers"),
    [
        ("France", "currency", "startTime", {"1960": "French_Franc", "1999": "Euro"}),
        (
            "Afghanistan",
            "currency",
            "startTime",
            {"1927-03-14": "Afghan_Afghani_1927-2002", "2002-10-07": "Afghan_Afghani"},
        ),
        ("Croatia", "currency", "startTime", {"1994-05-30": "Croatian_Kuna", "2023-01-01": "Euro"}),
        ("Italy", "currency", "startTime", {"1862-08-24": "Italian_Lira", "1999-01-01": "Euro"}),
        (
            "France",
            "memberOf",
            "startTime",
            {"1949": "NATO", "1975": "European_Space_Agency", "1995": "World_Trade_Organization"},
        ),
    ],
)
def test_the_answer_changes_with_the_qualifier(
    engine: Engine, subject: str, relation: str, qualifier: str, answers: dict[str, str]
) -> None:
    """Each pair of questions differs in one value alone."""
    questions = [
        Question(f"world:{subject}", f"world:{relation}", qualifiers=(Pair(f"world:{qualifier}", value),))
        for value in answers
    ]
    found = engine.complete(questions, k=1, exclude_known=False)
    assert [answer.candidates[0].id for answer in found] == [f"world:{name}" for name in answers.values()]
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
