"""Wikidata's RDF export: what its triples mean is partly told by the names in them, block by block.

Entities and truthy properties get their plain ids, values their canonical literals (see `wikibase`), and what is about
pages, references or the export itself is dropped and counted. Statement nodes stay triples: they are put together when
all blocks are known (`ingestion.wikibase_nodes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.graph.literals import WIKIBASE
from kgservice.readers import wikibase
from kgservice.readers.batch import Places, Tally
from kgservice.readers.columns import large_strings
from kgservice.readers.options import RDF, ReadOptions

BASE = "http://www.wikidata.org/"
PROPERTY = BASE + "prop/"
STATEMENT = BASE + "entity/statement/"
OWL = "http://www.w3.org/2002/07/owl#"
_SCHEMA = "http://schema.org/"
_DATA = r"^https?://www\.wikidata\.org/wiki/Special:EntityData/"
_ENTITY = r"^https?://www\.wikidata\.org/entity/([QPL][1-9][0-9]*(?:-[FS][1-9][0-9]*)?)$"
_DIRECT = r"^http://www\.wikidata\.org/prop/direct/(P[1-9][0-9]*)$"
_OF_PROPERTY = r"^http://www\.wikidata\.org/prop/(?:[a-z-]+/)*(P[1-9][0-9]*)$"
_NORMALIZED = r"^http://www\.wikidata\.org/prop/(?:direct|statement/value|qualifier/value|reference/value)-normalized/"
_PAGE = r"^https?://[a-z0-9.-]+\.(?:wiki[a-z]+|mediawiki)\.org/"
_PAGE_PREDICATES = [
    *(_SCHEMA + name for name in ("about", "inLanguage", "isPartOf", "name")),
    *(WIKIBASE + name for name in ("badge", "wikiGroup")),
    RDF + "type",
]

Mask = npt.NDArray[np.bool_]


class Triples(Protocol):
    """The triples of a block while they are sorted; see `rdf`."""

    terms: pa.LargeStringArray
    s: Places
    p: Places
    o: Places
    left: Mask
    tally: Tally

    def find(self, names: list[str]) -> Places:
        """Places of names, -1 where there is none."""

    def places(self, names: pa.Array) -> Places:
        """Places of names, which are added where they are new."""

    def drop(self, rows: Mask, reason: str) -> None:
        """Count rows as gone for a reason."""


@dataclass(frozen=True)
class Rewritten:
    """What left the triples.

    Attributes:
        value_nodes: `[3, x]`, triples about value nodes.
        aliases: `[2, x]`, redirects.
        properties: `[x]`, terms that are needed later though no triple holds them.
    """

    value_nodes: Places
    aliases: Places
    properties: Places


def is_meant(terms: pa.LargeStringArray) -> bool:
    """Whether a block holds names of Wikidata."""
    return bool(pc.any(pc.match_substring(terms, "://www.wikidata.org/")).as_py())


def rewrite(triples: Triples, options: ReadOptions) -> Rewritten:
    """Give plain names to entities and values, and drop what is not about them."""
    triples.terms = _plain_names(triples.terms)
    _merge_equal(triples)
    terms = pl.Series("term", triples.terms, dtype=pl.String)

    def those(pattern: str) -> Mask:
        found: Mask = terms.str.contains(pattern).to_numpy()
        return found

    def starting(prefix: str) -> Mask:
        found: Mask = terms.str.starts_with(prefix).to_numpy()
        return found

    s, p, o = triples.s, triples.p, triples.o
    item, property_, lexeme = (those(rf"^{letter}[1-9][0-9]*(?:-[FS][1-9][0-9]*)?$") for letter in "QPL")
    entity = item | property_ | lexeme
    node, value = starting(STATEMENT), starting(BASE + "value/")
    type_, sitelinks, same = triples.find([RDF + "type", WIKIBASE + "sitelinks", OWL + "sameAs"])
    is_type = p == type_

    data = those(_DATA)
    _move_sitelinks(triples, data, int(sitelinks))
    s = triples.s
    terms = pl.Series("term", triples.terms, dtype=pl.String)
    grown = len(terms) - len(entity)
    item, property_, lexeme, entity, node, value, data = (
        np.concatenate([flags, np.zeros(grown, bool)]) for flags in (item, property_, lexeme, entity, node, value, data)
    )

    triples.drop(data[s], "wikidata_metadata")
    triples.drop((those(_PAGE) & ~starting(BASE))[s] & np.isin(p, triples.find(_PAGE_PREDICATES)), "sitelink")
    triples.drop(starting(BASE + "reference/")[s], "reference")
    triples.drop(those(_NORMALIZED)[p], "normalized_value")
    triples.drop(starting(PROPERTY)[s], "wikidata_metadata")
    _drop_restrictions(triples, property_)
    ontology = starting(WIKIBASE)
    triples.drop(entity[s] & ((is_type & ontology[o]) | (ontology[p] & (p != sitelinks))), "wikidata_metadata")
    triples.drop(lexeme[s] | those(f"^{STATEMENT}[Ll]")[s], "lexeme")
    is_text = np.isin(p, triples.find(list(options.text_predicates)))
    triples.drop(those(f"^{STATEMENT}[Pp]")[s] | (property_[s] & ~is_text), "about_a_property")

    about_value = triples.left & value[s]
    value_nodes = np.stack([column[about_value] for column in (s, p, o)])
    triples.drop(about_value, "reifications")
    redirect = triples.left & (p == same) & entity[s] & entity[o]
    aliases = np.stack([s[redirect], o[redirect]])
    triples.drop(redirect, "redirects")

    no_value = triples.left & is_type & starting(PROPERTY + "novalue/")[o]
    triples.drop(no_value & item[s], "restated")
    no_value &= node[s]
    if no_value.any():
        triples.p = np.where(no_value, o, p).astype(np.int32)
        nothing = triples.places(pa.array([wikibase.NO_VALUE], pa.large_string()))[0]
        triples.o = np.where(no_value, nothing, o).astype(np.int32)
    simple = (property_ | those(rf"^{PROPERTY}(?:statement|qualifier)/P[0-9]+$"))[p] & triples.left & (item | node)[s]
    _canonical_objects(triples, simple & ~no_value, np.concatenate([entity, [False]]))
    return Rewritten(value_nodes, aliases, _properties(triples))


def _plain_names(terms: pa.LargeStringArray) -> pa.LargeStringArray:
    """Plain ids in place of the IRIs of entities and of truthy properties."""
    series = pl.Series("term", terms, dtype=pl.String)
    plain = series.str.extract(_ENTITY).fill_null(series.str.extract(_DIRECT)).fill_null(series)
    return large_strings(plain.to_arrow())


def _merge_equal(triples: Triples) -> None:
    """Terms that became equal are one term again."""
    encoded = triples.terms.dictionary_encode()
    if len(encoded.dictionary) < len(triples.terms):
        place = encoded.indices.to_numpy()
        triples.terms = encoded.dictionary
        triples.s, triples.p, triples.o = (place[column] for column in (triples.s, triples.p, triples.o))


def _move_sitelinks(triples: Triples, data: Mask, sitelinks: int) -> None:
    """The number of sitelinks is said of the document; it is the item's."""
    rows = np.flatnonzero(triples.left & data[triples.s] & (triples.p == sitelinks) & (sitelinks >= 0))
    if not len(rows):
        return
    documents = pl.Series("name", triples.terms.take(pa.array(triples.s[rows])), dtype=pl.String)
    named = documents.str.extract(r"/(Q[1-9][0-9]*)$")
    known = named.is_not_null().to_numpy()
    triples.s = triples.s.copy()
    triples.s[rows[known]] = triples.places(large_strings(named.drop_nulls().to_arrow()))


