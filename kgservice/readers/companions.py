"""Files beside a benchmark's triples: labels, descriptions, types and numbers, each in the layout its source has.

A file's labels fill gaps: they go only to owners that no earlier file has labelled in the same language.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from kgservice.errors import DataError
from kgservice.graph.texts import TextKind
from kgservice.readers.assembly import BatchBuilder, OwnerName
from kgservice.readers.sources import Source

_LABEL, _ALIAS, _DESCRIPTION = TextKind.LABEL, TextKind.ALIAS, TextKind.DESCRIPTION
Row = tuple[str, TextKind, str]  # owner, kind, text
_TEXT_SCHEMA = {"owner": pl.String, "kind": pl.Int8, "text": pl.String}


@dataclass(frozen=True)
class Companion:
    """A file with what it holds.

    Attributes:
        role: a key of `TEXT_ROLES` or `TYPE_ROLES`, or `literals_tsv`.
        language: of its texts.
        prefix: what the graph's names have before those of the file.
    """

    source: Source
    role: str
    language: str = "en"
    prefix: str = ""


def add_companions(builder: BatchBuilder, companions: Sequence[Companion]) -> None:
    """Read companions, in order, into a builder that has the triples.

    Raises:
        DataError: a file is not in the layout that its role promises.
    """
    labelled: dict[OwnerName, set[tuple[str, str]]] = {"entity": set(), "relation": set(), "type": set()}
    attributes: dict[str, list[str]] = {}
    for companion in companions:
        with companion.source.open() as stream:
            content = stream.read()
        try:
            _add(builder, companion, content.decode(), labelled, attributes)
        except (ValueError, AttributeError, TypeError, SyntaxError, csv.Error) as error:
            raise DataError(
                f"{companion.source.name}: not in the layout of {companion.role}: {error}. "
                "Check its role in the manifest."
            ) from error


def type_pairs(source: Source) -> list[tuple[str, str]]:
    """(entity, type) by name of a file `{id: [type, ...]}`.

    Raises:
        DataError: it is not in this layout.
    """
    with source.open() as stream:
        content = stream.read()
    try:
        return list(_types_of(content.decode()))
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{source.name}: expected {{entity: [type, ...]}} as JSON: {error}") from error


def _add(
    builder: BatchBuilder,
    companion: Companion,
    content: str,
    labelled: Mapping[OwnerName, set[tuple[str, str]]],
    attributes: dict[str, list[str]],
) -> None:
    if companion.role == "literals_tsv":
        facts = list(_literals(content))
        subjects, names, literals = (list(column) for column in zip(*facts, strict=True)) if facts else ([], [], [])
        builder.add_literals([companion.prefix + subject for subject in subjects], names, literals)
        for name in sorted(set(names)):
            attributes.setdefault(name.partition("_")[0], []).append(name)
        return
    if companion.role in TYPE_ROLES:
        pairs = [(companion.prefix + entity, type_) for entity, type_ in TYPE_ROLES[companion.role](content)]
        builder.add_types([entity for entity, _ in pairs], [type_ for _, type_ in pairs])
        return
    of, rows_of = TEXT_ROLES[companion.role]
    rows = [(companion.prefix + owner, kind, text) for owner, kind, text in rows_of(content) if text]
    if companion.role in _ATTRIBUTE_ROLES:
        rows = [(name, kind, text) for owner, kind, text in rows for name in attributes.get(owner, [owner])]
    seen, language = labelled[of], companion.language
    fresh = [row for row in rows if row[1] is not _LABEL or (row[0], language) not in seen]
    seen.update((owner, language) for owner, kind, _ in rows if kind is _LABEL)
    table = pl.DataFrame(fresh, schema=_TEXT_SCHEMA, orient="row")
    builder.add_texts(
        table["owner"].to_arrow(),
        table["kind"].to_numpy().astype(np.int8),
        [language] * len(table),
        table["text"].to_arrow(),
        of=of,
    )


def _fields(content: str) -> Iterator[tuple[str, str]]:
    """The first two tab-separated fields of every line."""
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            name, tab, rest = line.rstrip("\r").partition("\t")
            if not tab:
                raise ValueError(f"line {number} has no tab")
            yield name, rest.partition("\t")[0].strip()


def _labels(content: str) -> Iterable[Row]:
    """`id<TAB>label`, further fields ignored."""
    return ((name, _LABEL, text) for name, text in _fields(content))


def _descriptions(content: str) -> Iterable[Row]:
    """`id<TAB>description`."""
    return ((name, _DESCRIPTION, text) for name, text in _fields(content))


def _aliases(content: str) -> Iterator[Row]:
    """`id<TAB>alias, alias`; an alias that holds a comma and a space comes in parts, the file does not tell."""
    for name, text in _fields(content):
        for alias in text.split(", "):
            yield name, _ALIAS, alias.strip()


def _glosses(content: str) -> Iterator[Row]:
    """`id<TAB>name, definition`, as for WordNet."""
    for name, text in _fields(content):
        label, _, definition = text.partition(", ")
        yield name, _LABEL, label
        yield name, _DESCRIPTION, definition


def _sentences(content: str) -> Iterator[Row]:
    """`id<TAB>name -- first sentence of an article`, as for Freebase."""
    for name, text in _fields(content):
        label, _, sentence = text.partition(" -- ")
        yield name, _LABEL, label
        yield name, _DESCRIPTION, sentence


def _described(content: str) -> Iterator[Row]:
    """`{id: {"label": ..., "description": ..., "alternatives": [...]}}`."""
    for name, texts in json.loads(content).items():
        yield from _texts_of(name, texts)


def _texts_of(name: str, texts: Mapping[str, Any]) -> Iterator[Row]:
    yield name, _LABEL, texts.get("label") or ""
    yield name, _DESCRIPTION, texts.get("description") or ""
    for alias in texts.get("alternatives") or ():
        yield name, _ALIAS, alias


def _types_of(content: str) -> Iterator[tuple[str, str]]:
    """`{id: [type, ...]}`."""
    for entity, types in json.loads(content).items():
        for type_ in types:
            yield entity, type_


def _classes(content: str) -> Iterator[tuple[str, str]]:
    """A table `entity,classes` with a header; the classes are a Python set of strings, read as a literal only."""
    rows = csv.reader(content.splitlines())
    if next(rows, None) != ["entity", "classes"]:
        raise ValueError("line 1 is not the header entity,classes")
    for row in rows:
        if len(row) != 2:
            raise ValueError(f"line {rows.line_num} has {len(row)} fields, expected 2")
        classes = ast.literal_eval(row[1])
        if not isinstance(classes, set) or not all(isinstance(name, str) for name in classes):
            raise ValueError(f"line {rows.line_num}: expected a set of strings, found {row[1][:60]!r}")
        for name in sorted(classes):
            yield row[0], name


def _literals(content: str) -> Iterator[tuple[str, str, str]]:
    """`subject<TAB>attribute<TAB>"+1.5"^^<datatype>`; the sign of positive numbers is left out."""
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            fields = line.rstrip("\r").split("\t")
            if len(fields) != 3 or (match := _LITERAL.fullmatch(fields[2])) is None:
                raise ValueError(f"line {number} is not a subject, an attribute and a literal with its datatype")
            yield fields[0], fields[1], match[1] + match[2]


_LITERAL = re.compile(r'(")\+?([^"\\]*"\^\^<[^<>"\s]+>)')

TYPE_ROLES: Mapping[str, Callable[[str], Iterable[tuple[str, str]]]] = {
    "entity_types_json": _types_of,
    "entity_types_tsv": _fields,
    "entity_classes_csv": _classes,
}
"""Layouts of files that give entities their types, by role."""

TEXT_ROLES: Mapping[str, tuple[OwnerName, Callable[[str], Iterable[Row]]]] = {
    "entity_labels_tsv": ("entity", _labels),
    "entity_descriptions_tsv": ("entity", _descriptions),
    "entity_aliases_tsv": ("entity", _aliases),
    "entity_glosses_tsv": ("entity", _glosses),
    "entity_sentences_tsv": ("entity", _sentences),
    "entity_texts_json": ("entity", _described),
    "relation_labels_tsv": ("relation", _labels),
    "relation_aliases_tsv": ("relation", _aliases),
    "relation_descriptions_tsv": ("relation", _descriptions),
    "attribute_labels_tsv": ("relation", _labels),
    "attribute_aliases_tsv": ("relation", _aliases),
    "attribute_descriptions_tsv": ("relation", _descriptions),
    "relation_texts_json": ("relation", _described),
    "type_texts_json": ("type", _described),
}
"""Layouts of text files, by role: whose texts they hold, and how to read them."""

_ATTRIBUTE_ROLES = {role for role in TEXT_ROLES if role.startswith("attribute_")}
# Their texts belong to `P1082`, where `literals_tsv` speaks of `P1082_Q199`, the property with a unit; so they go to
# every attribute that begins with the property.

COMPANION_ROLES = ("literals_tsv", *TYPE_ROLES, *TEXT_ROLES)
"""Every role of a companion."""
