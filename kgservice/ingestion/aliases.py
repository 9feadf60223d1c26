"""Terms that stand for others: redirected entities, and Wikibase's value nodes, which become literals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from kgservice.ingestion.runs import Run, write_run
from kgservice.ingestion.spool import mapped
from kgservice.ingestion.terms import Terms
from kgservice.readers import wikibase
from kgservice.readers.batch import Batch
from kgservice.readers.columns import large_strings

_BYTES_PER_ROW = 400
_CHAIN = 32


def resolve_value_nodes(runs: Sequence[Run], folder: Path, *, memory: int) -> list[Run]:
    """Further runs, which say what literal each value node is; the triples about a node may lie in many runs.

    Args:
        memory: bytes that the triples of one share of the nodes may take.
    """
    rows = sum(len(run.columns()["value_s"]) for run in runs)
    shares = -(-rows * _BYTES_PER_ROW // memory)
    found = []
    for share in range(shares):
        frames = [_value_triples(run, share, shares) for run in runs]
        literals = wikibase.value_literals(pl.concat(frames).rechunk())
        if not len(literals):
            continue
        nodes, values = (large_strings(literals[name].to_arrow()) for name in ("node", "literal"))
        encoded = pa.concat_arrays([nodes, values]).dictionary_encode()
        aliases = encoded.indices.to_numpy().reshape(2, -1).astype(np.int32)
        found.append(Run(folder / f"values-{share:05}.run"))
        write_run(found[-1].path, Batch(encoded.dictionary, aliases=aliases))
    return found


def _value_triples(run: Run, share: int, shares: int) -> pl.DataFrame:
    columns = run.columns()
    names = {"node": "value_s", "predicate": "value_p", "object": "value_o"}
    frame = pl.DataFrame(
        {name: pl.Series(columns["terms"].take(columns[column]), dtype=pl.String) for name, column in names.items()},
        schema=dict.fromkeys(names, pl.String),
    )
    return frame.filter(pl.col("node").hash(seed=0) % shares == share) if shares > 1 else frame


def aliases_of(runs: Sequence[Run], terms: Terms, path: Path) -> npt.NDArray[np.int32] | None:
    """int32 `[t]`, in a file: what each term stands for in the end; None where every term stands for itself.

    Terms that stand for each other in a circle stand for themselves.
    """
    pairs = []
    for number, run in enumerate(runs):
        columns = run.columns()
        if len(columns["alias_from"]):
            number_of = terms.map_of(number)
            pairs.append(np.stack([number_of[columns[name].to_numpy()] for name in ("alias_from", "alias_to")]))
    if not pairs:
        return None
    alias = mapped(path, np.int32, len(terms))
    alias[:] = np.arange(len(terms), dtype=np.int32)
    source, target = np.unique(np.concatenate(pairs, axis=1), axis=1)
    alias[source] = target
    for _ in range(_CHAIN):
        onward = alias[alias[source]]
        if np.array_equal(onward, alias[source]):
            return alias
        alias[source] = onward
    circle = alias[alias[source]] != alias[source]
    alias[source[circle]] = source[circle]
    return alias
