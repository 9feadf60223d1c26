"""What an entity is, as HTML for frames in other pages. Words of a graph are data: all are escaped."""

from __future__ import annotations

from html import escape

from kgservice.answers.entities import EntityPage
from kgservice.engine import Engine
from kgservice.reconciliation.suggesting import Kind

_STYLE = (
    "body{font:13px/1.4 system-ui,sans-serif;margin:8px}h1{font-size:15px;margin:0}p{margin:4px 0}small{color:#666}"
)


def flyout(engine: Engine, kind: Kind, id: str, language: str) -> str:
    """A piece of HTML about an entity, type or property.

    Raises:
        UnknownName: the graph holds none of that id.
    """
    if kind == "entity":
        page = engine.entity(id, language=language, limit=0)
        return _paragraphs(page.label or page.id, page.description, [one.label or one.id for one in page.types])
    names = engine.types if kind == "type" else engine.relations
    texts = engine.graph.types.texts if kind == "type" else engine.graph.relation_texts
    place = names.resolve(id)
    return _paragraphs(texts.label(place, language) or id, texts.description(place, language), [])


def _paragraphs(label: str, description: str | None, types: list[str]) -> str:
    """Words of a graph are data: all are escaped."""
    parts = [f"<h1>{escape(label)}</h1>"]
    if types:
        parts.append(f"<p><small>{escape(', '.join(types))}</small></p>")
    if description:
        parts.append(f"<p>{escape(description)}</p>")
    return "".join(parts)


def page_of(page: EntityPage, language: str) -> str:
    """A page for a small frame: name, types, description and the first statements."""
    rows = "".join(
        f"<p>{escape(one.relation.label or one.relation.id)}: {escape(one.object.label or one.object.id or '')}</p>"
        for one in page.statements
        if one.subject.id == page.id
    )
    body = _paragraphs(page.label or page.id, page.description, [one.label or one.id for one in page.types]) + rows
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8"><title>{escape(page.label or page.id)}'
        f"</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
