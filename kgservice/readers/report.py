"""What became of everything that was read: per file, kept and dropped by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FileReport:
    """The account of one file. `read` equals the sum of `kept` and `dropped`; malformed lines were never read.

    Attributes:
        read: statements (triples, rows) the file holds.
        kept: by what they became: statements, texts, types, literals, qualifiers, reifications, negatives.
        dropped: by reason.
        malformed: lines skipped under `on_error="skip"`.
        notes: other numbers worth knowing, outside the sums.
    """

    name: str
    format: str
    read: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for provenance."""
        return {
            "name": self.name,
            "format": self.format,
            "read": self.read,
            "kept": dict(sorted(self.kept.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "malformed": self.malformed,
            "notes": dict(sorted(self.notes.items())),
        }


def summary(files: list[FileReport]) -> dict[str, Any]:
    """All files and their total, as kept in `graph.provenance["report"]`."""
    total = FileReport("total", "")
    for file in files:
        total.read += file.read
        total.malformed += file.malformed
        total.kept.update(file.kept)
        total.dropped.update(file.dropped)
        total.notes.update(file.notes)
    return {"files": [file.as_dict() for file in files], "total": total.as_dict()}
