"""Files beside a benchmark's triples: labels, descriptions and types, each in the layout its source has.

A file's labels fill gaps: they go only to owners that no earlier file has labelled in the same language.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from kgservice.errors import DataError
from kgservice.readers.assembly import GraphBuilder, Owner
from kgservice.readers.sources import Source
from kgservice.texts import TextKind

_LABEL, _ALIAS, _DESCRIPTION = TextKind.LABEL, TextKind.ALIAS, TextKind.DESCRIPTION
Row = tuple[str, TextKind, str]  # owner, kind, text
_TEXT_SCHEMA = {"owner": pl.String, "kind": pl.Int8, "text": pl.String}


@dataclass(frozen=True)
class Companion:
    """A file with what it holds.

    Attributes:
        role: a key of `TEXT_ROLES`, or `entity_types_json`.
        language: of its texts.
    """

    source: Source
    role: str
    language: str = "en"


def add_companions(builder: GraphBuilder, companions: Sequence[Companion]) -> None:
    """Read companions, in order, into a builder that has the triples.

    Raises:
        DataError: a file is not in the layout that its role promises.
    """
    labelled: dict[Owner, set[tuple[str, str]]] = {"entity": set(), "relation": set(), "type": set()}
    for companion in companions:
        with companion.source.open() as stream:
            content = stream.read()
        try:
            if companion.role == "entity_types_json":
                pairs = [(entity, type_) for entity, types in json.loads(content).items() for type_ in types]
                builder.add_types([entity for entity, _ in pairs], [type_ for _, type_ in pairs])
                continue
            of, rows_of = TEXT_ROLES[companion.role]
            rows = [row for row in rows_of(content.decode()) if row[2]]
        except (ValueError, AttributeError, TypeError) as error:
            raise DataError(
                f"{companion.source.name}: not in the layout of {companion.role}: {error}. "
                "Check its role in the manifest."
            ) from error
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


def _glosses(content: str) -> Iterator[Row]:
    """`id<TAB>name, definition`, as for WordNet."""
    for name, text in _fields(content):
        label, _, definition = text.partition(", ")
        yield name, _LABEL, label
        yield name, _DESCRIPTION, definition


def _described(content: str) -> Iterator[Row]:
    """`{id: {"label": ..., "description": ..., "alternatives": [...]}}`."""
    for name, texts in json.loads(content).items():
        yield from _texts_of(name, texts)


def _texts_of(name: str, texts: Mapping[str, Any]) -> Iterator[Row]:
    yield name, _LABEL, texts.get("label") or ""
    yield name, _DESCRIPTION, texts.get("description") or ""
    for alias in texts.get("alternatives") or ():
        yield name, _ALIAS, alias


TEXT_ROLES: Mapping[str, tuple[Owner, Callable[[str], Iterable[Row]]]] = {
    "entity_labels_tsv": ("entity", _labels),
    "entity_descriptions_tsv": ("entity", _descriptions),
    "entity_glosses_tsv": ("entity", _glosses),
    "entity_texts_json": ("entity", _described),
    "relation_labels_tsv": ("relation", _labels),
    "relation_texts_json": ("relation", _described),
    "type_texts_json": ("type", _described),
}
"""Layouts of text files, by role: whose texts they hold, and how to read them."""
