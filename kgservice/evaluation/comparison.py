"""Two tools' ranks of the same statements, side by side: one mean may hide that each wins elsewhere, or that both are one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import first_of_equal, order_of
from kgservice.errors import InputError
from kgservice.evaluation.intervals import bootstrap, clusters
from kgservice.evaluation.rank_table import RankTable
from kgservice.evaluation.ranking import HITS
from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import Texts
from kgservice.graph.vocabulary import Vocabulary

SHOWN = 20
SIDES = 8
"""Parts that are shown at each end."""
SAME = 1e-9
"""Relative difference up to which two ranks are equal: other tools write theirs as decimals."""


@dataclass(frozen=True)
class Difference:
    """One row that the two rank differently.

    Attributes:
        subject, relation, object: labels, or names where there are none.
        side: what was asked, "head" or "tail".
        ours, theirs: ranks.
    """

    subject: str
    relation: str
    object: str
    side: str
    ours: float
    theirs: float


@dataclass(frozen=True)
class Part:
    """The rows of one relation and one side.

    Attributes:
        relation: its label, or its name where there is none.
        side: what was asked, "head" or "tail".
        rows: how many.
        ours, theirs: MRR of both on them.
        contribution: to the difference of both MRRs over all rows; those of all parts sum to it.
    """

    relation: str
    side: str
    rows: int
    ours: float
    theirs: float
    contribution: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        rows, statements: that both have.
        missing: rows of ours that theirs lacks.
        equal, better, worse: rows where our rank is the same, smaller, greater.
        ours, theirs: MRR and Hits@k on the shared rows.
        difference: MRR, ours less theirs, with its 95 % bootstrap `interval` over statements.
        sign_p: of the sign test over statements: how likely so uneven a count of wins and losses is among equals.
        wilcoxon_p: of the signed-rank test over statements, which weighs them by how far they differ.
        biggest: the rows that move the MRR most, in either direction.
        parts: every relation and side, from what ours wins most by to what theirs does.
    """

    rows: int
    statements: int
    missing: int
    equal: int
    better: int
    worse: int
    ours: Mapping[str, float]
    theirs: Mapping[str, float]
    difference: float
    interval: tuple[float, float]
    sign_p: float
    wilcoxon_p: float
    biggest: tuple[Difference, ...]
    parts: tuple[Part, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def to_markdown(self, ours: str, theirs: str) -> str:
        """For people: the counts, both MRRs, whether they differ by more than chance, and where most.

        Args:
            ours, theirs: what the two are called.
        """
        low, high = self.interval
        lines = [
            f"## {ours}, against {theirs}",
            "",
            f"{self.rows:,} rows of {self.statements:,} statements: {self.equal:,} ranks are equal, {self.better:,} better, "
            f"{self.worse:,} worse." + (f" {self.missing:,} rows of ours are not compared." if self.missing else ""),
            "",
            "| | MRR | " + " | ".join(f"Hits@{k}" for k in HITS) + " |",
            "|---|---|" + "---|" * len(HITS),
        ]
        for name, figures in ((ours, self.ours), (theirs, self.theirs)):
            lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in figures.values())} |")
        lines += [
            "",
            f"Difference of MRR {self.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}; over statements, sign test "
            f"p = {self.sign_p:.2g}, Wilcoxon p = {self.wilcoxon_p:.2g}.",
        ]
        lines += ["", *part_lines([asdict(part) for part in self.parts])]
        if self.biggest:
            lines += ["", f"The {len(self.biggest)} biggest differences:", ""]
            lines += ["| subject | relation | object | missing | ours | theirs |", "|---|---|---|---|---|---|"]
            for row in self.biggest:
                cells = (row.subject, row.relation, row.object, row.side, f"{row.ours:g}", f"{row.theirs:g}")
                lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        return "\n".join(lines) + "\n"


