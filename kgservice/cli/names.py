"""`kgservice names`: labels, aliases and descriptions that entities lack in a language, and names that are probably wrong."""

from __future__ import annotations

from pathlib import Path

import click

from kgservice.cli.outputs import OutFile


@click.command()
@click.argument("graph")
@click.option("--language", required=True, help="Code of the language, such as it.")
@click.option(
    "--out",
    type=OutFile(),
    required=True,
    help="File to write: .nq, .trig, .parquet, .csv, or .qs for QuickStatements.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    help="languages, transliteration, sitelinks:FILE, file:FILE, endpoint:MODEL@URL or translation:FOLDER; repeatable. "
    "languages and transliteration by default.",
)
@click.option("--kind", type=click.Choice(("names", "descriptions")), default="names", show_default=True, help="What.")
@click.option("--errors", type=OutFile(), help="Also write names that are probably wrong.")
@click.option(
    "--verdicts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A table of entity, name and correct that --errors learns from.",
)
@click.option("--min-probability", type=click.FloatRange(0, 1), help="Propose from here on; the best F1's by default.")
@click.option("--most", type=click.IntRange(1, 100), default=3, show_default=True, help="Names of an entity.")
@click.option("--aliases", is_flag=True, help="Propose aliases for entities that have a label, too.")
@click.option("--doubt-below", type=click.FloatRange(0, 1), help="Doubt names below; the best F1's by default.")
@click.option("--votes", type=click.FloatRange(0), help="Learn nothing: propose what has so many votes.")
@click.option("--combiner", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Use a saved one.")
@click.option("--save-combiner", type=OutFile(), help="Keep what was learnt.")
@click.option("--learn-from", type=click.IntRange(100), default=20_000, show_default=True, help="Entities at most.")
@click.option(
    "--batch", type=click.IntRange(1), default=5_000, show_default=True, help="Entities at once; bounds memory."
)
@click.option("--seed", default=0, show_default=True, help="Seed of whatever is drawn.")
@click.option(
    "--key", envvar="KGSERVICE_NAMES_KEY", default="", help="Bearer token of endpoints; better in $KGSERVICE_NAMES_KEY."
)
@click.option("--budget-tokens", type=click.IntRange(1), help="That an endpoint may spend.")
@click.option("--cache", type=OutFile(), help="File that keeps endpoints' answers.")
@click.option("--report", type=OutFile(), help="Write figures as JSON.")
@click.option("--base", default="https://kgservice.example/entity/", show_default=True, help="Before ids, in RDF.")
@click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="KGSERVICE_DATA_MIRROR",
    help="A folder to take a data set's files from instead of their public addresses.",
)
def names(
    graph: str,
    language: str,
    out: Path,
    sources: tuple[str, ...],
    *,
    kind: str,
    errors: Path | None,
    verdicts: Path | None,
    min_probability: float | None,
    most: int,
    aliases: bool,
    doubt_below: float | None,
    votes: float | None,
    combiner: Path | None,
    save_combiner: Path | None,
    learn_from: int,
    batch: int,
    seed: int,
    key: str,
    budget_tokens: int | None,
    cache: Path | None,
    report: Path | None,
    base: str,
    mirror: Path | None,
) -> None:
    """Propose what entities of GRAPH, a folder or the name of a data set, are called in a language.

    Sources that never see the language vote; a regression learnt from entities that have names in it gives probabilities.
    See docs/names.md.
    """
    from kgservice.cli.graphs import open_graph
    from kgservice.graph.texts import TextKind
    from kgservice.naming.proposing import Settings
    from kgservice.naming.registry import Spending, build
    from kgservice.naming.running import Run

    run = Run(
        open_graph(graph, mirror),
        build(sources or ("languages", "transliteration"), Spending(key, budget_tokens, cache)),
        Settings(
            language, TextKind.LABEL if kind == "names" else TextKind.DESCRIPTION, most, aliases, min_probability, doubt_below,
            2.0 if votes is None else votes, learn_from, seed=seed, batch=batch,
        ),
        count_only=votes is not None, base=base,
    )  # fmt: skip
    told = run.write(out, combiner=combiner, save=save_combiner, errors=errors, verdicts=verdicts, report=report)
    for line in told:
        click.echo(line)
