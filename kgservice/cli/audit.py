"""`kgservice audit`: what a graph is like, and whether its splits are fair."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kgservice.cli.outputs import OutFile

if TYPE_CHECKING:
    from kgservice.audit import Audit

_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}


@click.command()
@click.argument("graph")
@click.option("--json", "json_", type=OutFile(), help="Write all figures here.")
@click.option("--page", type=OutFile(), help="Write an HTML page with plots here.")
@click.option(
    "--fail-on",
    type=click.Choice(["leakage", "error", "warning"]),
    multiple=True,
    help="Exit with status 1 if there is such a flag: leakage means an error of that kind; repeatable.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.8,
    show_default=True,
    help="Share of the pairs from which two relations are inverse or duplicate.",
)
@click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="KGSERVICE_DATA_MIRROR",
    help="A folder to take a data set's files from instead of their public addresses.",
)
def audit(
    graph: str, json_: Path | None, page: Path | None, fail_on: tuple[str, ...], threshold: float, mirror: Path | None
) -> None:
    """Measure GRAPH, a folder or the name of a data set: leakage, relations, structure, texts; and say what to do."""
    from kgservice.audit import audit as measure
    from kgservice.cli.graphs import open_graph

    found = measure(open_graph(graph, mirror), threshold)
    _show(found)
    if json_ is not None:
        json_.write_text(json.dumps(found.as_dict(), indent=1, ensure_ascii=False), encoding="utf-8")
    if page is not None:
        from kgservice.audit.page import render

        page.write_text(render(found, Path(graph).name), encoding="utf-8")
    if failing := found.failing(fail_on):
        click.echo(f"failed on {', '.join(dict.fromkeys(flag.code for flag in failing))}", err=True)
        sys.exit(1)


def _show(audit: Audit) -> None:
    from kgservice.audit.verdicts import percent

    counts = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in audit.counts.items() if count)
    click.echo(counts)
    click.echo(
        f"{audit.components.count:,} components, the largest with {percent(audit.components.share)} of the linked "
        f"entities; {audit.degrees.isolated:,} entities without a statement; {audit.degrees.mean:.1f} statements an entity"
    )
    if audit.leakage:
        from kgservice.audit.page import MEASURES

        click.echo(f"\n{'of the held-out statements':<44}" + "".join(f"{leak.split:>10}" for leak in audit.leakage))
        for name, words in MEASURES:
            told = [percent(leak.share(getattr(leak, name))) for leak in audit.leakage]
            click.echo(f"  {words:<42}" + "".join(f"{share:>10}" for share in told))
    for flag in audit.flags:
        click.echo(f"\n{click.style(flag.severity, fg=_COLOURS[flag.severity])} {flag.code}: {flag.message}")
