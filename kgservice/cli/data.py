"""`kgservice data`: the data sets that have a manifest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kgservice.datasets import Manifest
    from kgservice.graph import KnowledgeGraph

_mirror = click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="KGSERVICE_DATA_MIRROR",
    help="A folder to take files from instead of their public addresses.",
)


@click.group()
def data() -> None:
    """Data sets: list, fetch, look into."""


@data.command("list")
def list_() -> None:
    """Every data set, with its size and licence."""
    from kgservice import datasets

    for name in datasets.names():
        described = datasets.manifest(name)
        expected = described.expected
        size = f"{expected['entities']:>7,} entities" if "entities" in expected else ""
        click.echo(f"{name:<12} {size:<17}  {described.title}: {described.description} [{described.licence}]")


@data.command()
@click.argument("name")
@_mirror
def fetch(name: str, mirror: Path | None) -> None:
    """Have all files of data set NAME on disk, verified by their checksums."""
    from kgservice import datasets

    click.echo(datasets.fetch(name, mirror, progress=True))


@data.command()
@click.argument("name")
@_mirror
@click.option("--statements", default=5, show_default=True, type=click.IntRange(0), help="How many to show.")
def show(name: str, mirror: Path | None, statements: int) -> None:
    """What data set NAME holds: counts, licence, source, and a few statements."""
    from kgservice import datasets

    described = datasets.manifest(name)
    graph = datasets.load(name, mirror, progress=sys.stderr.isatty())
    _show_manifest(described)
    for what, count in graph.counts().items():
        click.echo(f"{what:<16} {count:>10,}")
    _show_statements(graph, statements)


def _show_manifest(described: Manifest) -> None:
    click.echo(f"{described.title}: {described.description}")
    for title in ("licence", "homepage", "citation"):
        if text := getattr(described, title):
            click.echo(f"{title:<16} {text}")
    click.echo()


def _show_statements(graph: KnowledgeGraph, limit: int) -> None:
    import numpy as np

    table = graph.statements
    if not len(table) or not limit:
        return
    click.echo()
    for row in np.linspace(0, len(table) - 1, min(limit, len(table))).astype(int).tolist():
        subject, relation, object = int(table.subject[row]), int(table.relation[row]), int(table.object[row])
        parts = (
            graph.texts.label(subject) or graph.entities.name(subject),
            graph.relation_texts.label(relation) or graph.relations.name(relation),
            graph.texts.label(object) or graph.entities.name(object),
        )
        click.echo(" | ".join(parts))
