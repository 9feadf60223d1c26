"""`kgservice ingest`: dumps in, a graph folder out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import click


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the graph.")
@click.option("--format", "format_", help="Format of all sources; by default told from each file's name.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="`skip` counts and skips malformed lines of N-Triples, N-Quads and TSV.",
)
@click.option("--valid", type=click.FloatRange(0, 1, max_open=True), help="Share to hold out for validation.")
@click.option("--test", type=click.FloatRange(0, 1, max_open=True), help="Share to hold out for the test.")
@click.option("--seed", default=0, show_default=True, help="Seed of the split.")
def ingest(
    sources: tuple[str, ...],
    out: Path,
    format_: str | None,
    on_error: str,
    valid: float | None,
    test: float | None,
    seed: int,
) -> None:
    """Read SOURCE... (files, folders or globs, compressed or not) into one graph.

    Formats: RDF (N-Triples, N-Quads, Turtle, TriG, RDF/XML, JSON-LD) and tab-separated triples.
    """
    from kgservice import readers
    from kgservice.splits import random_split

    policy = cast(Literal["fail", "skip"], on_error)
    graph = readers.read(sources, format=format_, on_error=policy, progress=sys.stderr.isatty())
    if valid is not None or test is not None:
        graph = random_split(graph, valid=valid or 0.0, test=test or 0.0, seed=seed)
    graph.save(out)
    report = graph.provenance["report"]
    for file in report["files"]:
        _show(file)
    if len(report["files"]) > 1:
        _show(report["total"])
    counts = graph.counts()
    click.echo(f"{out}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items() if count))


def _show(file: Mapping[str, Any]) -> None:
    title = f"{file['name']} ({file['format']})" if file["format"] else file["name"]
    click.echo(f"{title}: {file['read']:,} read")
    for heading in ("kept", "dropped"):
        for what, count in file[heading].items():
            click.echo(f"  {heading:<8} {what:<20} {count:>12,}")
    if file["malformed"]:
        click.echo(f"  skipped  {'malformed lines':<20} {file['malformed']:>12,}")
