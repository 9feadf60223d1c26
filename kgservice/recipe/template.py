"""How a text is made of what is known of an entity: `{label}[: {description}][ ({types})]`.

A part in square brackets is left out where one of its fields is empty.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Self

FIELDS = ("label", "description", "types", "aliases")
DEFAULT_TEMPLATE = "{label}[: {description}][ ({types})]"

_PARTS = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)|([\[\]])")
_LOOSE = " :;,.-–"
"""Stripped from the ends: what joined a part that is missing."""


@dataclass(frozen=True)
class Template:
    """Parts as (whether it may be left out, its text, the fields in it)."""

    parts: tuple[tuple[bool, str, tuple[str, ...]], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template.

        Raises:
            ValueError: a field that is not known, or brackets that do not match.
        """
        parts = []
        for found in _PARTS.finditer(text):
            optional, always, loose = found.groups()
            if loose:
                raise ValueError(f"a bracket at position {found.start()} of {text!r} has no partner")
            part = always if optional is None else optional
            try:
                found_fields = [field for field in Formatter().parse(part) if field[1] is not None]
            except ValueError as error:
                raise ValueError(f"{part!r}: {error}") from error
            fields = tuple(str(name) for _, name, _, _ in found_fields)
            if any(layout or conversion for _, _, layout, conversion in found_fields):
                raise ValueError(f"{part!r}: a field stands as it is, without a format")
            for name in fields:
                if name not in FIELDS:
                    close = difflib.get_close_matches(name, FIELDS, n=1)
                    meant = f"Did you mean {close[0]!r}? " if close else ""
                    raise ValueError(f"{name!r} is not a field. {meant}Fields: {', '.join(FIELDS)}")
            parts.append((optional is not None, part, fields))
        return cls(tuple(parts))

    @property
    def fields(self) -> frozenset[str]:
        """Those that occur."""
        return frozenset(name for _, _, names in self.parts for name in names)

    def fill(self, values: Mapping[str, str]) -> str:
        """The text of one entity; empty where nothing names or describes it, for its types are those of many."""
        if not any(values[name] for name in self.fields - {"types"} or self.fields):
            return ""
        chosen = (part for optional, part, names in self.parts if not optional or all(values[name] for name in names))
        return "".join(part.format_map(values) for part in chosen).strip(_LOOSE)
