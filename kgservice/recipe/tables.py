"""A recipe's tables as plain values: what a model takes from another, what the command line changes, and TOML again."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from kgservice.errors import RecipeError


def inherited(models: Mapping[str, Any], name: str, heirs: tuple[str, ...] = ()) -> Any:
    """The table of a model with what it takes from the one that it is `like`."""
    table = models[name]
    other = table.get("like") if isinstance(table, Mapping) else None
    if not isinstance(other, str) or not other:  # another kind of value is told with all other mistakes
        return table
    chain = (*heirs, name)
    if other in chain:
        raise RecipeError(f"models.{name}.like: models are like each other in a circle: {' → '.join((*chain, other))}")
    if other not in models:
        close = difflib.get_close_matches(other, models, n=1)
        raise RecipeError(
            f"models.{name}.like is {other!r}, which is no model of this recipe. "
            + (f"Did you mean {close[0]!r}?" if close else f"Models: {', '.join(models)}.")
        )
    return merged(inherited(models, other, chain), {key: value for key, value in table.items() if key != "like"})


def merged(below: Any, above: Any) -> Any:
    """`above`, and where both are tables what only `below` has."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def change(tree: dict[str, Any], override: str) -> None:
    """Apply `a.b=value` to the tables in place; a value that is not TOML is a string."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise RecipeError(f"--set {override}: expected KEY=VALUE, such as models.complex.training.epochs=10")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, leaf = path.strip().split(".")
    models = tree.get("models")
    if isinstance(models, dict) and len(parents) > 1 and parents[0] == "models" and parents[1] not in models:
        name = parents[1]
        if [*parents, leaf][2] not in ("scorer", "like"):
            close = difflib.get_close_matches(name, models, n=1)
            raise RecipeError(
                f"--set {override}: {name!r} is no model of this recipe. "
                + (f"Did you mean {close[0]!r}?" if close else f"Models: {', '.join(models)}.")
                + f" A new one begins with models.{name}.scorer or models.{name}.like."
            )
    for key in parents:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise RecipeError(f"--set {override}: {key} is a setting, not a table")
    tree[leaf] = value


def toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The tables as TOML, `path` being where they lie; scalars before tables."""
    if path:
        yield f"\n[{'.'.join(map(_toml_key, path))}]\n"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{_toml_key(key)} = {json.dumps(value, ensure_ascii=False)}\n"  # JSON scalars and lists are TOML as they are
    for key, value in table.items():
        if isinstance(value, dict):
            yield from toml_lines(value, (*path, key))


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
