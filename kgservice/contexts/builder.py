"""One sequence for a question: what is asked, what is said of the entity, the facts that matter to it, what images show."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged, places_in
from kgservice.contexts.neighbourhood import Neighbourhood
from kgservice.contexts.tokens import END, IMAGE, NEIGHBOUR_IMAGE, PAD, SPECIALS
from kgservice.contexts.wording import Wording
from kgservice.graph.captions import Captions

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.int64]
PICTURED = 2
"""Neighbours whose images are told of at most."""


class Segment(StrEnum):
    """A part of a context, in the order in which they stand; the first is always there."""

    QUESTION = "question"
    DESCRIPTION = "description"
    HINT = "hint"
    VISUAL = "visual"
    NEIGHBOUR_VISUAL = "neighbour-visual"
    NEIGHBOURS = "neighbours"


ORDER = tuple(Segment)
NOTHING = -1
SIDE = 16
"""Lists of pieces that a context is made of at most."""


@dataclass(frozen=True)
class Contexts:
    """`b` sequences.

    Attributes:
        tokens: int32 `[b, t]`, padded with `PAD` behind the end.
        segment: int8 `[b, t]`, the place of each token's segment in `ORDER`; -1 for the end and behind it.
    """

    tokens: npt.NDArray[np.int32]
    segment: npt.NDArray[np.int8]

    def texts(self, row: int, tokenizer: Tokenizer) -> dict[Segment, str]:
        """What one sequence says, by segment, marks in square brackets."""
        found = {}
        for place, segment in enumerate(ORDER):
            ids = self.tokens[row, self.segment[row] == place].tolist()
            if ids:
                found[segment] = _readable(ids, tokenizer)
        return found


class ContextBuilder:
    """Builds contexts; the same question, draw and seed give the same one.

    Args:
        wording: the tokens of all that can be said.
        neighbourhood: the facts.
        captions: what images show, whose tokens `wording` holds.
        segments: those that are built, the question apart.
        neighbours: facts of a context at most.
        tokens: of a sequence at most, its end counted; what does not fit is left out, neighbours one by one.
        spread: of the noise on relevance where facts are drawn.
        seed: of that.
    """

    def __init__(
        self,
        wording: Wording,
        neighbourhood: Neighbourhood,
        captions: Captions,
        *,
        segments: Collection[Segment],
        neighbours: int,
        tokens: int,
        spread: float,
        seed: int,
    ) -> None:
        self.wording, self.neighbourhood, self.captions = wording, neighbourhood, captions
        self.segments, self.neighbours, self.tokens = frozenset(segments), neighbours, tokens
        self.spread, self.seed = spread, seed
        self.r = len(wording.hints) // 2
        marks = Ragged(np.arange(len(SPECIALS) + 1), np.arange(len(SPECIALS), dtype=np.int32))
        parts = {
            "marks": marks,
            "labels": wording.labels,
            "asked": wording.asked,
            "stated": wording.stated,
            "descriptions": wording.descriptions,
            "hints": wording.hints,
            "captions": wording.captions,
        }
        # Every piece that a sequence is made of has a number in one list of lists.
        self._pieces, self._first = _joined(parts)

    def build(
        self,
        anchor: Ids,
        relation: Ids,
        *,
        hidden: Ragged | None = None,
        draw: int | None = None,
        without: Collection[Segment] = (),
    ) -> Contexts:
        """The contexts of questions.

        Args:
            anchor: int64 `[b]`, the entity asked about.
            relation: int64 `[b]`, in `[0, 2r)`, inverses in the upper half.
            hidden: ragged `[b]`, answers whose facts are left out: those that a training asks for.
            draw: draw facts by relevance, by this number; by default the best are taken.
            without: segments left out this time.

        Returns:
            As wide as the longest.
        """
        first, wanted, every = self._first, self.segments - set(without), np.arange(len(anchor))
        rows: list[tuple[Ids, Ids, Segment]] = [
            (every, first["asked"] + relation, Segment.QUESTION),
            (every, first["labels"] + anchor, Segment.QUESTION),
        ]
        if Segment.DESCRIPTION in wanted:
            rows.append((every, first["descriptions"] + anchor, Segment.DESCRIPTION))
        if Segment.HINT in wanted:
            rows.append((every, first["hints"] + relation, Segment.HINT))
        if Segment.VISUAL in wanted:
            rows += self._pictured(every, anchor, relation % max(self.r, 1), IMAGE, Segment.VISUAL)
        if wanted & {Segment.NEIGHBOURS, Segment.NEIGHBOUR_VISUAL} and self.neighbours:
            rows += self._beside(anchor, relation, hidden, draw, wanted)
        question = np.concatenate([row for row, _, _ in rows])
        piece = np.concatenate([pieces for _, pieces, _ in rows])
        segment = np.concatenate([np.full(len(row), ORDER.index(of), np.int8) for row, _, of in rows])
        # Parts were given in their order, and those of one neighbour side by side.
        turn = np.concatenate([self._turns(row, place) for place, (row, _, _) in enumerate(rows)])
        order = np.lexsort((turn, segment, question))
        return self._padded(question[order], piece[order], segment[order], turn[order] // SIDE, len(anchor))

    @staticmethod
    def _turns(row: Ids, place: int) -> Ids:
        """int64: the place of pieces within their segment; mark, name and so on of one thing side by side."""
        return np.arange(len(row)) * SIDE + place

    def _beside(
        self, anchor: Ids, relation: Ids, hidden: Ragged | None, draw: int | None, wanted: frozenset[Segment]
    ) -> list[tuple[Ids, Ids, Segment]]:
        around = self.neighbourhood
        question, fact = around.chosen(
            anchor,
            relation,
            self.neighbours,
            hidden=hidden,
            draw=self.seed if draw is None else draw,
            spread=0.0 if draw is None else self.spread,
        )
        end, kind = around.end[fact].astype(np.int64), around.relation[fact].astype(np.int64)
        rows = []
        if Segment.NEIGHBOUR_VISUAL in wanted and len(self.captions):
            asked = relation[question] % self.r
            shown = np.flatnonzero(self.captions.rows(end, asked) >= 0)
            shown = shown[places_in(question[shown]) < PICTURED]
            found = self._pictured(
                question[shown], end[shown], asked[shown], NEIGHBOUR_IMAGE, Segment.NEIGHBOUR_VISUAL, named=True
            )
            rows += found
        if Segment.NEIGHBOURS in wanted:
            rows.append((question, self._first["stated"] + kind, Segment.NEIGHBOURS))
            rows.append((question, self._first["labels"] + end, Segment.NEIGHBOURS))
        return rows

    def _pictured(
        self, question: Ids, entity: Ids, relation: Ids, mark: int, segment: Segment, *, named: bool = False
    ) -> list[tuple[Ids, Ids, Segment]]:
        row = self.captions.rows(entity, relation)
        there = row >= 0
        question, row = question[there], row[there]
        pieces = [np.full(len(row), self._first["marks"] + mark)]
        if named:
            pieces.append(self._first["labels"] + entity[there])
        pieces.append(self._first["captions"] + row)
        return [(question, piece, segment) for piece in pieces]

    def _padded(self, question: Ids, piece: Ids, segment: npt.NDArray[np.int8], unit: Ids, b: int) -> Contexts:
        """Pieces, question after question, as rows of a matrix; a unit of them that does not fit ends its row."""
        ends = np.cumsum(self._pieces.lengths[piece])
        start = np.concatenate([[0], ends])[np.searchsorted(question, np.arange(b))]
        last = np.ones(len(piece), dtype=bool)
        last[:-1] = (np.diff(question) != 0) | (np.diff(segment) != 0) | (np.diff(unit) != 0)
        of_unit = np.flatnonzero(last)[np.cumsum(last) - last]
        fits = ends[of_unit] - start[question] < self.tokens
        # The question itself is cut, never left out.
        asked = segment == 0
        taken = self._pieces.take(np.where(fits | asked, piece, -1))
        row = np.repeat(question, taken.lengths)
        column = places_in(row)
        inside = column < self.tokens - 1
        row, column, values = row[inside], column[inside], taken.values[inside]
        width = np.bincount(row, minlength=b)
        tokens = np.full((b, int(width.max(initial=0)) + 1), PAD, dtype=np.int32)
        marks = np.full(tokens.shape, NOTHING, dtype=np.int8)
        tokens[row, column] = values
        marks[row, column] = np.repeat(segment, taken.lengths)[inside]
        tokens[np.arange(b), width] = END
        return Contexts(tokens, marks)


def _joined(parts: dict[str, Ragged]) -> tuple[Ragged, dict[str, int]]:
    """All lists behind one another, and where those of each part begin."""
    first, count = {}, 0
    for name, part in parts.items():
        first[name] = count
        count += len(part)
    return Ragged.joined(parts.values()), first


def _readable(ids: list[int], tokenizer: Tokenizer) -> str:
    words, run = [], []
    for id in [*ids, PAD]:
        if id >= len(SPECIALS):
            run.append(id)
            continue
        if run:
            words.append(tokenizer.decode(run).strip())
            run = []
        if id != PAD:
            words.append(SPECIALS[id].replace(" ", "", 1).replace(" ]", "]"))
    return " ".join(words)
