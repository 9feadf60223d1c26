"""Writing the graph as Turtle (RDF 1.2), one file a theme, sorted so that a change shows as a small difference."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from world.facts import rows
from world.graph import Entity, Statement, World, quoted
from world.names import LANGUAGES

PREFIXES = """@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix schema: <https://schema.org/> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix world: <https://kgservice.example/world/> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""
_ABOUT = {
    "cities": "Cities: where they lie, how many people live there, on which river.",
    "concepts": "Values that others point at: decades, legal statuses, kinds of scripts, forms of government.",
    "currencies": "Currencies, past and present: who issues them, what came after them, what they are pegged to.",
    "languages": "Languages, their families and their scripts.",
    "nature": "Seas, rivers, lakes, mountains and deserts.",
    "organisations": "Organisations, their seats, and the central banks.",
    "places": "Countries and regions: the statements that carry dates are here.",
    "subdivisions": "States, provinces and regions within countries (ISO 3166-2).",
    "time_zones": "Zones of the IANA time zone database and the times that they keep.",
}


def files(world: World) -> dict[str, str]:
    """The Turtle files: name → text."""
    by_subject: dict[str, list[Statement]] = {}
    for statement in world.statements:
        by_subject.setdefault(statement.subject, []).append(statement)
    written: dict[str, str] = {"relations.ttl": _schema()}
    themes = sorted({entity.theme for entity in world.entities.values()})
    for theme in themes:
        blocks = [
            _block(entity, by_subject.get(entity.id, []))
            for entity in sorted(world.entities.values(), key=lambda entity: entity.id)
            if entity.theme == theme
        ]
        written[f"{theme}.ttl"] = f"# {_ABOUT[theme]} Made by tools/build_world.py.\n{PREFIXES}\n" + "\n".join(blocks)
    return written


def _block(entity: Entity, statements: Iterable[Statement]) -> str:
    lines = ["a " + ", ".join(f"world:{kind}" for kind in entity.types)]
    order = {language: place for place, language in enumerate(LANGUAGES)}
    labels = sorted(entity.labels.items(), key=lambda pair: order[pair[0]])
    lines.append("rdfs:label " + ", ".join(f"{quoted(text)}@{language}" for language, text in labels))
    aliases = [quoted(text) + (f"@{language}" if language else "") for text, language in entity.aliases]
    if aliases:
        lines.append("skos:altLabel " + ", ".join(sorted(aliases)))
    lines.append(f"schema:description {quoted(entity.description)}@en")
    lines += [
        f"world:{literal.relation} {literal.turtle}" for literal in sorted(entity.literals, key=lambda x: x.relation)
    ]
    for relation, group in groupby(sorted(statements), key=lambda statement: statement.relation):
        lines.append(f"world:{relation} " + _objects(list(group)))
    return f"world:{entity.id} " + " ;\n  ".join(lines) + " .\n"


def _objects(statements: list[Statement]) -> str:
    """The objects of one subject and relation; one annotation block for each statement, so that a triple that holds
    twice with other qualifiers has two reifiers."""
    written: list[str] = []
    for target, group in groupby(statements, key=lambda statement: statement.object):
        notes = [_annotation(statement) for statement in group if statement.qualifiers]
        written.append(" ".join([f"world:{target}", *notes]))
    plain = all("{|" not in text for text in written)
    return (", " if plain else ",\n    ").join(written)


def _annotation(statement: Statement) -> str:
    return "{| " + " ; ".join(f"world:{relation} {value}" for relation, value in statement.qualifiers) + " |}"


def _schema() -> str:
    head = "# The relations and classes of the sample graph. Made by tools/build_world.py.\n"
    rdf = "@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .\n"
    blocks = [head + rdf + PREFIXES]
    for name, kind, en, de, es, fr, what in rows("schema", "relations"):
        blocks.append(
            f"world:{name} a rdf:Property ;\n  rdfs:label {_in_languages(en, de, es, fr)} ;\n"
            f"  schema:description {quoted(what)}@en ;\n  rdfs:comment {quoted(_KINDS[kind])}@en .\n"
        )
    for name, en, de, es, fr in rows("schema", "classes"):
        blocks.append(
            f"world:{name} a rdfs:Class ;\n  rdfs:label {_in_languages(en, de, es, fr)} ;\n"
            f"  schema:description {quoted(f'class of {en} entities')}@en .\n"
        )
    return "\n".join(blocks)


_KINDS = {
    "link": "relation between two entities",
    "qualifier": "qualifier of a statement",
    "literal": "attribute: its values are numbers, dates or strings",
}


def _in_languages(*names: str) -> str:
    return ", ".join(
        f"{quoted(name)}@{language}" for name, language in zip(names, ("en", "de", "es", "fr"), strict=True)
    )
