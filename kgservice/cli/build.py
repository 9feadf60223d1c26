"""`demo`, `build`, `train` and `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kgservice.cli.outputs import OutFile

if TYPE_CHECKING:
    from kgservice.recipe import Recipe
    from kgservice.release import Release

_recipe = click.argument("recipe", type=click.Path(path_type=Path))
_set = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the recipe.")
_from = click.option(
    "--from", "former", metavar="RELEASE", help="Start from the models of a former release, by row names."
)
_only = click.option("--model", "only", metavar="NAME", help="One model of the recipe; all by default.")


@click.command()
@_recipe
@_set
@_from
@click.option("--no-activate", is_flag=True, help="Leave the current release as it is.")
def build(recipe: Path, overrides: tuple[str, ...], former: str | None, no_activate: bool) -> None:
    """Build a release from RECIPE, a file or the name of one that comes with kgservice."""
    loaded, base = load_recipe(recipe, overrides)  # what is wrong with it is told before the slow imports

    from kgservice import pipeline
    from kgservice.resources import home

    release = pipeline.build(loaded, home(), base=base, activate=not no_activate, former=_former(former))
    describe(release)


@click.command()
@_recipe
@_set
@_from
@_only
def train(recipe: Path, overrides: tuple[str, ...], former: str | None, only: str | None) -> None:
    """Train RECIPE's models; `build` goes on from here.

    With `torchrun --nproc-per-node=N -m kgservice train RECIPE` each process holds a part of the entities.
    """
    loaded, base = load_recipe(recipe, overrides)

    from kgservice import pipeline
    from kgservice.resources import home
    from kgservice.training.sharding import after_the_first, joined

    start = _former(former)
    with joined() as process:
        graph = after_the_first(lambda: pipeline.prepare_graph(loaded, home(), base))
        for name in _chosen(loaded, recipe, only):
            if process:  # the first one measures
                pipeline.learn(loaded, name, graph, home(), start)
                continue
            model = pipeline.train(loaded, name, graph, home(), base=base, former=start)
            figures = model.metrics["valid"]["filtered"]["realistic"]
            click.echo(
                f"{name}: validation MRR {figures.get('mrr', float('nan')):.4f}, best epoch {model.history.best_epoch}"
            )


def _chosen(recipe: Recipe, path: Path, only: str | None) -> list[str]:
    from kgservice.errors import UnknownModel

    if only is not None and only not in recipe.models:
        raise UnknownModel(only, f"of {path}", recipe.models)
    return list(recipe.models) if only is None else [only]


def _former(id: str | None) -> Release | None:
    from kgservice.release import ReleaseStore
    from kgservice.resources import home

    return ReleaseStore(home() / "releases").get(id) if id else None


@click.command()
@_recipe
@_set
@click.option("--seeds", default="0", show_default=True, help="Seeds of the training, such as 0,1,2.")
@click.option("--out", type=OutFile(), help="Write the measurements as JSON.")
@_only
@click.option("--ranks", type=OutFile(), help="Write the test ranks as TSV.")
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare with the ranks in this TSV, statement by statement.",
)
@click.option("--partial", is_flag=True, help="Let --against lack some test statements: compare those it has.")
@click.option("--probe", is_flag=True, help="Also train on copies of the graph with other texts: memory or inference?")
@click.option(
    "--sample",
    "questions",
    type=click.IntRange(min=2),
    metavar="N",
    help="Measure on N held-out questions, the same each time, for models that are slow; half heads, half tails.",
)
@click.option("--page", type=OutFile(), help="Write what --probe finds as HTML, with a plot.")
def evaluate(
    recipe: Path,
    overrides: tuple[str, ...],
    seeds: str,
    out: Path | None,
    *,
    only: str | None,
    ranks: Path | None,
    against: Path | None,
    partial: bool,
    probe: bool,
    questions: int | None,
    page: Path | None,
) -> None:
    """Train RECIPE's models once per seed and measure them on the test split.

    Tables of ranks have the columns subject, relation, object, side (head or tail) and rank; see docs/evaluation.md.
    For --probe see docs/text.md.
    """
    if page is not None and not probe:
        raise click.UsageError("--page is for --probe.")
    if questions is not None and (probe or against is not None):
        raise click.UsageError("--sample measures a part: not with --probe or --against.")
    loaded, base = load_recipe(recipe, overrides)
    names = _chosen(loaded, recipe, only)

    from kgservice import pipeline
    from kgservice.errors import InputError
    from kgservice.evaluation.comparison import compare
    from kgservice.evaluation.probe import probe_lines
    from kgservice.evaluation.rank_table import RankTable
    from kgservice.evaluation.report import write_probe
    from kgservice.pipeline import probing
    from kgservice.release import provenance
    from kgservice.release.card import model_card
    from kgservice.resources import home

    chosen = [*(f"--set {s}" for s in overrides), *([f"--model {only}"] if only else []), f"--seeds {seeds}"]
    chosen += [f"--sample {questions}"] if questions is not None else []
    if probe:
        twins = probing.twins(loaded, names)
        names, chosen = list(dict.fromkeys([*names, *twins.values()])), [*chosen, "--probe"]
        overrides = (*overrides, *probing.twin_overrides(loaded, twins))
        loaded, base = load_recipe(recipe, overrides)
    numbers = _seeds(seeds)
    if ranks is not None and len(names) * len(numbers) != 1:
        raise InputError(
            f"--ranks {ranks}: a table holds the ranks of one training, not of {len(names)} models by {len(numbers)} seeds. "
            "Choose with --model and --seeds."
        )
    graph = pipeline.prepare_graph(loaded, home(), base)
    theirs = None if against is None else RankTable.read(against, graph)  # its errors come before the training
    results: dict[str, Any] = {}
    record = {
        "recipe": loaded.model_dump(mode="json"),
        **provenance(),
        "command": " ".join(["kgservice evaluate", str(recipe), *chosen]),
        "models": results,
    }
    for name in names:
        runs, compared = [], []
        for seed in numbers:
            seeded, _ = load_recipe(recipe, (*overrides, f"models.{name}.training.seed={seed}"))
            trained = pipeline.train(seeded, name, graph, home(), base=base, questions=questions)
            runs.append(dict(trained.metrics))
            ours = RankTable.of(trained.ranks)
            if ranks is not None:
                ours.write(ranks, graph)
            if theirs is not None and against is not None:
                compared.append(compare(ours, theirs, graph, partial=partial))
                runs[-1]["against"] = {"name": against.stem, **compared[-1].as_dict()}
        results[name] = runs
        _keep(record, out)  # after every model: another may take hours
        click.echo(model_card(loaded, name, runs))
        for seed, comparison in zip(numbers, compared, strict=False):
            click.echo(comparison.to_markdown(f"{name}, seed {seed}", str(against)))
    if probe:
        record["probe"] = probing.probe(loaded, names, graph, home(), seeds=numbers)
        _keep(record, out)
        click.echo("\n".join(probe_lines(record["probe"])))
        if page is not None:
            write_probe(page, title=loaded.description or loaded.name, probe=record["probe"])


def _seeds(given: str) -> list[int]:
    from kgservice.errors import RecipeError

    try:
        return [int(seed) for seed in given.split(",")]
    except ValueError as error:
        raise RecipeError(f"--seeds {given}: expected numbers with commas between, such as 0,1,2") from error


def _keep(record: dict[str, Any], out: Path | None) -> None:
    if out:
        out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@click.command()
@click.option("--no-serve", is_flag=True, help="Build and stop.")
@click.option("--port", type=int, help="Port of the server. [default: 8000, or KGSERVICE_PORT]")
def demo(no_serve: bool, port: int | None) -> None:
    """Build the sample graph's release, print three calls to try, and serve it."""
    from kgservice import pipeline
    from kgservice.resources import home, share

    if not no_serve:  # a server that cannot be is told before the minutes of the build
        from kgservice.cli.serve import listening, serve
        from kgservice.server.settings import ServerSettings

        settings = ServerSettings.load(port=port)
        listening(settings).close()
        port = settings.port
    path = share() / "models" / "world.toml"
    loaded, base = load_recipe(path, ())
    describe(pipeline.build(loaded, home(), base=base))
    click.echo(_TRY.format(port=port or 8000))
    if not no_serve:
        serve.main(["--port", str(port)], standalone_mode=False)


