"""`enrich`: what a release's graph probably lacks, or holds wrongly, into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kgservice.cli.outputs import OutFile


@click.command()
@click.argument("release", required=False)
@click.option(
    "--out",
    type=OutFile(),
    required=True,
    help="Its ending names the format, see --format.",
)
@click.option(
    "--format",
    "format",
    help="nq, trig, parquet, csv, quickstatements or mismatches; told from the name of --out.",
)
@click.option("--errors", is_flag=True, help="Statements that are probably wrong, not links that are missing.")
@click.option("--relation", "relations", multiple=True, help="Only of this relation; may be given again.")
@click.option("--type", "types", multiple=True, help="Only about subjects of this type; may be given again.")
@click.option("--model", "models", multiple=True, help="Ask this model; all are asked and fused by default.")
@click.option("--since", metavar="RELEASE", help="Only about entities that this release did not hold.")
@click.option("--threshold", type=float, help="Least probability. [default: 0.5]")
@click.option(
    "--precision",
    type=float,
    help="Share of right ones wanted, reached by each relation.",
)
@click.option(
    "--completeness", type=float, default=0.9, show_default=True, help="Share of what is true that the graph states."
)
@click.option("-k", type=int, default=10, show_default=True, help="Candidates of each question that are looked at.")
@click.option("--per-relation", type=int, help="At most so many of a relation, the most probable first.")
@click.option("--per-entity", type=int, help="At most so many about a subject.")
@click.option("--total", type=int, help="At most so many.")
@click.option(
    "--shapes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="SHACL as Turtle: nothing is given out that would break a shape.",
)
@click.option("--base", default="urn:kgservice:", show_default=True, help="IRIs of names that are none, in RDF.")
@click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), help="Folder of the run. [default: in KGSERVICE_HOME]"
)
@click.option("--ray", metavar="ADDRESS", help="Do the blocks with the Ray cluster at this address, such as auto.")
@click.option("--report", type=OutFile(), help="Write the report as JSON.")
def enrich(
    release: str | None,
    out: Path,
    format: str | None,
    errors: bool,
    shapes: Path | None,
    base: str,
    work: Path | None,
    ray: str | None,
    report: Path | None,
    **wanted: Any,
) -> None:
    """Write all confident missing links of RELEASE, the current one by default, with where each comes from.

    Killed? Run it again: it goes on where it was.
    """
    import sys

    from tqdm import tqdm

    from kgservice.engine import open_engine
    from kgservice.enrichment.plan import Kind, Plan
    from kgservice.enrichment.running import enrich as run
    from kgservice.enrichment.running import read_proposals
    from kgservice.enrichment.writers import format_of, write_proposals
    from kgservice.resources import home

    kind: Kind = "errors" if errors else "links"
    chosen = format_of(out, format, kind)
    engine = open_engine(home() / "releases", release)
    text = None if shapes is None else shapes.read_text(encoding="utf-8")
    plan = Plan(engine.release_name, kind=kind, shapes=text, **wanted)
    folder = work or home() / "enrichments" / plan.digest
    with tqdm(unit="block", disable=None, file=sys.stderr) as bar:

        def show(stage: str, done: int, total: int) -> None:
            bar.set_description(stage, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        found = run(engine, plan, folder, show, ray=ray)
    left_out = write_proposals(read_proposals(folder), found, out, chosen, base=base)
    if report:
        report.write_bytes((folder / "report.json").read_bytes())
    for line in told(found, left_out):
        click.echo(line)


def told(report: dict[str, Any], left_out: int) -> list[str]:
    """A report in a few lines for people."""
    what = "statements" if report["plan"]["kind"] == "errors" else "links"
    worth = report["expected"]
    lines = [f"release {report['release']}, {', '.join(report['models'])}: {worth['links']:,} {what}"]
    if worth["precision"] is not None and what == "links":
        lines.append(
            f"  expected precision {worth['precision']:.3f}, between {worth['low']:.3f} and {worth['high']:.3f}, "
            f"where the graph states {worth['completeness']:.0%} of what is true"
        )
    lines += [f"  {count:>15,}  {name}" for name, count in (report["counts"] | report["dropped"]).items()]
    if left_out:
        lines.append(f"  {left_out:>15,}  left out: the format cannot say them")
    return lines
