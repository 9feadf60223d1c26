"""What became of everything that was read: per file, kept and dropped by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class FileReport:
    """The account of one file. `read` equals the sum of `kept` and `dropped`; malformed lines were never read.

    Attributes:
        read: statements (triples, rows) the file holds.
        kept: by what they became: statements, texts, types, literals, qualifiers, reifications, negatives.
        dropped: by reason.
        malformed: lines skipped under `on_error="skip"`.
    """

    name: str
    format: str
    read: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
