"""`complete`, `classify`, `search`, `similar`, `types` and `show`: the answers of REST in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kgservice.cli.lines import (
    answer_lines,
    page_lines,
    print_answer,
    search_lines,
    similar_lines,
    types_lines,
    verdict_lines,
)

if TYPE_CHECKING:
    from kgservice.answers import Pair
    from kgservice.engine import Engine

HOLES = ("?", "_")
"""What stands for the missing part; `_` needs no quotes in any shell."""

Command = TypeVar("Command", bound=Callable[..., Any])


def options(command: Command) -> Command:
    """What every question takes: a release, a language, and JSON or lines."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The exact JSON of REST."),
        click.option("--language", default="en", show_default=True, help="Of labels and descriptions."),
        click.option("--release", help="Id of the release to ask; the current one by default."),
    ):
        command = option(command)
    return command


_k = click.option("-k", type=int, default=10, show_default=True, help="How many, the best first.")
_types = click.option("--type", "types", multiple=True, help="Only entities of this type; repeatable.")
_filters = click.option(
    "--filter", "filters", multiple=True, metavar="RELATION=OBJECT", help="Only subjects of this statement; repeatable."
)
qualifiers_option = click.option(
    "--with",
    "qualifiers",
    multiple=True,
    metavar="RELATION=VALUE",
    help="A qualifier, such as world:startTime=1960; repeatable. Without =VALUE, or with _, it is asked for.",
)
model_option = click.option("--model", help="By name; the release's best by default.")


@click.command()
@click.argument("subject")
@click.argument("relation")
@click.argument("object", default="_")
@_k
@_types
@qualifiers_option
@model_option
@click.option("--include-known", is_flag=True, help="Show what the graph states already too, marked.")
@click.option("--fuse", is_flag=True, help="Have all calibrated models answer together.")
@_filters
@options
def complete(
    subject: str,
    relation: str,
    object: str,
    k: int,
    types: tuple[str, ...],
    qualifiers: tuple[str, ...],
    model: str | None,
    include_known: bool,
    fuse: bool,
    filters: tuple[str, ...],
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Ask for what is missing: put _ in its place, such as: complete world:France world:memberOf _."""
    from kgservice.answers import Question

    s, r, o = (None if part in HOLES else part for part in (subject, relation, object))
    question = Question(s, r, o, pairs_of(qualifiers))
    answer = open_release(release).complete(
        [question],
        k=k,
        types=types,
        filters=filters,
        exclude_known=not include_known,
        model=model,
        fuse=fuse,
        language=language,
    )[0]
    print_answer(answer, answer_lines, as_json)


@click.command()
@click.argument("subject")
@click.argument("relation")
@click.argument("object")
@qualifiers_option
@model_option
@options
def classify(
    subject: str,
    relation: str,
    object: str,
    qualifiers: tuple[str, ...],
    model: str | None,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Ask whether a statement is true."""
    from kgservice.answers import Statement

    statement = Statement(subject, relation, object, pairs_of(qualifiers))
    verdict = open_release(release).classify([statement], model=model, language=language)[0]
    print_answer(verdict, verdict_lines, as_json)


@click.command()
@click.argument("query")
@_k
@_types
@_filters
@click.option(
    "--mode", type=click.Choice(["auto", "lexical", "dense"]), default="auto", help="By words, meaning or both."
)
@options
def search(
    query: str,
    k: int,
    types: tuple[str, ...],
    filters: tuple[str, ...],
    mode: Any,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Find entities by a name, the beginning of one, a misspelt one, or a description."""
    found = open_release(release).search(query, k=k, types=types, filters=filters, language=language, mode=mode)
    print_answer(found, search_lines, as_json)


@click.command()
@click.argument("entity")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Statements shown.")
@options
def show(entity: str, limit: int, release: str | None, language: str, as_json: bool) -> None:
    """Show what the graph holds about an entity."""
    print_answer(open_release(release).entity(entity, language=language, limit=limit), page_lines, as_json)


@click.command()
@click.argument("entity")
@_k
@click.option("--type", "named", multiple=True, metavar="TYPE", help="Choose among these types alone; repeatable.")
@click.option(
    "--described",
    multiple=True,
    metavar="LABEL[: DESCRIPTION]",
    help="And among types that the release need not hold; repeatable.",
)
@click.option("--model", help="A model of the release; by default the one that tells types best.")
@click.option("--exclude-known", is_flag=True, help="Leave out what the graph states.")
@options
def types(
    entity: str,
    k: int,
    named: tuple[str, ...],
    described: tuple[str, ...],
    model: str | None,
    exclude_known: bool,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Tell which types an entity has, with probabilities."""
    from kgservice.answers import Described

    parts = (one.partition(": ") for one in described)
    given: list[str | Described] = [*named, *(Described(label, text) for label, _, text in parts)]
    asked = open_release(release).types_of(
        [entity], types=given, k=k, model=model, exclude_known=exclude_known, language=language
    )
    print_answer(asked[0], types_lines, as_json)


@click.command()
@click.argument("entity")
@_k
@_types
@model_option
@options
def similar(
    entity: str,
    k: int,
    types: tuple[str, ...],
    model: str | None,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """List the entities whose vectors are most like those of one."""
    found = open_release(release).similar_to(entity, k=k, types=types, model=model, language=language)
    print_answer(found, similar_lines, as_json)


def pairs_of(given: Sequence[str]) -> tuple[Pair, ...]:
    """Qualifiers given as RELATION=VALUE."""
    from kgservice.answers import Pair

    pairs = (text.partition("=") for text in given)
    return tuple(Pair(relation, None if value in ("", *HOLES) else value) for relation, _, value in pairs)


def open_release(release: str | None) -> Engine:
    """The engine over a release, the current one by default."""
    from kgservice.engine import open_engine
    from kgservice.resources import home

    return open_engine(home() / "releases", release)
