"""`kgservice caption`: visual texts of a graph's entities."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kgservice.cli.outputs import OutFile

if TYPE_CHECKING:
    from kgservice.captioning import Captioner
    from kgservice.graph import KnowledgeGraph

KEY_VARIABLE = "KGSERVICE_CAPTION_KEY"


@click.command()
@click.argument("graph", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--images",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table with the columns entity and image (path or address): TSV, CSV or Parquet. By default the graph's own media.",
)
@click.option(
    "--by",
    type=click.Choice(["describer", "file", "endpoint", "model"]),
    default="describer",
    show_default=True,
    help="Who says what an image shows: the built-in describer, a file of captions, a server, or a model in a folder.",
)
@click.option(
    "--captions", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="file: JSON lines or Parquet."
)
@click.option(
    "--url", help="endpoint: an OpenAI-compatible server, up to /v1. Its key is read from KGSERVICE_CAPTION_KEY."
)
@click.option("--model", help="endpoint: the model's name; model: its folder.")
@click.option("--words", default=25, show_default=True, type=click.IntRange(1, 200), help="Of a caption at most.")
@click.option("--relation", "relations", multiple=True, metavar="NAME", help="Prompt by this relation too; any number.")
@click.option("--at-once", default=4, show_default=True, type=click.IntRange(1, 64), help="endpoint: calls under way.")
@click.option(
    "--timeout", default=60.0, show_default=True, type=click.FloatRange(0.1), help="endpoint: seconds of a call."
)
@click.option("--budget", type=click.IntRange(1), help="endpoint: tokens spent at most.")
@click.option("--price", default=0.0, type=click.FloatRange(0), help="endpoint: of a million tokens, for the estimate.")
@click.option("--dry-run", is_flag=True, help="Say what there is to do and what it will cost, and stop.")
@click.option("--report", type=OutFile(), help="Write what became of it as JSON.")
def caption(
    graph: Path,
    images: Path | None,
    by: str,
    captions: Path | None,
    url: str | None,
    model: str | None,
    words: int,
    relations: tuple[str, ...],
    at_once: int,
    timeout: float,
    budget: int | None,
    price: float,
    *,
    dry_run: bool,
    report: Path | None,
) -> None:
    """Say what images of entities of GRAPH (the folder of an ingested graph) show, and keep it in the graph.

    The same command goes on where it was stopped; an image is captioned once for each relation.
    """
    from kgservice.captioning.endpoint import Endpoint, EndpointSettings
    from kgservice.captioning.images import Image, of_media, of_table
    from kgservice.captioning.job import caption as run
    from kgservice.captioning.job import phrases, with_captions
    from kgservice.graph import KnowledgeGraph
    from kgservice.graph.captions import ANY
    from kgservice.graph.names import Names
    from kgservice.resources import home

    opened = KnowledgeGraph.open(graph)
    names = Names.relations(opened.relations, opened.prefixes, f"in {graph} ({opened.r:,} relations)")
    asked = [ANY, *dict.fromkeys(names.resolve(name) for name in relations)]
    captioner: Captioner
    if by == "endpoint":
        if not url or not model:
            raise click.UsageError("--by endpoint needs --url and --model")
        captioner = Endpoint(
            EndpointSettings(
                url=url,
                model=model,
                key=os.environ.get(KEY_VARIABLE, ""),
                words=words,
                timeout_s=timeout,
                at_once=at_once,
                budget_tokens=budget,
                price_per_million=price,
            )
        )
    else:
        captioner = _without_network(by, captions, model, words, opened, phrases(opened))
    if by == "file":
        entities = sorted(captioner.entities)  # type: ignore[attr-defined]
        known = [
            (name, id) for name, id in zip(entities, opened.entities.ids(entities).tolist(), strict=True) if id >= 0
        ]
        found, strange = [Image(id, str(captions)) for _, id in known], len(entities) - len(known)
    elif images is None:
        found, strange = of_media(opened), 0
    else:
        found, strange = of_table(images, opened)
    count = len(found) * (len(asked) if captioner.prompted else 1)
    click.echo(
        f"{len(found):,} entities with an image, {count:,} captions by {by}; {strange:,} rows name other entities"
    )
    if isinstance(captioner, Endpoint):
        tokens = captioner.estimate_tokens(count)
        cost = f", {tokens * price / 1e6:,.2f} by the price given" if price else ""
        click.echo(f"about {tokens:,} tokens{cost}, less what was captioned before")
    if dry_run:
        return
    made, done = run(opened, found, captioner, home() / "captions", relations=asked, progress=True)
    if len(made):
        with_captions(opened, made).save(graph)
    if report is not None:
        report.write_text(json.dumps(done.to_json(), indent=1, ensure_ascii=False), encoding="utf-8")
    failed = sum(done.failed.values())
    click.echo(f"{done.made:,} captions made, {done.kept:,} kept from before, {done.empty:,} empty, {failed:,} failed")
    for line in done.failures[:5]:
        click.echo(f"  {line}", err=True)
    if not done.finished:
        click.echo("The budget is spent: run the same command again with a larger --budget to go on.", err=True)


def _without_network(
    by: str, captions: Path | None, model: str | None, words: int, graph: KnowledgeGraph, said: list[str]
) -> Captioner:
    import numpy as np

    from kgservice.captioning.builtin import Describer, Given

    if by == "describer":
        return Describer()
    if by == "file":
        if captions is None:
            raise click.UsageError("--by file needs --captions")
        return Given(captions, dict(zip(graph.relations.names_of(np.arange(graph.r)), said, strict=True)))
    if model is None:
        raise click.UsageError("--by model needs --model, a folder")
    from kgservice.captioning.vision import VisionModel

    return VisionModel(Path(model), words)
