"""`kgservice perturb`: copies of a graph whose texts say something else."""

from __future__ import annotations

from pathlib import Path

import click

COPIES = ("virtual-world", "anonymised", "inconsistent", "fully-anonymised")


@click.command()
@click.argument("graph")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the copies: a graph and a mapping of each, made or replaced.",
)
@click.option(
    "--copy", "copies", type=click.Choice(COPIES), multiple=True, help="One of the copies, repeatable; all by default."
)
@click.option("--seed", default=0, show_default=True, help="Seed of whatever is drawn.")
@click.option("--within-types", is_flag=True, help="virtual-world: trade names with entities of the same types alone.")
@click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="KGSERVICE_DATA_MIRROR",
    help="A folder to take a data set's files from instead of their public addresses.",
)
def perturb(
    graph: str, out: Path, copies: tuple[str, ...], seed: int, *, within_types: bool, mirror: Path | None
) -> None:
    """Copy GRAPH, a folder or the name of a data set, with other texts and the same statements, splits and ids.

    virtual-world: entities trade names, and relations do, in descriptions too. anonymised: random strings for names.
    inconsistent: descriptions are traded. fully-anonymised: random strings for all texts. See docs/text.md.
    """
    from kgservice.cli.graphs import open_graph
    from kgservice.perturbation import Copy
    from kgservice.perturbation import perturb as perturbed

    given = open_graph(graph, mirror)
    for name in copies or COPIES:
        made = perturbed(given, Copy(name), seed=seed, within_types=within_types)
        made.save(out)
        told = [
            f"{of.done:,} of {of.wanted:,} {what}" + ("" if of.recall is None else f" ({of.recall:.1%})")
            for what, of in made.replaced.items()
        ]
        shared = f"; {made.shared:,} mentions of a name that several bear" if made.shared else ""
        click.echo(f"{name:<17} replaced {', '.join(told)}{shared}")
    click.echo(out)
