"""Regenerate `models/*.md` from the committed results of `kgservice evaluate`, and `docs/recipes.md` from the recipe's types.

`--check` changes nothing and fails where a file is not what it should be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kgservice.card import model_card
from kgservice.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "tests" / "bench" / "results"


def main(arguments: list[str]) -> int:
    """Write all generated pages, or compare them."""
    wrong = []
    for path, text in (*cards(), (ROOT / "docs" / "recipes.md", settings_page())):
        if "--check" in arguments:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                wrong.append(path.relative_to(ROOT).as_posix())
        else:
            path.write_text(text, encoding="utf-8")
    for name in wrong:
        print(f"{name} is not what its source gives. Run: make cards", file=sys.stderr)
    return 1 if wrong else 0


def cards() -> Iterator[tuple[Path, str]]:
    """A card per committed result whose recipe lies in `models/`."""
    for path in sorted(RESULTS.glob("*.json")):
        recipe_path = ROOT / "models" / f"{path.stem}.toml"
        if not recipe_path.exists():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.parse(record["recipe"])
        notes = recipe_path.with_suffix(".notes.md")
        provenance = {
            "command": f"`{record['command']}`",
            "commit": record["commit"],
            "libraries": ", ".join(f"{name} {version}" for name, version in record["libraries"].items()),
            "result": f"`tests/bench/results/{path.name}`",
        }
        text = "\n".join(
            model_card(
                recipe,
                name,
                runs,
                provenance=provenance,
                notes=notes.read_text(encoding="utf-8") if notes.exists() else "",
            )
            for name, runs in record["models"].items()
        )
        yield recipe_path.with_suffix(".md"), text


def settings_page() -> str:
    """Every recipe setting with its type, default and help."""
    lines = ["# Recipe settings", "", "Generated from `kgservice/recipe.py` by `make cards`.", ""]
    for title, model in _tables(Recipe, ""):
        lines += [f"## {title}", "", (model.__doc__ or "").strip(), "", "| setting | type | default | meaning |"]
        lines.append("|---|---|---|---|")
        for name, field in model.model_fields.items():
            if _inner(field) is None:
                lines.append(f"| `{name}` | {_kind(field)} | {_default(field)} | {field.description} |")
        lines.append("")
    return "\n".join(lines)


def _tables(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield f"[{path}]" if path else "top level", model
    for name, field in model.model_fields.items():
        inner = _inner(field)
        if inner is not None:
            many = not isinstance(field.annotation, type)
            yield from _tables(inner, f"{path}.{name}".lstrip(".") + (".NAME" if many else ""))


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    kinds: tuple[Any, ...] = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _kind(field: FieldInfo) -> str:
    text = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    return text.replace("typing.", "").replace("|", "or")


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{json.dumps(field.default)}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
