"""`kgservice tune`: search for a model's settings."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kgservice.cli.outputs import OutFile

if TYPE_CHECKING:
    from kgservice.pipeline.tuning import Search, Trial
    from kgservice.recipe import Range, Recipe

SHOWN = 5


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the recipe.")
@click.option("--model", "name", metavar="NAME", help="Which model; not needed where the recipe has one.")
@click.option(
    "--trials", default=20, show_default=True, type=click.IntRange(1), help="Trainings, earlier calls counted."
)
@click.option(
    "--search",
    "searched",
    multiple=True,
    metavar="SPACE",
    help="KEY=LOW..HIGH, with :log or a step such as :2 behind it; KEY=A,B,C; or a .toml file. "
    "By default [tune.NAME] of the recipe, else usual ranges.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the search; the training's is the recipe's.")
@click.option("--no-pruning", is_flag=True, help="Train every trial to its end.")
@click.option("--out", type=OutFile(), help="Write the recipe with the best settings.")
@click.option("--record", type=OutFile(), help="Write all trials as JSON.")
def tune(
    recipe: Path,
    overrides: tuple[str, ...],
    name: str | None,
    trials: int,
    searched: tuple[str, ...],
    seed: int,
    *,
    no_pruning: bool,
    out: Path | None,
    record: Path | None,
) -> None:
    """Search for better settings of a model of RECIPE, judged by the MRR of its validation split.

    The same command goes on where it was stopped, also after a crash; a larger --trials goes further.
    """
    from kgservice.cli.build import load_recipe
    from kgservice.errors import RecipeError

    loaded, base = load_recipe(recipe, overrides)
    if name is None:
        if len(loaded.models) > 1:
            raise RecipeError(f"{recipe} has the models {', '.join(loaded.models)}: choose one with --model")
        name = next(iter(loaded.models))
    space = _space(loaded, name, searched) if searched else None

    from kgservice import pipeline
    from kgservice.pipeline import tuning
    from kgservice.release import provenance
    from kgservice.resources import home

    graph = pipeline.prepare_graph(loaded, home(), base)

    def told(trial: Trial, search: Search) -> None:
        best = (
            f"best {search.ranked[0].mrr:.4f} of trial {search.ranked[0].number}" if search.ranked else "none complete"
        )
        reached = "–" if trial.mrr is None else f"{trial.mrr:.4f}"
        what = "" if trial.state == "complete" else f" ({trial.state})"
        click.echo(
            f"trial {trial.number} of {trials}: MRR {reached}{what}, {trial.duration_s:.1f} s; {best}; "
            + " ".join(f"{key}={_short(value)}" for key, value in trial.settings.items())
        )

    try:
        search = tuning.tune(
            loaded, name, graph, home(), trials=trials, space=space, seed=seed, prune=not no_pruning, on_trial=told
        )
    except KeyboardInterrupt:
        click.echo("\nStopped. Trials that ended are kept: run the same command to go on.", err=True)
        sys.exit(130)
    _show(search)
    if out:
        best = _moved(search.best_recipe(), base, out.resolve().parent)
        _write(out, best.to_toml())
        click.echo(f"\n{out}: the recipe with the best settings")
    if record:
        command = shlex.join(["kgservice", *sys.argv[1:]])
        _write(record, json.dumps({**search.to_json(), **provenance(), "command": command}, indent=1) + "\n")


def _space(recipe: Recipe, name: str, searched: tuple[str, ...]) -> dict[str, Range]:
    """The recipe's space, replaced by a file, with single settings on top.

    Raises:
        RecipeError: an argument that is neither a file nor KEY=VALUES, or a setting that cannot be searched.
    """
    from kgservice.errors import RecipeError
    from kgservice.recipe import Recipe

    tree: dict[str, Any] = {}
    if name in recipe.tune:
        tree = {key: span.model_dump(exclude_none=True) for key, span in recipe.tune[name].ranges.items()}
    for text in searched:
        key, equals, values = text.partition("=")
        if not equals:
            try:
                tree = tomllib.loads(Path(text).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise RecipeError(
                    f"--search {text}: expected KEY=LOW..HIGH, KEY=A,B,C or a TOML file: {error}"
                ) from error
            tree = tree.get("tune", {}).get(name, tree)
            continue
        low, dots, high = values.partition("..")
        high, _, how = high.partition(":")
        key = key.removeprefix(f"models.{name}.")
        if not dots:
            tree[key] = [_value(part) for part in values.split(",")]
        elif how in {"", "log"} or how.isdigit():
            step = {"step": int(how)} if how.isdigit() else {"log": how == "log"}
            tree[key] = {"low": _value(low), "high": _value(high), **step}
        else:
            raise RecipeError(f"--search {text}: after the colon comes log, or a step such as 2")
    whole = recipe.model_dump(mode="json", exclude_none=True)
    return Recipe.parse({**whole, "tune": {name: tree}}, source="--search").tune[name].ranges


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _show(search: Search) -> None:
    states = [trial.state for trial in search.trials]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in ("complete", "pruned", "diverged") if state in states
    )
    click.echo(f"\n{len(states)} trials ({counts}) in {search.folder}")
    names = list(search.space)
    rows = [["trial", "MRR", "s", *names]]
    for trial in search.ranked[:SHOWN]:
        values = [_short(trial.settings[name]) for name in names]
        rows.append([str(trial.number), f"{trial.mrr:.4f}", f"{trial.duration_s:.1f}", *values])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    if search.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in search.importance.items())
        click.echo(f"\nImportance: {shares}")
    if search.ranked:
        click.echo("\nBest settings:")
        arguments = [f"models.{search.model}.{key}={_toml(value)}" for key, value in search.ranked[0].settings.items()]
        click.echo(" ".join(f"--set {shlex.quote(argument)}" for argument in arguments))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _toml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _moved(recipe: Recipe, base: Path, folder: Path) -> Recipe:
    """The recipe with its relative paths seen from another folder."""

    def seen(path: str) -> str:
        return path if Path(path).is_absolute() else os.path.relpath(base / path, folder)

    graph = recipe.graph.model_copy(update={"sources": tuple(map(seen, recipe.graph.sources))})
    models = {
        name: model.model_copy(
            update={
                "weights": model.weights.model_copy(
                    update={
                        field: seen(path)
                        for field in ("path", "entities", "relations")
                        if (path := getattr(model.weights, field)) is not None
                    }
                )
            }
        )
        for name, model in recipe.models.items()
    }
    return recipe.model_copy(update={"graph": graph, "models": models})


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
