"""The graph while it is being gathered: entities, statements with qualifiers, and the checks that hold for all of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

_LEGAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_LETTERS = str.maketrans(
    {"ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "ł": "l", "Ł": "L", "ı": "i", "ß": "ss", "æ": "ae",
     "Æ": "Ae", "œ": "oe", "Œ": "Oe", "þ": "th", "Þ": "Th", "ə": "a", "Ə": "A", "ħ": "h", "Ħ": "H", "ŋ": "n", "&": "and"}
)  # fmt: skip


class FactError(ValueError):
    """A table of facts contradicts itself, or names something that the graph does not have."""


def fold(text: str) -> str:
    """Drop accents and all that is not ASCII: "Île-de-France" becomes "Ile-de-France"."""
    if text.isascii() and "&" not in text:
        return text
    decomposed = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    return decomposed.encode("ascii", "ignore").decode("ascii")


def local_name(text: str) -> str:
    """Make an id that is a plain Turtle local name: ASCII letters, digits, `_` and `-`."""
    words = re.sub(r"[\s/|–—]+", "_", text.replace("–", "-").replace("—", "-"))
    return re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_-]", "", fold(words))).strip("_-")


def without_note(text: str) -> str:
    """The label of "Punjab (Pakistan)": the note tells ids apart, not names."""
    return re.sub(r"\s*\([^)]*\)$", "", text)


@dataclass(frozen=True)
class Literal:
    """A value that is no entity: its text, and how Turtle writes it."""

    relation: str
    turtle: str


def whole(relation: str, number: int) -> Literal:
    """An xsd:integer."""
    return Literal(relation, str(number))


def decimal(relation: str, number: float, digits: int) -> Literal:
    """An xsd:decimal with at most that many digits after the point."""
    text = f"{Decimal(repr(number)):.{digits}f}".rstrip("0")
    return Literal(relation, text + "0" if text.endswith(".") else text)


def string(relation: str, text: str) -> Literal:
    """A plain string."""
    return Literal(relation, quoted(text))


def date(relation: str, value: str) -> Literal:
    """An xsd:date of "1999-01-01", an xsd:gYear of "1999"."""
    kind = "gYear" if value.isdigit() else "date"
    return Literal(relation, f'"{value.zfill(4)}"^^xsd:{kind}')


def quoted(text: str) -> str:
    """A Turtle string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@dataclass
class Entity:
    """One entity; `labels` and `aliases` by language, the empty language for a name whose language is not known."""

    id: str
    types: list[str]
    theme: str
    labels: dict[str, str]
    description: str
    aliases: list[tuple[str, str]] = field(default_factory=list)
    literals: list[Literal] = field(default_factory=list)

    def alias(self, text: str, language: str = "") -> None:
        """Add another name, unless the entity has it already."""
        text = text.strip()
        if text and text not in self.labels.values() and all(text != known for known, _ in self.aliases):
            self.aliases.append((text, language))


@dataclass(frozen=True, order=True)
class Statement:
    """Subject, relation, object, and qualifiers: pairs of a relation and a Turtle term."""

    subject: str
    relation: str
    object: str
    qualifiers: tuple[tuple[str, str], ...] = ()


class World:
    """All entities and statements gathered so far, and the codes by which the tables name them."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.statements: set[Statement] = set()
        self.codes: dict[tuple[str, str], str] = {}
        self.decades: set[int] = set()

    def add(
        self,
        name: str,
        kind: str | list[str],
        theme: str,
        description: str,
        *,
        labels: Mapping[str, str] | None = None,
        label: str | None = None,
        code: tuple[str, str] | None = None,
    ) -> Entity:
        """Add an entity; `name` becomes its id, and its English label where no other is given.

        Raises:
            FactError: the id is taken, or no legal Turtle local name.
        """
        key = local_name(name)
        if key in self.entities:
            raise FactError(f"two entities are called {key}: {self.entities[key].description!r} and {description!r}")
        if not _LEGAL_ID.fullmatch(key):
            raise FactError(f"{name!r} makes no legal id")
        names = {"en": label or without_note(name), **(labels or {})}
        types = [kind] if isinstance(kind, str) else list(kind)
        self.entities[key] = Entity(key, types, theme, names, description)
        if code:
            self.codes[code] = key
        return self.entities[key]

    def of(self, scheme: str, code: str) -> str:
        """The id of an entity by its code, such as `of("country", "FR")`."""
        try:
            return self.codes[scheme, code]
        except KeyError:
            raise FactError(f"no {scheme} has the code {code!r}") from None

    def party(self, code: str) -> str:
        """The id of a country by its code, or of any entity by its id."""
        return self.codes.get(("country", code)) or self._known(code)

    def say(
        self,
        subject: str,
        relation: str,
        target: str,
        *,
        start: str = "",
        end: str = "",
        qualifiers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """State something of two entities; a date ("1999" or "1999-01-01") also names its decade.

        Raises:
            FactError: one of the two is unknown, or they are the same.
        """
        if subject == target:
            raise FactError(f"{subject} {relation} itself")
        pairs = list(qualifiers)
        for side, moment in (("start", start), ("end", end)):
            if moment:
                decade = int(moment[: 3 if len(moment) == 3 else 4]) // 10 * 10
                self.decades.add(decade)
                pairs += [(f"{side}Time", date("", moment).turtle), (f"{side}Decade", f"world:{decade}s")]
        self.statements.add(Statement(self._known(subject), relation, self._known(target), tuple(pairs)))

    def objects(self, subject: str, relation: str) -> list[str]:
        """What is stated of the subject by the relation, in order of ids."""
        return sorted({s.object for s in self.statements if s.subject == subject and s.relation == relation})

    def drop_unconnected(self) -> list[str]:
        """Take out the entities of which nothing is stated, and return their ids: models could learn nothing of them."""
        used = {key for statement in self.statements for key in (statement.subject, statement.object)}
        used |= {value.removeprefix("world:") for s in self.statements for _, value in s.qualifiers}
        alone = sorted(set(self.entities) - used)
        for key in alone:
            del self.entities[key]
        return alone

    def _known(self, key: str) -> str:
        if key not in self.entities:
            raise FactError(f"no entity is called {key!r}")
        return key
