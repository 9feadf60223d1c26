"""Answers of one model to many questions, in columns: as the dataclasses that people program with, written at once as JSON, or
as a table.

A server writes answers and reads none: to make ten dataclasses a question and then look into each costs more than to find them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from kgservice.answers import MAX_K, Answer, Candidate, Named, QualifierView
from kgservice.graph.views import Views

TABLE = pa.schema(
    [
        ("question", pa.int64()),
        *((name, pa.string()) for name in ("id", "label", "description")),
        ("score", pa.float64()),
        ("probability", pa.float64()),
        ("rank", pa.int64()),
        ("known", pa.bool_()),
        ("uncertainty", pa.float64()),
        *((name, pa.string()) for name in ("model", "release")),
    ]
)
"""A row for each candidate: the place of its question, the fields of `Candidate`, and who answered."""

One = TypeVar("One")
Echo = tuple[Named | None, Named | None, Named | None]


@dataclass(frozen=True)
class Wanted:
    """Which candidates are wanted, and how they are shown.

    Attributes:
        k: of each question.
        allow: bool `[n]`, the entities that may answer; None for all.
        exclude_known: leave out what the graph states; else it is marked `known`.
        language: of labels and descriptions.
    """

    k: int
    allow: npt.NDArray[np.bool_] | None
    exclude_known: bool
    language: str


class Answers(Protocol):
    """Answers to some questions, in their order."""

    def answers(self) -> list[Answer]:
        """As dataclasses."""
        ...

    def written(self) -> list[bytes]:
        """Each as JSON, the same as `orjson.dumps` of its dataclass."""
        ...

    def table(self, places: Sequence[int]) -> pa.Table:
        """The candidates as rows of `TABLE`; `places` are what it calls the questions."""
        ...


def in_order(parts: Iterable[tuple[Sequence[int], Sequence[One]]]) -> list[One]:
    """What stands at all places, of parts that name theirs."""
    found = {place: one for places, ones in parts for place, one in zip(places, ones, strict=True)}
    return [found[place] for place in range(len(found))]


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of some tables, question by question."""
    table = pa.concat_tables(tables) if tables else TABLE.empty_table()
    return table if len(tables) < 2 else table.take(np.argsort(table["question"].to_numpy(), kind="stable"))


@dataclass(frozen=True)
class Made:
    """Answers that are dataclasses already."""

    made: Sequence[Answer]

    def answers(self) -> list[Answer]:
        """See `Answers.answers`."""
        return list(self.made)

    def written(self) -> list[bytes]:
        """See `Answers.written`."""
        return list(map(orjson.dumps, self.made))

    def table(self, places: Sequence[int]) -> pa.Table:
        """See `Answers.table`."""
        rows = [
            {"question": place, **asdict(one), "model": answer.model, "release": answer.release}
            for place, answer in zip(places, self.made, strict=True)
            for one in answer.candidates
        ]
        return pa.Table.from_pylist(rows, schema=TABLE)