def part_lines(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of where ours wins most and where theirs does.

    Args:
        parts: `Part`s as plain values, sorted as in `Comparison.parts`.
    """
    won = [part for part in parts if part["contribution"] > 0][:SIDES]
    lost = [part for part in parts if part["contribution"] < 0][-SIDES:]
    lines = ["| relation | missing | rows | ours | theirs | of the difference |", "|---|---|---|---|---|---|"]
    for part in [*won, *lost]:
        figures = f"{part['rows']:,} | {part['ours']:.4f} | {part['theirs']:.4f} | {part['contribution']:+.4f}"
        lines.append(f"| {_cell(part['relation'])} | {part['side']} | {figures} |")
    return lines


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def compare(ours: RankTable, theirs: RankTable, graph: KnowledgeGraph, *, partial: bool = False) -> Comparison:
    """Compare row by row.

    Args:
        ours: of a whole split.
        theirs: of the same statements, in any order.
        graph: gives labels.
        partial: take the rows that both have, where theirs lacks some.

    Raises:
        InputError: a row of theirs is none of ours, rows are missing and `partial` is false, or none is shared.
    """
    place = _places(ours, theirs)
    strange = np.flatnonzero(place < 0)
    if len(strange):
        row = _told(theirs, int(strange[0]), graph)
        raise InputError(
            f"{row} (line {strange[0] + 2} as written) and {len(strange) - 1:,} other rows are not among the {len(ours):,} "
            "ranked here. Was another split ranked?"
        )
    shared = np.zeros(len(ours), bool)
    shared[place] = True
    missing = int(np.count_nonzero(~shared))
    if not len(theirs) or (missing and not partial):
        first = f", such as {_told(ours, int(np.argmin(shared)), graph)}" if missing else ""
        raise InputError(
            f"{missing:,} of {len(ours):,} rows have no rank in the other table{first}. "
            "Rank them, or compare the shared rows alone with --partial."
        )
    rank, other = ours.rank[place], theirs.rank
    gain = 1 / rank - 1 / other
    same = np.isclose(rank, other, rtol=SAME, atol=0)
    gain[same] = 0.0
    cluster = clusters(theirs.subject, theirs.relation, theirs.object)
    low, high = bootstrap(gain[:, None], cluster)[0].tolist()
    sign_p, wilcoxon_p = _tests(np.bincount(cluster, weights=gain).astype(np.float64))
    order = np.lexsort((np.arange(len(gain)), -np.abs(np.log(rank / other)), -np.abs(gain)))
    chosen = order[~same[order]][:SHOWN]
    return Comparison(
        rows=len(theirs),
        statements=int(cluster.max()) + 1,
        missing=missing,
        equal=int(same.sum()),
        better=int((~same & (rank < other)).sum()),
        worse=int((~same & (rank > other)).sum()),
        ours=_figures(rank),
        theirs=_figures(other),
        difference=float(gain.mean()),
        interval=(low, high),
        sign_p=sign_p,
        wilcoxon_p=wilcoxon_p,
        biggest=_differences(theirs, rank, chosen, graph),
        parts=_parts(theirs, rank, gain, graph),
    )


def _parts(
    table: RankTable, ours: npt.NDArray[np.float64], gain: npt.NDArray[np.float64], graph: KnowledgeGraph
) -> tuple[Part, ...]:
    keys = table.relation.astype(np.int64) * 2 + (table.side == "tail")
    present, part = np.unique(keys, return_inverse=True)
    rows = np.bincount(part)
    won = np.bincount(part, weights=gain) / len(gain)
    figures = [np.bincount(part, weights=1 / ranks) / rows for ranks in (ours, table.rank)]
    labels = _labels(graph.relation_texts, graph.relations, (present // 2).astype(np.int32))
    order = np.argsort(-won, kind="stable").tolist()
    return tuple(
        Part(
            relation=labels[i],
            side="tail" if present[i] % 2 else "head",
            rows=int(rows[i]),
            ours=float(figures[0][i]),
            theirs=float(figures[1][i]),
            contribution=float(won[i]),
        )
        for i in order
    )


def _places(ours: RankTable, theirs: RankTable) -> npt.NDArray[np.int64]:
    """int64 `[len(theirs)]`: the row of ours that each is, or -1."""
    columns = [np.concatenate(pair) for pair in zip(ours.keys, theirs.keys, strict=True)]
    order = order_of(columns)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(first_of_equal([column[order] for column in columns])) - 1
    held = np.full(len(order), -1, np.int64)
    held[group[: len(ours)]] = np.arange(len(ours))
    return held[group[len(ours) :]]


def _tests(gain: npt.NDArray[np.float64]) -> tuple[float, float]:
    """p-values of the sign and the signed-rank test; 1 where nothing differs."""
    from scipy.stats import binomtest, wilcoxon

    changed = gain[gain != 0]
    if not len(changed):
        return 1.0, 1.0
    wins = int((changed > 0).sum())
    return float(binomtest(wins, len(changed)).pvalue), float(wilcoxon(changed).pvalue)


def _figures(rank: npt.NDArray[np.float64]) -> dict[str, float]:
    return {"mrr": float((1 / rank).mean()), **{f"hits@{k}": float((rank <= k).mean()) for k in HITS}}


def _differences(
    table: RankTable, ours: npt.NDArray[np.float64], rows: npt.NDArray[np.int64], graph: KnowledgeGraph
) -> tuple[Difference, ...]:
    columns = (
        _labels(graph.texts, graph.entities, table.subject[rows]),
        _labels(graph.relation_texts, graph.relations, table.relation[rows]),
        _labels(graph.texts, graph.entities, table.object[rows]),
        table.side[rows].tolist(),
        ours[rows].tolist(),
        table.rank[rows].tolist(),
    )
    return tuple(Difference(*row) for row in zip(*columns, strict=True))


def _labels(texts: Texts, vocabulary: Vocabulary, ids: npt.NDArray[np.int32]) -> list[str]:
    return [label or name for label, name in zip(texts.labels(ids), vocabulary.names_of(ids), strict=True)]


def _told(table: RankTable, row: int, graph: KnowledgeGraph) -> str:
    names = (
        graph.entities.name(int(table.subject[row])),
        graph.relations.name(int(table.relation[row])),
        graph.entities.name(int(table.object[row])),
    )
    return f"({', '.join(names)}), {table.side[row]} missing"
