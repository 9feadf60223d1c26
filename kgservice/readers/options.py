"""What a reader keeps, and how it takes what it cannot read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from typing import Literal as OneOf

from kgservice.errors import InputError
from kgservice.graph.texts import TextKind

OnError = OneOf["fail", "skip"]

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
SKOS = "http://www.w3.org/2004/02/skos/core#"
DCTERMS = "http://purl.org/dc/terms/"
_SCHEMA = ("http://schema.org/", "https://schema.org/")

TEXT_PREDICATES: Mapping[str, TextKind] = {
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


def text_predicates(changes: Iterable[str]) -> Mapping[str, TextKind]:
    """`TEXT_PREDICATES` with changes of the form `IRI=label`, `alias`, `description`, or `none` to take one out.

    Raises:
        InputError: a change of another form.
    """
    predicates = dict(TEXT_PREDICATES)
    kinds = {kind.name.lower(): kind for kind in TextKind}
    for change in changes:
        iri, _, kind = change.rpartition("=")
        if not iri or kind not in (*kinds, "none"):
            raise InputError(f"--text {change}: expected IRI=KIND, where KIND is {', '.join(kinds)} or none.")
        predicates.pop(iri, None)
        if kind != "none":
            predicates[iri] = kinds[kind]
    return predicates


@dataclass(frozen=True)
class ReadOptions:
    """How sources are read.

    Attributes:
        on_error: "skip" counts and skips malformed lines, where lines stand for themselves.
        text_predicates: IRIs of predicates whose strings are texts, and what kind of text.
        languages: of texts to keep, besides those without a language; all by default.
        properties: Wikidata properties to keep as relations of statements; all by default.
        min_sitelinks: Wikidata items with fewer are left out (JSON dumps).
        include_deprecated: keep statements of deprecated rank.
        type_property: the Wikidata property that gives an item its types.
        instance_of: keep only statements about instances of these classes and of their subclasses.
        subclass_property: the relation that makes one class a subclass of another.
    """

    on_error: OnError = "fail"
    text_predicates: Mapping[str, TextKind] = field(default_factory=lambda: TEXT_PREDICATES)
    languages: frozenset[str] | None = None
    properties: frozenset[str] | None = None
    min_sitelinks: int = 0
    include_deprecated: bool = False
    type_property: str = "P31"
    instance_of: frozenset[str] = frozenset()
    subclass_property: str = "P279"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for provenance and to tell one plan from another."""
        plain = asdict(self)
        for name in ("languages", "properties", "instance_of"):
            plain[name] = None if plain[name] is None else sorted(plain[name])
        plain["text_predicates"] = {iri: TextKind(kind).name.lower() for iri, kind in self.text_predicates.items()}
        return plain
