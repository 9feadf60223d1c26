"""Ranks as a table that any tool can write: tab-separated, one row per held-out statement and side, names as in the graph.

::

    subject	relation	object	side	rank
    Q42	P19	Q350	tail	3
    Q42	P19	Q350	head	17.5
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from kgservice.arrays.ordering import first_of_equal, order_of
from kgservice.errors import DataError, InputError, UnknownEntity, UnknownName, UnknownRelation
from kgservice.evaluation.ranking import SIDES, Ranks
from kgservice.graph import KnowledgeGraph
from kgservice.graph.vocabulary import Vocabulary

COLUMNS = ("subject", "relation", "object", "side", "rank")
_NUMBER = r"^[0-9]+(\.[0-9]+)?([eE]\+?[0-9]+)?$"


@dataclass(frozen=True)
class RankTable:
    """Ranks of any tool, in the graph's numbers.

    Attributes:
        side: "head" or "tail" of each row.
        subject, relation, object: int32 `[t]`.
        rank: float64 `[t]`, from 1; a tie may be a fraction.
    """

    side: npt.NDArray[np.str_]
    subject: npt.NDArray[np.int32]
    relation: npt.NDArray[np.int32]
    object: npt.NDArray[np.int32]
    rank: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rank)

    @property
    def keys(self) -> tuple[npt.NDArray[Any], ...]:
        """What says which row is meant: side, as a number, then subject, relation, object."""
        return (self.side == "head").astype(np.int8), self.subject, self.relation, self.object

    @classmethod
    def of(cls, ranks: Ranks) -> RankTable:
        """Realistic ranks; statements that differ in qualifiers alone have one row per side."""
        table = cls(ranks.side, ranks.subject, ranks.relation, ranks.object, ranks.ranks())
        order = order_of(table.keys)
        kept = np.sort(order[first_of_equal([key[order] for key in table.keys])])
        return cls(*(getattr(table, name)[kept] for name in cls.__dataclass_fields__))

    def write(self, path: Path, graph: KnowledgeGraph) -> None:
        """Write the table.

        Raises:
            InputError: a name holds a tab or a line break, which the format has no sign for.
        """
        names = (
            graph.entities.names_of(self.subject),
            graph.relations.names_of(self.relation),
            graph.entities.names_of(self.object),
        )
        for column in names:
            if bad := next((name for name in column if not {"\t", "\n", "\r"}.isdisjoint(name)), None):
                raise InputError(f"{bad!r} holds a tab or a line break: its ranks cannot be written as {path.name}")
        rank = [f"{value:.12g}" for value in self.rank]
        rows = ["\t".join(row) for row in zip(*names, self.side.tolist(), rank, strict=True)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n", encoding="utf-8", newline="\n")

    @classmethod
    def read(cls, path: Path, graph: KnowledgeGraph) -> RankTable:
        """Read a table, whoever wrote it.

        Raises:
            DataError: there is no such file, or it is no UTF-8.
            InputError: a wrong header, a row of other than five fields, a side that is neither head nor tail, a rank that
                is no number from 1 to the number of entities, or a row that is there twice; each with its line.
            UnknownEntity, UnknownRelation: a name that the graph has not; with its line.
        """
        columns = _columns(path)
        ids = {
            "subject": _ids(path, columns["subject"], graph.entities, UnknownEntity),
            "relation": _ids(path, columns["relation"], graph.relations, UnknownRelation),
            "object": _ids(path, columns["object"], graph.entities, UnknownEntity),
        }
        side = np.array(columns["side"].to_pylist(), dtype=np.str_)
        _refuse(path, ~np.isin(side, list(SIDES.values())), columns["side"], "expected head or tail as the side")
        what = f"expected a rank from 1 to {graph.n:,}, the number of entities"
        is_number = pc.match_substring_regex(columns["rank"], _NUMBER).to_numpy(zero_copy_only=False).astype(bool)
        _refuse(path, ~is_number, columns["rank"], what)
        rank = columns["rank"].cast(pa.float64()).to_numpy()
        _refuse(path, (rank < 1) | (rank > graph.n), columns["rank"], what)
        table = cls(side, ids["subject"], ids["relation"], ids["object"], rank)
        keys = (*table.keys, np.arange(len(table)))
        order = order_of(keys)
        again = np.flatnonzero(~first_of_equal([key[order] for key in keys[:-1]]))
        if len(again):
            first = again[np.argmin(order[again])]
            raise InputError(
                f"{path}:{order[first] + 2}: the statement and side of line {order[first - 1] + 2} again. Give each row once."
            )
        return table


def _columns(path: Path) -> dict[str, pa.StringArray]:
    """The five columns as text, checked for their number alone."""
    try:
        content = path.read_bytes()
        content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a table of ranks: {error}") from error
    header = content.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8")
    if header.split("\t") != list(COLUMNS):
        raise InputError(
            f"{path}:1: expected the header {' '.join(COLUMNS)!r} with tabs between, found {header[:200]!r}"
        )
    wrong: list[tuple[int, int]] = []

    def noted(row: csv.InvalidRow) -> str:
        wrong.append((row.number, row.actual_columns))
        return "skip"

    table = csv.read_csv(
        io.BytesIO(content),
        read_options=csv.ReadOptions(use_threads=False),  # with threads Arrow does not know the line
        parse_options=csv.ParseOptions(
            delimiter="\t",
            quote_char=False,
            escape_char=False,
            ignore_empty_lines=False,
            invalid_row_handler=noted,
        ),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(COLUMNS, pa.string()),
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
        ),
    )
    if wrong:
        line, fields = wrong[0]
        raise InputError(f"{path}:{line}: expected {len(COLUMNS)} fields with tabs between, found {fields}")
    return {name: table.column(name).combine_chunks() for name in COLUMNS}


def _ids(
    path: Path, names: pa.StringArray, vocabulary: Vocabulary, unknown: type[UnknownName]
) -> npt.NDArray[np.int32]:
    ids = vocabulary.ids(names)
    missing = np.flatnonzero(ids < 0)
    if len(missing):
        line, more = missing[0] + 2, len(missing) - 1
        also = f", nor are the names of {more:,} further lines" if more else ""
        raise unknown(
            names[missing[0]].as_py(), f"of the graph ({path}:{line}){also}; names are written as in the graph"
        )
    return ids


def _refuse(path: Path, wrong: npt.NDArray[np.bool_], column: pa.StringArray, expected: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{path}:{row + 2}: {expected}, found {column[row].as_py()[:100]!r}")