def _drop_restrictions(triples: Triples, property_: Mask) -> None:
    """`_:x owl:onProperty wdt:P31` and all else about `_:x`: how the export spells that a property has no value."""
    on_property = triples.find([OWL + "onProperty"])[0]
    if on_property < 0:
        return
    restriction = np.zeros(len(triples.terms), bool)
    restriction[triples.s[(triples.p == on_property) & property_[triples.o]]] = True
    triples.drop(restriction[triples.s], "wikidata_metadata")


def _canonical_objects(triples: Triples, rows: Mask, entity: Mask) -> None:
    """Values of truthy triples, of statements and of qualifiers, as the JSON dump would give them."""
    used = np.unique(triples.o[rows])
    used = used[~entity[np.minimum(used, len(entity) - 1)]]
    if not len(used):
        return
    old = pl.Series("term", triples.terms.take(pa.array(used)), dtype=pl.String).rechunk()
    is_literal = old.str.starts_with('"')
    unknown = old.str.starts_with("_:") | old.str.contains("/.well-known/genid/", literal=True)
    frame = pl.DataFrame(
        {
            "literal": wikibase.simple_literals(old),
            "media": wikibase.media_literals(old),
            "url": wikibase.url_literals(old),
            "is_literal": is_literal,
            "unknown": unknown,
        }
    )
    new = frame.select(
        pl.when("is_literal")
        .then("literal")
        .when("unknown")
        .then(pl.lit(wikibase.SOME_VALUE))
        .otherwise(pl.coalesce("media", "url"))
        .alias("new")
    )["new"]
    place = np.arange(len(triples.terms), dtype=np.int32)
    places = triples.places(large_strings(new.to_arrow()))
    place[used] = places
    triples.o = np.where(rows, place[triples.o], triples.o).astype(np.int32)


def _properties(triples: Triples) -> Places:
    """The plain names of all properties whose other IRIs stand in the block."""
    named = pl.Series("term", triples.terms, dtype=pl.String).str.extract(_OF_PROPERTY).drop_nulls().unique()
    return triples.places(large_strings(named.to_arrow())) if len(named) else np.empty(0, np.int32)
