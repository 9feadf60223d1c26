"""The tokens of a query, and its SERVICE blocks: as much of SPARQL as is needed to answer one of them ourselves.

Oxigraph alone reads and judges queries. Whoever hides a SERVICE from these tokens reaches nothing: the process that asks has no
way out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from kgservice.sparql.refusals import QueryRefused

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+ | \#[^\r\n]*)
  | (?P<string>\"{3}(?:\"{0,2}(?:[^"\\]|\\.))*\"{3} | '{3}(?:'{0,2}(?:[^'\\]|\\.))*'{3}
              | "(?:[^"\\\r\n]|\\.)*" | '(?:[^'\\\r\n]|\\.)*')
  | (?P<iri><[^<>"{}|^`\\\x00-\x20]*>)
  | (?P<variable>[?$]\w+)
  | (?P<name>(?:[^\W\d_](?:[\w.-]*[\w-])?)?:(?:(?:[\w:%.-]|\\.)*(?:[\w:%-]|\\.))?)
  | (?P<language>@[A-Za-z]+(?:-[A-Za-z0-9]+)*)
  | (?P<number>[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<word>[^\W\d_]\w*)
  | (?P<mark>\{\| | \|\} | <<\( | \)>> | \^\^ | .)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A piece of a query; `kind` is a group of the pattern."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Service:
    """`SERVICE [SILENT] target { … }`.

    Attributes:
        target: the token that says where.
        start, end: the whole in the query.
        inside: the tokens between the braces.
        closing: where the last brace stands.
    """

    target: Token
    start: int
    end: int
    inside: Sequence[Token]
    closing: int


@dataclass(frozen=True)
class Prologue:
    """What names mean.

    Attributes:
        prefixes: by short name.
        base: what relative IRIs are resolved against.
    """

    prefixes: Mapping[str, str]
    base: str

    def iri(self, token: Token) -> str:
        """The IRI of an `iri` or `name` token.

        Raises:
            QueryRefused: its prefix is not declared.
        """
        if token.kind == "iri":
            return urljoin(self.base, token.text[1:-1]) if ":" not in token.text else token.text[1:-1]
        short, _, local = token.text.partition(":")
        if short not in self.prefixes:
            raise QueryRefused("malformed-query", f"The prefix {short}: is not declared.")
        return self.prefixes[short] + re.sub(r"\\(.)", r"\1", local)


def tokens(query: str) -> list[Token]:
    """The tokens but for blanks and comments."""
    found = (Token(match.lastgroup or "", match[0], match.start(), match.end()) for match in _TOKEN.finditer(query))
    return [token for token in found if token.kind != "blank"]


def prologue(found: Sequence[Token], prefixes: Mapping[str, str], base: str) -> Prologue:
    """The prefixes and the base that a query declares, over those given."""
    declared = dict(prefixes)
    for place, token in enumerate(found[:-2]):
        if token.kind == "word" and token.text.upper() == "PREFIX" and found[place + 2].kind == "iri":
            short = found[place + 1].text.removesuffix(":")
            declared[short] = urljoin(base, found[place + 2].text[1:-1])
        elif token.kind == "word" and token.text.upper() == "BASE" and found[place + 1].kind == "iri":
            base = urljoin(base, found[place + 1].text[1:-1])
    return Prologue(declared, base)


def undeclared(found: Sequence[Token], declared: Prologue) -> str | None:
    """The first prefix that nothing declares; Oxigraph's message would not name it."""
    shorts = (token.text.partition(":")[0] for token in found if token.kind == "name")
    return next((short for short in shorts if short not in declared.prefixes), None)


def services(found: Sequence[Token]) -> list[Service]:
    """The SERVICE blocks of a query, the outer ones."""
    blocks, place = [], 0
    while place < len(found):
        token = found[place]
        place += 1
        if token.kind != "word" or token.text.upper() != "SERVICE":
            continue
        silent = place < len(found) and found[place].text.upper() == "SILENT"
        opening = place + silent + 1
        if opening >= len(found) or found[opening].text != "{":
            continue  # no SERVICE after all; whatever it is, Oxigraph judges it
        closing = _closing(found, opening)
        target = found[opening - 1]
        blocks.append(
            Service(target, token.start, found[closing].end, found[opening + 1 : closing], found[closing].start)
        )
        place = closing + 1
    return blocks


def _closing(found: Sequence[Token], opening: int) -> int:
    depth = 0
    for place in range(opening, len(found)):
        depth += {"{": 1, "}": -1}.get(found[place].text, 0)
        if not depth:
            return place
    raise QueryRefused("malformed-query", "A brace after SERVICE is never closed.")
