"""The page of recipe settings, from their types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kgservice.recipe import Recipe


def settings_page() -> str:
    """Every recipe setting with its type, default and help."""
    lines = ["# Recipe settings", "", "Generated from `kgservice/recipe/settings.py` by `make cards`.", ""]
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
    return _named(field.annotation)


def _named(kind: Any) -> str:
    """A type as people write it: `int or "auto" or "all"`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _named(inner[0])
    if origin is Literal:
        return " or ".join(json.dumps(value) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join("none" if part is type(None) else _named(part) for part in inner)
    if origin is not None:
        return f"list of {_named(inner[0])}"
    return str(kind.__name__)


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{json.dumps(field.default)}`"