def load_recipe(path: Path, overrides: tuple[str, ...]) -> tuple[Recipe, Path]:
    """A recipe by file, or by the name of one that comes with kgservice; and the folder its sources are relative to.

    Raises:
        RecipeError: neither; names the closest ones that come with kgservice.
    """
    from difflib import get_close_matches

    from kgservice.errors import RecipeError
    from kgservice.recipe import Recipe
    from kgservice.resources import share

    name = path.name.removesuffix(".toml")
    shipped = share() / "models" / f"{name}.toml"
    found = path if path.is_file() or not shipped.exists() else shipped
    if not found.is_file():
        known = sorted(recipe.stem for recipe in shipped.parent.glob("*.toml"))
        close = ", ".join(map(repr, get_close_matches(name, known)))
        raise RecipeError(
            f"{path} is neither a file nor a recipe that comes with kgservice ({len(known)} do)."
            + (f" Closest: {close}." if close else "")
        )
    return Recipe.load(found, overrides), found.resolve().parent


def describe(release: Release) -> None:
    """Say what was built."""
    graph = release.manifest["graph"]
    click.echo(
        f"release {release.id}: {graph['entities']:,} entities, {graph['relations']:,} relations, "
        f"{graph['statements']:,} statements"
    )
    for name, model in release.manifest["models"].items():
        test = model["test"]
        if "mrr" in test:
            click.echo(f"  {name} ({model['scorer']}): test MRR {test['mrr']:.3f}, Hits@10 {test['hits@10']:.3f}")
    click.echo(f"  report: {release.folder / 'report.html'}")


_TRY = """
Try:
  curl -s localhost:{port}/v1/complete -H 'content-type: application/json' \\
       -d '{{"relation": "world:memberOf", "object": "world:European_Union", "k": 5}}'
  curl -s localhost:{port}/v1/classify -H 'content-type: application/json' \\
       -d '{{"subject": "world:Japan", "relation": "world:currency", "object": "world:Japanese_Yen"}}'
  curl -s 'localhost:{port}/v1/search?q=jermany'
"""
