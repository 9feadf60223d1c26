"""`kgservice ingest`: dumps in, a graph folder out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import click

from kgservice.cli.outputs import OutFile

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)


class Size(click.ParamType[int]):
    """A number of bytes, such as `2GiB`, `500M` or `1000000`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes of a text."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size. Expected a number with or without a unit, such as 2GiB or 500M.")
        return int(float(match[1]) * _UNITS[match[2].lower()])


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the graph, made or replaced.")
@click.option(
    "--into", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Add to this graph instead."
)
@click.option("--delete", is_flag=True, help="With --into: take what SOURCE... states out of the graph.")
@click.option("--format", "format_", help="Format of all sources; by default told from each file's name.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="`skip` counts and skips malformed lines of N-Triples, N-Quads, TSV and Wikidata dumps.",
)
@click.option("--memory", type=Size(), default="2GiB", show_default=True, help="Use about so much, whatever the input.")
@click.option("--workers", type=click.IntRange(1), help="Blocks in work at a time; by default as many as cores.")
@click.option("--ray", metavar="ADDRESS", help="Read with the Ray cluster at this address, such as auto.")
@click.option("--language", "languages", multiple=True, metavar="CODE", help="Keep texts of this language; repeatable.")
@click.option("--property", "properties", multiple=True, metavar="P", help="Wikidata: keep this property; repeatable.")
@click.option(
    "--instance-of", multiple=True, metavar="CLASS", help="Keep statements about instances of it or of a subclass."
)
@click.option("--min-sitelinks", type=click.IntRange(0), default=0, help="Wikidata: keep items with at least so many.")
@click.option("--include-deprecated", is_flag=True, help="Wikidata: keep statements of deprecated rank.")
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="IRI=KIND",
    help="Strings of this predicate are texts: label, alias, description or none; repeatable.",
)
@click.option("--report", type=OutFile(), help="Write the report: .json or .html.")
@click.option("--valid", type=click.FloatRange(0, 1, max_open=True), help="Share to hold out for validation.")
@click.option("--test", type=click.FloatRange(0, 1, max_open=True), help="Share to hold out for the test.")
@click.option("--seed", default=0, show_default=True, help="Seed of the split.")
def ingest(
    sources: tuple[str, ...],
    out: Path | None,
    into: Path | None,
    delete: bool,
    format_: str | None,
    on_error: str,
    memory: int,
    workers: int | None,
    ray: str | None,
    languages: tuple[str, ...],
    properties: tuple[str, ...],
    instance_of: tuple[str, ...],
    min_sitelinks: int,
    include_deprecated: bool,
    texts: tuple[str, ...],
    report: Path | None,
    valid: float | None,
    test: float | None,
    seed: int,
) -> None:
    """Read SOURCE... (files, folders, globs or - for standard input; compressed or not) into one graph.

    Formats: RDF (N-Triples, N-Quads, Turtle, TriG, RDF/XML, JSON-LD), Wikidata JSON dumps, tab-separated triples and the
    native formats of benchmarks. An interrupted run goes on where it was when it is started again.
    """
    from kgservice import ingestion
    from kgservice.graph.splits import random_split
    from kgservice.readers.options import ReadOptions, text_predicates

    if (out is None) == (into is None) or (delete and into is None):
        raise click.UsageError(
            "give --out FOLDER for a new graph, or --into GRAPH to change one (with or without --delete)"
        )
    options = ReadOptions(
        on_error=cast(Literal["fail", "skip"], on_error),
        text_predicates=text_predicates(texts),
        languages=frozenset(languages) or None,
        properties=frozenset(properties) or None,
        min_sitelinks=min_sitelinks,
        include_deprecated=include_deprecated,
        instance_of=frozenset(instance_of),
    )
    target = out or into
    assert target is not None
    graph = ingestion.ingest(
        sources,
        target,
        into=into,
        delete=delete,
        format=format_,
        options=options,
        memory=memory,
        workers=workers,
        ray=ray,
        progress=True,
    )
    if valid is not None or test is not None:
        graph = random_split(graph, valid=valid or 0.0, test=test or 0.0, seed=seed)
        graph.save(target)
    told = graph.provenance["report"]
    _show(told)
    if report is not None:
        _write(report, target.name, told, graph.counts())
    click.echo(f"{target}: " + ", ".join(f"{count:,} {what}" for what, count in graph.counts().items() if count))


def _show(report: Mapping[str, Any]) -> None:
    from kgservice.ingestion.account import REASONS

    for file in report["files"][:20]:
        click.echo(f"{file['name']} ({file['format']}): {file['size_bytes']:,} bytes")
    if len(report["files"]) > 20:
        click.echo(f"... and {len(report['files']) - 20:,} more files")
    click.echo(f"{report['read']:,} read")
    for heading in ("kept", "dropped"):
        for what, count in report[heading].items():
            why = f"  {REASONS[what]}" if what in REASONS else ""
            click.echo(f"  {heading:<8} {what:<20} {count:>14,}{why}")
    for what, count in report["notes"].items():
        click.echo(f"  {'note':<8} {what:<20} {count:>14,}")


def _write(path: Path, name: str, report: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    if path.suffix == ".html":
        from kgservice.ingestion.page import render

        path.write_text(render(name, report, counts), encoding="utf-8")
    else:
        path.write_text(
            json.dumps({"report": report, "counts": counts}, indent=1, ensure_ascii=False), encoding="utf-8"
        )
