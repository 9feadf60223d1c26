"""What RDF triples mean to a knowledge graph: links, texts, types, literals and qualifiers, decided on whole columns.

Qualifiers come from reifiers (RDF 1.2, `_:r rdf:reifies <<( s p o )>>`) and from classical reification
(`_:r rdf:subject s` and so on): every other triple about a reifier qualifies the statement. Quoting does not assert,
so a reified triple counts only if it is also stated. A stated triple with reifiers gives one row per reifier that has
qualifiers, and no row without.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.literals import Literal
from kgservice.ragged import Ragged, offsets_of
from kgservice.readers.assembly import GraphBuilder
from kgservice.readers.columns import Coded, Codes
from kgservice.texts import TextKind

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
SKOS = "http://www.w3.org/2004/02/skos/core#"
DCTERMS = "http://purl.org/dc/terms/"
_SCHEMA = ("http://schema.org/", "https://schema.org/")

TEXT_PREDICATES: dict[str, TextKind] = {
    RDFS + "label": TextKind.LABEL,
    SKOS + "prefLabel": TextKind.LABEL,
    SKOS + "altLabel": TextKind.ALIAS,
    RDFS + "comment": TextKind.DESCRIPTION,
    SKOS + "definition": TextKind.DESCRIPTION,
    DCTERMS + "description": TextKind.DESCRIPTION,
    **{schema + "name": TextKind.LABEL for schema in _SCHEMA},
    **{schema + "alternateName": TextKind.ALIAS for schema in _SCHEMA},
    **{schema + "description": TextKind.DESCRIPTION for schema in _SCHEMA},
}
"""Predicates whose plain or language-tagged strings are texts of their subject."""

_IRI, _BNODE, _LITERAL, _TRIPLE = range(4)
_TRIPLE_TERM = r"(?s)^<<\( (?P<s>\S+) (?P<p>\S+) (?P<o>.*) \)>>$"
_TEXT = r'(?s)^"(?P<text>.*)"(?:@(?P<language>[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*)(?:--(?:ltr|rtl))?)?$'

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


class Outcome(Enum):
    """What a triple became: a name for reports, and whether it is part of the graph."""

    STATEMENT = ("statements", True)
    TEXT = ("texts", True)
    TYPE = ("types", True)
    LITERAL = ("literals", True)
    QUALIFIER = ("qualifiers", True)
    REIFICATION = ("reifications", True)  # ties qualifiers to their statement
    DUPLICATE = ("duplicate", False)  # the same triple was read before
    UNASSERTED = ("unasserted", False)  # of a triple that is quoted but not stated
    QUALIFIES_NO_LINK = ("qualifies_no_link", False)  # of a text, a type or a literal fact
    BROKEN_REIFICATION = ("broken_reification", False)  # not exactly one rdf:subject, predicate and object
    ABOUT_A_REIFIER = ("about_a_reifier", False)  # its types and texts, and links to it
    ABOUT_THE_SCHEMA = ("about_the_schema", False)  # types and literals of relations and of types that are not entities
    TRIPLE_TERM = ("triple_term", False)  # a quoted triple where an entity or a literal is expected

    @property
    def label(self) -> str:
        """The name in reports."""
        return str(self.value[0])

    @property
    def is_kept(self) -> bool:
        """Whether it is part of the graph."""
        return bool(self.value[1])


_OUTCOMES = tuple(Outcome)
_PLACE = {outcome: place for place, outcome in enumerate(_OUTCOMES)}


@dataclass(frozen=True)
class Outcomes:
    """int8 `[m]`: the place in `Outcome` of what each triple became."""

    places: npt.NDArray[np.int8]

    def counts(self, of: Mask) -> dict[Outcome, int]:
        """How many of the chosen triples became what, zeros left out."""
        counts = np.bincount(self.places[of], minlength=len(_OUTCOMES))
        return {outcome: int(count) for outcome, count in zip(_OUTCOMES, counts, strict=True) if count}


@dataclass(frozen=True)
class Triples:
    """`m` triples over `t` distinct terms in N-Triples form.

    Attributes:
        terms: `[t]`.
        subject, predicate, object: int32 `[m]`, places in `terms`.
    """

    terms: pa.LargeStringArray
    subject: Codes
    predicate: Codes
    object: Codes

    @classmethod
    def of(cls, column: Coded) -> Triples:
        """From one column that holds subject, predicate and object in turn."""
        subject, predicate, object = np.ascontiguousarray(column.codes.reshape(-1, 3).T)
        return cls(column.values, subject, predicate, object)

    @cached_property
    def kind(self) -> npt.NDArray[np.int8]:
        """int8 `[t]`: IRI, blank node, literal or triple term."""
        starts = pl.from_arrow(self.terms)
        assert isinstance(starts, pl.Series)
        kind = np.full(len(self.terms), _IRI, np.int8)
        for sign, number in (("_:", _BNODE), ('"', _LITERAL), ("<<(", _TRIPLE)):
            kind[starts.str.starts_with(sign).to_numpy()] = number
        return kind

    @cached_property
    def names(self) -> pa.LargeStringArray:
        """The terms as the graph names them: IRIs without brackets."""
        bare = pc.utf8_slice_codeunits(self.terms, start=1, stop=-1)
        return pc.if_else(pa.array(self.kind == _IRI), bare, self.terms)

    def find(self, terms: pa.Array | list[str]) -> Codes:
        """int32: the places of terms, -1 where there is none."""
        found = pc.index_in(pa.array(terms, pa.large_string()), value_set=self.terms)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int32)

    def find_iri(self, iri: str) -> int:
        """The place of an IRI, or -1, which no triple holds."""
        return int(self.find([f"<{iri}>"])[0])

    def column(self, places: Codes) -> Coded:
        """Names as a column for the builder."""
        return Coded(self.names, places).at(places)


@dataclass(frozen=True)
class _Reifications:
    """Reifiers with what they quote.

    Attributes:
        reifier, base: `[c]`: a node, and the row that states what it quotes or -1.
        row: `[c]`: the row that says `rdf:reifies`, or -1.
        is_reifier, is_broken: bool `[t]`.
        scaffold: bool `[m]`: the rows that do nothing but quote.
    """

    reifier: Codes
    base: Rows
    row: Rows
    is_reifier: Mask
    is_broken: Mask
    scaffold: Mask


def interpret(triples: Triples, builder: GraphBuilder) -> Outcomes:
    """Sort every triple into the builder, or drop it for a reason."""
    t, s, p, o = len(triples.terms), triples.subject, triples.predicate, triples.object
    kind = triples.kind
    outcome = np.full(len(s), _PLACE[Outcome.STATEMENT], np.int8)

    def settle(rows: Mask | Rows, as_: Outcome) -> None:
        outcome[rows] = _PLACE[as_]

    rows_frame = pl.DataFrame({"s": s, "p": p, "o": o})
    fresh = rows_frame.select(pl.struct("s", "p", "o").is_first_distinct()).to_series().to_numpy()
    text_kind = np.full(t + 1, -1, np.int8)  # the last place is where absent predicates (-1) point
    text_kind[triples.find([f"<{iri}>" for iri in TEXT_PREDICATES])] = list(TEXT_PREDICATES.values())
    is_type = p == triples.find_iri(RDF + "type")
    is_plain_string = (kind == _LITERAL) & ~pc.ends_with(triples.terms, ">").to_numpy(zero_copy_only=False)

    reified = _reifications(triples, fresh)
    about_reifier = fresh & (reified.is_reifier[s] | reified.is_broken[s])
    plain = fresh & ~about_reifier
    to_reifier = reified.is_reifier[o] | reified.is_broken[o]
    to_node = (kind[o] == _IRI) | (kind[o] == _BNODE)
    link = plain & to_node & ~to_reifier & ~is_type
    typed = plain & to_node & ~to_reifier & is_type
    text = plain & (text_kind[p] >= 0) & is_plain_string[o]
    literal = plain & (kind[o] == _LITERAL) & ~text

    # A node's standing: 2 it quotes a stated link, 1 something else that is stated, 0 nothing stated.
    quotes = np.where(reified.base < 0, 0, np.where(link[reified.base], 2, 1))
    standing = np.zeros(t, np.int8)
    np.maximum.at(standing, reified.reifier, quotes.astype(np.int8))
    remark = about_reifier & reified.is_reifier[s] & ~reified.scaffold
    misplaced = is_type | to_reifier | ((text_kind[p] >= 0) & (kind[o] == _LITERAL))
    qualifier = remark & ~misplaced & (kind[o] != _TRIPLE) & (standing[s] == 2)

    # The law of names: relations and types are entities only where they stand in a link.
    linked, is_relation, is_class = (np.zeros(t, bool) for _ in range(3))
    linked[s[link]] = linked[o[link]] = True
    linked[o[qualifier & (kind[o] != _LITERAL)]] = True
    is_relation[p[link | literal | qualifier]] = True
    is_class[o[typed]] = True
    described = np.zeros(t, bool)
    described[s[text | typed | literal]] = True
    is_entity = linked | (described & ~is_relation & ~is_class)
    typed_kept, literal_kept = typed & is_entity[s], literal & is_entity[s]
    is_relation, is_class = np.zeros(t, bool), np.zeros(t, bool)  # those that the graph holds in the end
    is_relation[p[link | literal_kept | qualifier]] = True
    is_class[o[typed_kept]] = True
    text_kept = text & (is_entity | is_relation | is_class)[s]

    settle(plain & (kind[o] == _TRIPLE), Outcome.TRIPLE_TERM)
    settle(plain & to_reifier, Outcome.ABOUT_A_REIFIER)
    settle((text | typed | literal), Outcome.ABOUT_THE_SCHEMA)
    settle(text_kept, Outcome.TEXT)
    settle(typed_kept, Outcome.TYPE)
    settle(literal_kept, Outcome.LITERAL)
    by_standing = (Outcome.UNASSERTED, Outcome.QUALIFIES_NO_LINK, Outcome.QUALIFIER)
    for level, result in enumerate(by_standing):
        settle(remark & (standing[s] == level), result)
        settle(reified.scaffold & (standing[s] == level), Outcome.REIFICATION if level == 2 else result)
        settle(reified.row[(quotes == level) & (reified.row >= 0)], Outcome.REIFICATION if level == 2 else result)
    settle(remark & misplaced, Outcome.ABOUT_A_REIFIER)
    settle(remark & (kind[o] == _TRIPLE), Outcome.TRIPLE_TERM)
    settle(about_reifier & reified.is_broken[s], Outcome.BROKEN_REIFICATION)
    settle(~fresh, Outcome.DUPLICATE)

    builder.add_entities(triples.names.take(pa.array(np.flatnonzero(is_entity))))
    builder.add_types(triples.column(s[typed_kept]), triples.column(o[typed_kept]))
    builder.add_literals(*(triples.column(column[literal_kept]) for column in (s, p, o)))
    _add_statements(triples, builder, np.flatnonzero(link), np.flatnonzero(qualifier), reified, quotes == 2)
    _add_texts(triples, builder, np.flatnonzero(text_kept), text_kind, is_entity, is_relation, is_class)
    return Outcomes(outcome)


def _reifications(triples: Triples, fresh: Mask) -> _Reifications:
    t, s, p, o = len(triples.terms), triples.subject, triples.predicate, triples.object
    reifies = np.flatnonzero(fresh & (p == triples.find_iri(RDF + "reifies")) & (triples.kind[o] == _TRIPLE))
    is_reifier = np.zeros(t, bool)
    is_reifier[s[reifies]] = True

    # Classical: a node with exactly one rdf:subject, rdf:predicate and rdf:object each.
    parts = [np.flatnonzero(fresh & (p == triples.find_iri(RDF + part))) for part in ("subject", "predicate", "object")]
    counts = np.stack([np.bincount(s[rows], minlength=t) for rows in parts])
    is_typed = fresh & (p == triples.find_iri(RDF + "type")) & (o == triples.find_iri(RDF + "Statement"))
    declared = np.all(counts > 0, axis=0)
    declared[s[is_typed]] = True
    complete = np.all(counts == 1, axis=0)
    is_broken = declared & ~complete & ~is_reifier
    nodes = np.flatnonzero(complete)
    quoted = np.full((3, t), -1, np.int32)
    for place, rows in enumerate(parts):
        quoted[place, s[rows]] = o[rows]
    is_reifier[nodes] = True

    scaffold = is_typed & is_reifier[s]
    scaffold[reifies] = True
    for rows in parts:
        scaffold[rows[complete[s[rows]]]] = True
    reifier = np.concatenate([s[reifies], nodes.astype(np.int32)])
    wanted = np.concatenate([_parts_of_triple_terms(triples, o[reifies]), quoted[:, nodes]], axis=1)
    states = np.flatnonzero(fresh & ~is_reifier[s] & ~is_broken[s])
    stated = pl.DataFrame({"s": s[states], "p": p[states], "o": o[states], "row": states})
    asked = pl.DataFrame({"s": wanted[0], "p": wanted[1], "o": wanted[2]})
    base = asked.join(stated, on=["s", "p", "o"], how="left", maintain_order="left")["row"].fill_null(-1).to_numpy()
    row = np.concatenate([reifies, np.full(len(nodes), -1, np.int64)])
    return _Reifications(reifier, base.astype(np.int64), row, is_reifier, is_broken, scaffold)


def _parts_of_triple_terms(triples: Triples, places: Codes) -> Codes:
    """int32 `[3, c]`: the places of the three parts of quoted triples, -1 for terms that occur nowhere else."""
    used, back = np.unique(places, return_inverse=True)
    quoted = pl.Series("quoted", triples.terms.take(pa.array(used)), dtype=pl.String)
    parts = quoted.str.extract_groups(_TRIPLE_TERM).struct.unnest()
    return np.stack([triples.find(parts[name].to_arrow()) for name in ("s", "p", "o")])[:, back]


def _add_statements(
    triples: Triples, builder: GraphBuilder, links: Rows, qualifiers: Rows, reified: _Reifications, quotes_link: Mask
) -> None:
    """One row per link without qualifiers, and one per pair of a link and a reifier that has some."""
    by_reifier = qualifiers[np.argsort(triples.subject[qualifiers], kind="stable")]
    having, counts = np.unique(triples.subject[by_reifier], return_counts=True)
    chosen = quotes_link & np.isin(reified.reifier, having)
    reifier, base = reified.reifier[chosen], reified.base[chosen]
    pairs = Ragged(offsets_of(counts), by_reifier.astype(np.int32)).take(np.searchsorted(having, reifier))
    bare = np.setdiff1d(links, base)
    rows = np.concatenate([bare, base])
    builder.add_statements(
        *(triples.column(column[rows]) for column in (triples.subject, triples.predicate, triples.object)),
        qualifier_counts=np.concatenate([np.zeros(len(bare), np.int64), pairs.lengths]),
        qualifier_relation=triples.column(triples.predicate[pairs.values]),
        qualifier_value=triples.column(triples.object[pairs.values]),
        qualifier_is_literal=triples.kind[triples.object[pairs.values]] == _LITERAL,
    )


def _add_texts(
    triples: Triples,
    builder: GraphBuilder,
    rows: Rows,
    text_kind: npt.NDArray[np.int8],
    is_entity: Mask,
    is_relation: Mask,
    is_class: Mask,
) -> None:
    used, back = np.unique(triples.object[rows], return_inverse=True)
    terms = pl.Series("term", triples.terms.take(pa.array(used)), dtype=pl.String)
    parts = terms.str.extract_groups(_TEXT).struct.unnest()
    escaped = terms.str.contains("\\", literal=True)
    text = parts["text"]
    if escaped.any():
        text = text.scatter(escaped.arg_true(), [Literal.parse(term).lexical for term in terms.filter(escaped)])
    language = parts["language"].fill_null("")
    columns = Coded.of(language.gather(back).to_arrow()), Coded.of(text.gather(back).to_arrow())
    for of, holds in (("entity", is_entity), ("relation", is_relation), ("type", is_class)):
        chosen = holds[triples.subject[rows]]
        own = rows[chosen]
        builder.add_texts(
            triples.column(triples.subject[own]),
            text_kind[triples.predicate[own]],
            *(column.take(chosen) for column in columns),
            of=of,  # type: ignore[arg-type]
        )
