"""`kgservice split`: hold statements out for validation and test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kgservice.graph import KnowledgeGraph

TIMES = "P585,P580,P577,P571,P582"
"""Wikidata's point in time, start time, publication date, inception, end time."""


class Year(click.ParamType[float]):
    """A year or a date, such as `2015` or `2015-06-30`."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Years with fractions, as the numbers of literals are."""
        from kgservice.graph.literals import XSD, Literal

        if isinstance(value, float):
            return value
        text = str(value).strip()
        year, _, rest = text.removeprefix("-").partition("-")
        found = Literal(f"{'-' * text.startswith('-')}{year:0>4}{'-' * bool(rest)}{rest}", XSD + "date").number
        if found != found or not year.isdigit():
            self.fail(f"{value!r} is not a date. Expected a year or a day, such as 2015 or 2015-06-30.")
        return found


@click.command()
@click.argument("graph")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the graph with the new splits, made or replaced.",
)
@click.option(
    "--method",
    type=click.Choice(["random", "inductive", "temporal"]),
    default="random",
    show_default=True,
    help="random: every entity stays in training; inductive: entities are held out; temporal: what became true last.",
)
@click.option("--valid", type=click.FloatRange(0, 1, max_open=True), help="Share for validation; 0.05 by default.")
@click.option("--test", type=click.FloatRange(0, 1, max_open=True), help="Share for the test; 0.05 by default.")
@click.option("--seed", default=0, show_default=True, help="Seed of random and inductive splits.")
@click.option(
    "--context",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    help="inductive: share of the held-out pairs to give as context of the new entities.",
)
@click.option("--by", default=TIMES, show_default=True, help="temporal: relations of times, the preferred first.")
@click.option("--valid-from", type=Year(), help="temporal: validation starts here, instead of shares.")
@click.option("--test-from", type=Year(), help="temporal: the test starts here, instead of shares.")
@click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="KGSERVICE_DATA_MIRROR",
    help="A folder to take a data set's files from instead of their public addresses.",
)
def split(
    graph: str,
    out: Path,
    method: str,
    valid: float | None,
    test: float | None,
    seed: int,
    context: float,
    by: str,
    valid_from: float | None,
    test_from: float | None,
    mirror: Path | None,
) -> None:
    """Split the statements of GRAPH, a folder or the name of a data set, anew.

    A triple is never in two splits, whatever its qualifiers. The shares are of the statements; of an inductive split, of
    the entities. Statements of the context split stay there, but for those that --context adds.
    """
    from kgservice.cli.graphs import open_graph
    from kgservice.graph.splits import inductive_split, random_split, temporal_split

    dated = valid_from is not None or test_from is not None
    if method != "temporal" and dated:
        raise click.UsageError(f"--valid-from and --test-from are for --method temporal, not {method}.")
    if method != "inductive" and context:
        raise click.UsageError(f"--context is for --method inductive, not {method}.")
    if not dated:
        valid, test = (0.05 if share is None else share for share in (valid, test))
    given = open_graph(graph, mirror)
    if method == "temporal":
        relations = _relations(given, by)
        made = temporal_split(given, relations, valid=valid, test=test, valid_from=valid_from, test_from=test_from)
    elif method == "inductive":
        made = inductive_split(given, valid=valid or 0.0, test=test or 0.0, seed=seed, context=context)
    else:
        made = random_split(given, valid=valid or 0.0, test=test or 0.0, seed=seed)
    made.save(out)
    _show(made, out)


def _relations(graph: KnowledgeGraph, by: str) -> list[int]:
    """Ids of relations by name; the last part of an IRI will do. Of the default ones, those that the graph has."""
    from kgservice.graph.names import Names

    names = Names.relations(graph.relations, graph.prefixes, f"in this graph ({graph.r:,} relations)")
    endings: dict[str, list[int]] = {}
    for id, name in enumerate(graph.relations.names.to_pylist()):
        endings.setdefault(name.replace("#", "/").rpartition("/")[2], []).append(id)
    found: list[int] = []
    for name in filter(None, map(str.strip, by.split(","))):
        id = names.find(name)
        found += [id] if id >= 0 else endings.get(name, [] if by == TIMES else [names.resolve(name)])
    return found


def _show(graph: KnowledgeGraph, out: Path) -> None:
    import numpy as np

    from kgservice.graph.statements import Split

    how, table = graph.provenance["split"], graph.statements
    asked, entities = how.get("asked", {}), how.get("entities", {})
    unseen = ~(graph.seen[table.subject] & graph.seen[table.object])
    for part in Split:
        rows = table.split == part
        count = int(np.count_nonzero(rows))
        if not count and part.name.lower() not in asked:
            continue
        notes = [f"{count / max(len(table), 1):.1%}"]
        if part.name.lower() in asked:
            notes.append(f"{asked[part.name.lower()]:,} asked for")
        if part.name.lower() in entities:
            notes.append(f"{entities[part.name.lower()]:,} entities held out")
        if new := int(np.count_nonzero(unseen & rows)):
            notes.append(f"{new:,} with an entity that training has not")
        click.echo(f"{part.name.lower():<8} {count:>12,}  {', '.join(notes)}")
    if how["method"] == "temporal":
        dates = {"valid": how["valid_from"], "test": how["test_from"]}
        told = ", ".join(f"{name} from {date:.2f}" for name, date in dates.items() if date is not None)
        click.echo(f"by {', '.join(how['by'])}: {told or 'no cut'}; {how['without_time']:,} statements without a time")
    click.echo(out)
