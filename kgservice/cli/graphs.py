"""Graphs as arguments of commands: the folder of one, or the name of a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kgservice.graph import KnowledgeGraph


def open_graph(name: str, mirror: Path | None = None) -> KnowledgeGraph:
    """A graph by its folder, or else by the data set's name, fetched if need be.

    Raises:
        InputError: it is neither; says what is near.
    """
    import difflib

    from kgservice import datasets
    from kgservice.errors import InputError
    from kgservice.graph import KnowledgeGraph

    if Path(name).is_dir():
        return KnowledgeGraph.open(Path(name))
    known = datasets.names()
    if name in known:
        return datasets.load(name, mirror, progress=sys.stderr.isatty())
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else "See kgservice data list."
    raise InputError(f"{name!r} is neither the folder of a graph nor a data set. {hint}")
