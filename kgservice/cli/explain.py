"""`explain`: why a statement is thought true, in the terminal or as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kgservice.cli.ask import model_option, open_release, options, pairs_of, qualifiers_option
from kgservice.cli.lines import print_answer
from kgservice.cli.outputs import OutFile

if TYPE_CHECKING:
    from kgservice.explain import Explanation


@click.command()
@click.argument("subject")
@click.argument("relation")
@click.argument("object")
@qualifiers_option
@click.option("-k", type=int, default=5, show_default=True, help="Paths, rules, entities and facts shown.")
@model_option
@click.option("--svg", type=OutFile(), help="Also draw the evidence into this file.")
@options
def explain(
    subject: str,
    relation: str,
    object: str,
    qualifiers: tuple[str, ...],
    k: int,
    model: str | None,
    svg: Path | None,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Ask why a statement is thought true."""
    from kgservice.answers import Statement
    from kgservice.explain import picture

    statement = Statement(subject, relation, object, pairs_of(qualifiers))
    found = open_release(release).explain([statement], k=k, model=model, language=language)[0]
    if svg:
        svg.write_text(picture(found), encoding="utf-8")
    print_answer(found, _lines, as_json)


def _lines(found: Explanation) -> Iterable[str]:
    from kgservice.explain.sentence import call, told

    yield found.sentence
    verdict = found.verdict
    yield f"release {verdict.release}, model {verdict.model}, score {verdict.score:.3f}"
    for title, lines in (
        ("paths", [", ".join(told(step.link) for step in path.steps) for path in found.paths]),
        ("rules", [f"{rule.confidence:.0%} of {rule.pairs:,}  {rule.text}" for rule in found.rules]),
        ("alike", [f"{one.similarity:.3f}  {told(one.link)}" for one in found.alike]),
        (
            f"score falls without, of {found.tested:,} facts taken away in turn",
            [
                f"{one.fall:.3f}  {call(one.fact.subject)} – {call(one.fact.relation)} – {call(one.fact.object)}"
                for one in found.deletions
            ],
        ),
        (
            "read, and by how much the score falls without it",
            [f"{'' if one.fall is None else f'{one.fall:+.3f}':>7}  {one.text}" for one in found.read],
        ),
    ):
        if lines:
            yield f"{title}:"
            yield from (f"  {line}" for line in lines)
