"""Bars for people who wait: bytes while sources are read, parts while the graph is made."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kgservice.readers.sources import Source


@dataclass
class Progress:
    """Shows how far ingestion is; without bars, it does nothing."""

    reading: Any = None
    making: Any = None
    statements: int = 0

    @classmethod
    @contextmanager
    def over(cls, files: Sequence[Source], *, show: bool) -> Iterator[Progress]:
        """Bars over some files, on a terminal."""
        if not (show and sys.stderr.isatty()):
            yield cls()
            return
        from tqdm import tqdm

        total = sum(source.path.stat().st_size for source in files)
        with tqdm(total=total, unit="B", unit_scale=True, desc="reading") as reading:
            shown = cls(reading)
            for source in files:
                source.on_bytes = reading.update
            yield shown
            if shown.making is not None:
                shown.making.close()

    def found(self, statements: int) -> None:
        """More statements were read."""
        self.statements += statements
        if self.reading is not None:
            rate = self.statements / max(self.reading.format_dict["elapsed"], 1e-3)
            self.reading.set_postfix_str(f"{self.statements:,} statements, {rate:,.0f}/s")

    def step(self) -> None:
        """One more part of the graph is made."""
        if self.reading is None:
            return
        if self.making is None:
            from tqdm import tqdm

            self.making = tqdm(unit=" parts", desc="sorting, interpreting, writing")
        self.making.update()