@dataclass(frozen=True)
class Filled:
    """Candidates for the hole of each of `b` questions, the best first.

    Attributes:
        release, model, exact, population: as in `Answer`, the same for all.
        echo, pairs: each question, as it is shown.
        relations: whether relations fill the hole, not entities.
        ids: int32 `[b, k]`, -1 behind the last.
        scores: float32 `[b, k]`.
        probability: float64 `[b, k]`; None where the model is not calibrated.
        known: bool `[b, k]`.
        uncertainty: float32 `[b, k]`, NaN where an entity has none; None where the model keeps none.
        views, language: how names are shown.
    """

    release: str
    model: str
    exact: bool
    population: str | None
    echo: Sequence[Echo]
    pairs: Sequence[list[QualifierView]]
    relations: bool
    ids: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float64] | None
    known: npt.NDArray[np.bool_]
    uncertainty: npt.NDArray[np.float32] | None
    views: Views
    language: str

    def answers(self) -> list[Answer]:
        """See `Answers.answers`."""
        found = self.ids >= 0
        name_of = self.views.relations if self.relations else self.views.entities
        named = name_of(self.ids[found], self.language, describe=True)
        # As lists: to take numbers out of arrays one by one costs more than all the rest.
        columns: list[Iterable[object]] = [
            self.scores[found].tolist(),
            self._listed(self.probability, self.known, found),
        ]
        columns += [
            self._ranks(found).tolist(),
            self.known[found].tolist(),
            self._listed(self.uncertainty, None, found),
        ]
        made = [
            Candidate(name.id, name.label, name.description, *rest)
            for name, *rest in zip(named, *columns, strict=False)
        ]
        return [
            Answer(self.release, self.model, *echo, pairs, self.exact, self.population, made[first:last])
            for echo, pairs, first, last in self._rows(found)
        ]

    def written(self) -> list[bytes]:
        """See `Answers.written`."""
        found = self.ids >= 0
        begun = self.views.begun(self.relations, self.ids[found], self.language)
        # The pieces of all candidates, column by column: to format each by itself costs more than to find it.
        size = _PIECES * len(begun)
        pieces = [b',"probability":'] * size
        pieces[0::_PIECES], pieces[1::_PIECES] = begun, _written(self.scores[found])
        pieces[3::_PIECES] = self._written(self.probability, self.known, found)
        pieces[4::_PIECES] = map(_ENDS.__getitem__, (self._ranks(found) + len(_RANKS) * self.known[found]).tolist())
        pieces[5::_PIECES] = self._written(self.uncertainty, None, found)
        head = b'{"release":%b,"model":%b,' % (orjson.dumps(self.release), orjson.dumps(self.model))
        same = b'"exact":%b,"population":%b,"candidates":[' % (_BOOL[self.exact], orjson.dumps(self.population))
        return [
            b'%b"subject":%b,"relation":%b,"object":%b,"qualifiers":%b,%b%b],"estimate":null}'
            % (head, *map(orjson.dumps, echo), orjson.dumps(pairs), same, _candidates(pieces, first, last))
            for echo, pairs, first, last in self._rows(found)
        ]

    def table(self, places: Sequence[int]) -> pa.Table:
        """See `Answers.table`."""
        found = self.ids >= 0
        ids, place = np.unique(self.ids[found], return_inverse=True)
        name_of = self.views.relations if self.relations else self.views.entities
        named, count = name_of(ids, self.language, describe=True), len(place)
        texts = ([one.id for one in named], [one.label for one in named], [one.description for one in named])
        return pa.table(
            [
                np.asarray(places, np.int64)[np.nonzero(found)[0]],
                *(pa.array(text, pa.string()).take(pa.array(place)) for text in texts),
                self.scores[found].astype(np.float64),
                self._column(self.probability, self.known, found),
                self._ranks(found),
                self.known[found],
                self._column(self.uncertainty, None, found),
                *(pa.repeat(name, count) for name in (self.model, self.release)),
            ],
            schema=TABLE,
        )

    def _rows(self, found: npt.NDArray[np.bool_]) -> Iterable[tuple[Echo, list[QualifierView], int, int]]:
        """Each question, and where its candidates begin and end among all."""
        ends = np.cumsum(found.sum(axis=1)).tolist()
        return zip(self.echo, self.pairs, [0, *ends], ends, strict=False)

    @staticmethod
    def _ranks(found: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.nonzero(found)[1] + 1

    @staticmethod
    def _listed(
        column: npt.NDArray[np.floating] | None, hidden: npt.NDArray[np.bool_] | None, found: npt.NDArray[np.bool_]
    ) -> Iterable[float | None]:
        """The numbers of what was found; None for those that are hidden, or are none."""
        if column is None:
            return repeat(None)
        none = np.isnan(column) if hidden is None else hidden
        return np.where(none, None, column.astype(np.float64))[found].tolist()  # type: ignore[no-any-return, call-overload]

    @staticmethod
    def _column(
        column: npt.NDArray[np.floating] | None, hidden: npt.NDArray[np.bool_] | None, found: npt.NDArray[np.bool_]
    ) -> pa.Array:
        """The same as a column of a table."""
        if column is None:
            return pa.nulls(int(found.sum()), pa.float64())
        none = np.isnan(column) if hidden is None else hidden
        return pa.array(column[found].astype(np.float64), mask=none[found])

    @staticmethod
    def _written(
        column: npt.NDArray[np.floating] | None, hidden: npt.NDArray[np.bool_] | None, found: npt.NDArray[np.bool_]
    ) -> list[bytes]:
        """The same as JSON."""
        if column is None:
            return [b"null"] * int(found.sum())
        return _written(column[found] if hidden is None else np.where(hidden, np.nan, column)[found])


_BOOL = {False: b"false", True: b"true"}
_RANKS = range(MAX_K + 1)
_ENDS = [b',"rank":%d,"known":%b,"uncertainty":' % (rank, known) for known in _BOOL.values() for rank in _RANKS]
_PIECES = 6
"""How a candidate begins, its score, a name, its probability, rank and whether it is known, its uncertainty."""


def _candidates(pieces: Sequence[bytes], first: int, last: int) -> bytes:
    """A question's, as a JSON array's content; each piece that begins one ends the one before."""
    return b"%b}" % b"".join(pieces[_PIECES * first : _PIECES * last])[2:] if last > first else b""


def _written(numbers: npt.NDArray[np.floating]) -> list[bytes]:
    """Each number as JSON, null for what is none."""
    if not len(numbers):
        return []
    return orjson.dumps(numbers.astype(np.float64), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
