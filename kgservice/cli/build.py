"""`demo`, `build`, `train` and `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kgservice.recipe import Recipe
    from kgservice.release import Release

_recipe = click.argument("recipe", type=click.Path(path_type=Path))
_set = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the recipe.")


@click.command()
@_recipe
@_set
@click.option("--no-activate", is_flag=True, help="Leave the current release as it is.")
def build(recipe: Path, overrides: tuple[str, ...], no_activate: bool) -> None:
    """Build a release from RECIPE, a file or the name of one that comes with kgservice."""
    from kgservice import pipeline
    from kgservice.resources import home

    loaded, base = load_recipe(recipe, overrides)
    release = pipeline.build(loaded, home(), base=base, activate=not no_activate)
    describe(release)


@click.command()
@_recipe
@_set
def train(recipe: Path, overrides: tuple[str, ...]) -> None:
    """Train RECIPE's models; `build` goes on from here."""
    from kgservice import pipeline
    from kgservice.resources import home

    loaded, base = load_recipe(recipe, overrides)
    graph = pipeline.prepare_graph(loaded, home(), base)
    for name in loaded.models:
        model = pipeline.train(loaded, name, graph, home())
        figures = model.metrics["valid"]["filtered"]["realistic"]
        click.echo(
            f"{name}: validation MRR {figures.get('mrr', float('nan')):.4f}, best epoch {model.history.best_epoch}"
        )


@click.command()
@_recipe
@_set
@click.option("--seeds", default="0", show_default=True, help="Seeds of the training, such as 0,1,2.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the measurements as JSON.")
def evaluate(recipe: Path, overrides: tuple[str, ...], seeds: str, out: Path | None) -> None:
    """Train RECIPE's models once per seed and measure them on the test split."""
    from kgservice import pipeline
    from kgservice.card import model_card
    from kgservice.errors import RecipeError
    from kgservice.release import provenance
    from kgservice.resources import home

    loaded, base = load_recipe(recipe, overrides)
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise RecipeError(f"--seeds {seeds}: expected numbers with commas between, such as 0,1,2") from error
    graph = pipeline.prepare_graph(loaded, home(), base)
    results: dict[str, Any] = {}
    for name in loaded.models:
        runs = []
        for seed in numbers:
            seeded, _ = load_recipe(recipe, (*overrides, f"models.{name}.training.seed={seed}"))
            runs.append(dict(pipeline.train(seeded, name, graph, home()).metrics))
        results[name] = runs
        click.echo(model_card(loaded, name, runs))
    if out:
        command = " ".join(["kgservice evaluate", str(recipe), *(f"--set {s}" for s in overrides), f"--seeds {seeds}"])
        record = {"recipe": loaded.model_dump(mode="json"), **provenance(), "command": command, "models": results}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@click.command()
@click.option("--no-serve", is_flag=True, help="Build and stop.")
@click.option("--port", default=8000, show_default=True, help="Port of the server.")
def demo(no_serve: bool, port: int) -> None:
    """Build the sample graph's release, print three calls to try, and serve it."""
    from kgservice import pipeline
    from kgservice.resources import home, share

    path = share() / "models" / "world.toml"
    loaded, base = load_recipe(path, ())
    describe(pipeline.build(loaded, home(), base=base))
    click.echo(_TRY.format(port=port))
    if not no_serve:
        from kgservice.cli.serve import serve

        serve.main(["--port", str(port)], standalone_mode=False)


def load_recipe(path: Path, overrides: tuple[str, ...]) -> tuple[Recipe, Path]:
    """A recipe by file, or by the name of one that comes with kgservice; and the folder its sources are relative to."""
    from kgservice.recipe import Recipe
    from kgservice.resources import share

    shipped = share() / "models" / f"{path.name.removesuffix('.toml')}.toml"
    found = path if path.exists() or not shipped.exists() else shipped
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
