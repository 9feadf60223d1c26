"""Copies of a graph whose texts say something else, to tell what a model infers from what its encoder remembers.

Entities, relations, statements, splits, types and literals are those of the graph, with the same ids; only texts differ.
A reader of ids is not deceived. Source: Sakai et al. 2023 (arXiv 2311.09109).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import polars as pl

from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.perturbation.draft import Draft, Replaced

__all__ = ["Copy", "Perturbed", "Replaced", "perturb"]


class Copy(StrEnum):
    """What the texts of a copy are."""

    VIRTUAL_WORLD = "virtual-world"
    ANONYMISED = "anonymised"
    INCONSISTENT = "inconsistent"
    FULLY_ANONYMISED = "fully-anonymised"


@dataclass(frozen=True)
class Perturbed:
    """Attributes:
    copy: which.
    graph: as the original, with other texts; its provenance says what was done.
    mapping: columns `what`, `old`, `new`, a bijection for each `what`: "entity names" and "entity descriptions", from an
        entity to the one whose names or descriptions it got; the same for relations; "names", from a name to what stands
        for it.
    replaced: by "names", "mentions" (of names, in descriptions and in what is said of types) and "descriptions".
    shared: mentions of a name that several bear: the first of them was taken to be meant.
    """

    copy: Copy
    graph: KnowledgeGraph
    mapping: pl.DataFrame
    replaced: Mapping[str, Replaced]
    shared: int

    def save(self, folder: Path) -> None:
        """Write the graph to `folder`/COPY and its mapping beside it, to COPY.mapping.parquet."""
        self.graph.save(folder / self.copy)
        self.mapping.write_parquet(folder / f"{self.copy}.mapping.parquet")


def perturb(graph: KnowledgeGraph, copy: Copy, *, seed: int = 0, within_types: bool = False) -> Perturbed:
    """One copy; the same graph and seed give the same.

    - *Virtual world*: entities trade names, labels and aliases together, and so do relations. Where a description or the
      text of a type mentions a name, the new name of who bore it stands: the texts agree with the graph, not with the world.
    - *Anonymised*: a random string of like length stands for each name, in the same places.
    - *Inconsistent*: entities trade descriptions, and so do relations; names stay.
    - *Fully anonymised*: names as in the anonymised copy, and a random string for each text beside; those of types too.

    Relations' names are sought in relations' descriptions alone: they are common words.

    Args:
        graph: with names or descriptions of entities.
        copy: which.
        seed: of whatever is drawn.
        within_types: names are traded by entities of the same types; for the virtual world.

    Raises:
        InputError: entities have no texts.
    """
    if not len(graph.texts):
        raise InputError("no entity of this graph has a label, an alias or a description: there is no text to replace")
    draft = Draft(graph, np.random.default_rng(seed))
    match copy:
        case Copy.VIRTUAL_WORLD:
            draft.trade_names(within_types=within_types)
            draft.replace_mentions()
        case Copy.ANONYMISED:
            draft.randomise_names(("entity", "relation"))
            draft.replace_mentions()
        case Copy.INCONSISTENT:
            draft.trade_descriptions()
        case Copy.FULLY_ANONYMISED:
            draft.randomise_names(("entity", "relation", "type"))
            draft.randomise_descriptions()
    told = {what: asdict(counts) for what, counts in draft.replaced.items()}
    how = {"copy": copy.value, "seed": seed, "of": graph.content_hash, "replaced": told, "shared": draft.shared}
    if copy is Copy.VIRTUAL_WORLD:
        how["within_types"] = within_types
    return Perturbed(copy, draft.finished(how), draft.mapping(), draft.replaced, draft.shared)
