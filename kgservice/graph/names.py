"""Names as people write them: a full IRI, a CURIE, or the plain id; and the closest ones to a name that is none."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from kgservice.errors import UnknownEntity, UnknownName, UnknownRelation, UnknownType
from kgservice.graph.vocabulary import Vocabulary

WELL_KNOWN = {
    "owl": "http://www.w3.org/2002/07/owl#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "schema": "https://schema.org/",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "wd": "http://www.wikidata.org/entity/",
    "wdt": "http://www.wikidata.org/prop/direct/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
"""Prefixes that every graph has, unless it gives the same short name to another namespace."""

REMEMBERED = 1 << 16
"""Texts whose ids are kept at hand."""
SCAN_LIMIT = 100_000
"""Names compared for a suggestion; in a longer vocabulary only those that sort near the given one."""
SUGGESTIONS = 3


NAMESPACE = "urn:kgservice:"
"""Prepended to names that are no IRIs, such as `Q80`, where IRIs are needed; taken off again on the way back."""

KG = "https://kgservice.example/ns#"
"""The vocabulary of what kgservice says itself, such as `kg:probability`."""

IRI = r"[A-Za-z][A-Za-z0-9+.\-]*:[^\x00-\x20<>\"{}|\\^`]+"


def iri_of(name: str, base: str = NAMESPACE) -> str:
    """The IRI that stands for a name: the name itself where it is one, else what is behind `base`."""
    return name if re.fullmatch(IRI, name) else base + quote(name, safe="")


def name_of(iri: str) -> str:
    """The name that an IRI stands for; `iri_of` leaves no colon in it: other IRIs of `NAMESPACE` are names themselves."""
    name = iri.removeprefix(NAMESPACE)
    return unquote(name) if name and name != iri and ":" not in name else iri


class _Held(Protocol):
    def __call__(self, name: str, where: str, closest: list[str]) -> UnknownName: ...


class Names:
    """Resolves and shortens the names of one vocabulary.

    Args:
        vocabulary: the names held.
        prefixes: short names of namespaces; the graph's own come before the well-known.
        unknown: the error for a name that is not held.
        where: how the message calls the place, such as "in release 3f9c12ab77d0 (2,034 entities)".
        hidden: bool `[n]`, names that are as if they were not there.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        prefixes: Mapping[str, str],
        unknown: type[UnknownName],
        where: str,
        hidden: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.vocabulary, self._unknown, self.where = vocabulary, unknown, where
        self._find = lru_cache(REMEMBERED)(self._look_up)
        self._hidden = hidden if hidden is not None and hidden.any() else None
        self._prefixes = {**WELL_KNOWN, **prefixes}
        # The longest namespace wins, so that a nested one shortens to its own prefix.
        self._namespaces = sorted(
            ((iri, short) for short, iri in self._prefixes.items()), key=lambda pair: -len(pair[0])
        )

    @classmethod
    def entities(
        cls,
        vocabulary: Vocabulary,
        prefixes: Mapping[str, str],
        where: str,
        hidden: npt.NDArray[np.bool_] | None = None,
    ) -> Names:
        """Names of entities."""
        return cls(vocabulary, prefixes, UnknownEntity, where, hidden)

    @classmethod
    def relations(cls, vocabulary: Vocabulary, prefixes: Mapping[str, str], where: str) -> Names:
        """Names of relations."""
        return cls(vocabulary, prefixes, UnknownRelation, where)

    @classmethod
    def types(cls, vocabulary: Vocabulary, prefixes: Mapping[str, str], where: str) -> Names:
        """Names of types."""
        return cls(vocabulary, prefixes, UnknownType, where)

    def find(self, text: str) -> int:
        """The id of a name given as IRI (with or without angle brackets), CURIE or plain id; -1 where it is none."""
        found = self._find(text.strip())
        return -1 if found >= 0 and self._hidden is not None and self._hidden[found] else found

    def full(self, text: str) -> str:
        """The name that a CURIE stands for; any other text as it is, without angle brackets."""
        text = text.strip()
        if text.startswith("<") and text.endswith(">"):
            return text[1:-1]
        short, colon, rest = text.partition(":")
        return self._prefixes[short] + rest if colon and short in self._prefixes and not rest.startswith("//") else text

    def _look_up(self, text: str) -> int:
        found = self.vocabulary.id(text)
        if found < 0 and text.startswith("<") and text.endswith(">"):
            found = self.vocabulary.id(text[1:-1])
        if found < 0 and (short := text.partition(":"))[1] and short[0] in self._prefixes:
            found = self.vocabulary.id(self._prefixes[short[0]] + short[2])
            if found < 0:  # a graph of plain ids still answers to wd:Q80
                found = self.vocabulary.id(short[2])
        return found

    def resolve(self, text: str) -> int:
        """Like `find`.

        Raises:
            UnknownName: of the vocabulary's own kind, with the closest names.
        """
        found = self.find(text)
        if found < 0:
            raise self._unknown(text, self.where, self.closest(text))
        return found

    def short(self, name: str) -> str:
        """A CURIE where a prefix fits, else the name as it is; `find` takes both."""
        for iri, prefix in self._namespaces:
            if name.startswith(iri) and len(name) > len(iri):
                return f"{prefix}:{name[len(iri) :]}"
        return name

    def closest(self, text: str) -> list[str]:
        """Up to three names that a typing error could have meant."""
        from rapidfuzz import fuzz, process

        names = self.vocabulary.names
        if len(names) <= SCAN_LIMIT:
            choices = [self.short(name) for name in names.to_pylist()]
        else:
            place = bisect_left(range(len(names)), text, key=lambda i: names[i].as_py())
            start = max(0, place - SCAN_LIMIT // 100)
            choices = [self.short(name) for name in names.slice(start, SCAN_LIMIT // 50).to_pylist()]
        if self._hidden is not None:
            away = {self.short(name) for name in self.vocabulary.names_of(np.flatnonzero(self._hidden))}
            choices = [name for name in choices if name not in away]
        given = self.short(text[:200])
        found = process.extract(given, choices, scorer=fuzz.ratio, limit=SUGGESTIONS, score_cutoff=60)
        return [name for name, _, _ in found]
