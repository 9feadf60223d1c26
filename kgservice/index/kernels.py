"""The loops of exhaustive search, in the subset of Python that numba compiles. Importing it takes a second: it is done late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
LANES, DEPTH = 64, 32
"""Scores are looked at in blocks of `DEPTH`, whose members stand `LANES` apart, so that a processor compares many blocks at once.
Of a block only the best score is looked at, where that cannot be among the k best."""
CHUNK = LANES * DEPTH
HALF_UNIT = np.float32(2.0**-8)
"""Relative rounding error of bfloat16, doubled."""
LOWEST = np.float32(-np.inf)
INFINITY, MINUS_INFINITY = 0x7F800000, -0x800000
"""Their bits as float32; beyond the first is what is not a number."""


def _machine_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled once a machine, where it can be kept. It holds no lock; sums may be reordered, so that they are vectorised."""
    how: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nnan", "nsz"}}
    try:
        made: Callable[..., Any] = numba.njit(cache=True, **how)(function)
    except RuntimeError:  # no folder to keep it in
        made = numba.njit(**how)(function)
    return made


def _same_bits(given: Any, made: Any) -> Any:
    """A function of machine code that reads the bits of one number as another; of 16 bits as the upper half of 32."""

    def reading(_: Any, bits: Any) -> Any:
        def generate(context: Any, builder: Any, __: Any, arguments: Any) -> Any:
            value, word = arguments[0], ir.IntType(32)
            if given is types.int16:
                value = builder.shl(builder.sext(value, word), ir.Constant(word, 16))
            return builder.bitcast(value, context.get_value_type(made))

        return made(given), generate

    return intrinsic(reading)


_widened = _same_bits(types.int16, types.float32)
"""The float32 that a bfloat16 is."""
_bits = _same_bits(types.float32, types.int32)
_number = _same_bits(types.int32, types.float32)


@_machine_code
def _below(score: np.float32, doubt: np.float32) -> np.float32:
    """What a score must reach to be perhaps truly above one that is `score` here: x + u|x| + doubt ≥ score − u|score| − doubt."""
    least = score - HALF_UNIT * abs(score) - np.float32(2) * doubt
    return least / (np.float32(1) + HALF_UNIT) if least >= 0 else least / (np.float32(1) - HALF_UNIT)


@_machine_code
def _kept(scores: Floats, places: Ints, count: int, k: int, doubt: np.float32) -> tuple[int, np.float32]:
    """Drop those that cannot be among the k best of `count`; how many are left, and what others must reach."""
    if count < k:
        return count, LOWEST
    cut = _below(np.partition(scores[:count], count - k)[count - k], doubt)
    left = 0
    for j in range(count):
        if scores[j] >= cut:
            scores[left], places[left] = scores[j], places[j]
            left += 1
    return left, cut


@_machine_code
def push(
    bits: npt.NDArray[np.int16],
    start: int,
    k: int,
    doubt: Floats,
    scores: Floats,
    places: Ints,
    count: npt.NDArray[np.int64],
    cuts: Floats,
    lost: npt.NDArray[np.bool_],
) -> None:
    """`Survivors.push`."""
    n, room = bits.shape[1], scores.shape[1]
    whole = n // CHUNK
    tops = np.empty((whole, LANES), np.float32)
    for row in range(len(bits)):
        if lost[row]:
            continue
        line, held, cut = bits[row], count[row], cuts[row]
        for chunk in range(whole):
            top = tops[chunk]
            part = line[chunk * CHUNK : (chunk + 1) * CHUNK]
            for lane in range(LANES):
                top[lane] = _widened(part[lane])
            for depth in range(1, DEPTH):
                some = part[depth * LANES : (depth + 1) * LANES]
                for lane in range(LANES):
                    top[lane] = max(top[lane], _widened(some[lane]))
        if cut == LOWEST and whole * LANES >= k:  # k blocks have a score that high
            best = tops.copy().reshape(-1)
            cut = _below(np.partition(best, len(best) - k)[len(best) - k], doubt[row])
        for block in range(whole * LANES + 1):
            if block < whole * LANES:
                if tops[block // LANES, block % LANES] < cut:
                    continue
                begin, end, step = block // LANES * CHUNK + block % LANES, (block // LANES + 1) * CHUNK, LANES
            else:
                begin, end, step = whole * CHUNK, n, 1
            for j in range(begin, end, step):
                score = _widened(line[j])
                if score < cut or score == LOWEST:
                    continue
                if held == room:
                    held, cut = _kept(scores[row], places[row], held, k, doubt[row])
                    if held > room - room // 4:
                        lost[row] = True
                        break
                    if score < cut:
                        continue
                scores[row, held], places[row, held] = score, start + j
                held += 1
            if lost[row]:
                break
        if held >= k and (2 * (held - count[row]) > k or held >= 4 * k):  # else few have come, and it is not worth it
            held, cut = _kept(scores[row], places[row], held, k, doubt[row])
        count[row], cuts[row] = 0 if lost[row] else held, cut


@_machine_code
def score(
    queries: Floats,
    vectors: Floats,
    at: Ints,
    places: Ints,
    where: npt.NDArray[np.int64],
    k: int,
    squared: bool,
    scores: Floats,
    found: Ints,
) -> None:
    """`best_of`, into `scores` and `found`."""
    d = queries.shape[1]
    for row in range(len(queries)):
        query, first, last = queries[row], where[row], where[row + 1]
        keys, real = np.empty(last - first, np.int64), 0
        for j in range(first, last):
            vector = vectors[at[j]]
            total = 0.0
            if squared:
                for i in range(d):
                    apart = np.float64(query[i]) - np.float64(vector[i])
                    total -= apart * apart
            else:
                for i in range(d):
                    total += np.float64(query[i]) * np.float64(vector[i])
            # One number that sorts by score down, then place up: the float's bits are in order but for the sign.
            ordered = np.int64(_bits(np.float32(total) + np.float32(0)))
            if ordered == MINUS_INFINITY or (ordered & 0x7FFFFFFF) > INFINITY:
                continue
            ordered = ordered if ordered >= 0 else ordered ^ 0x7FFFFFFF
            keys[real] = -ordered * 4294967296 + places[j]
            real += 1
        keys = keys[:real]
        if real > k:
            keys = np.partition(keys, k - 1)[:k]
        keys.sort()
        for j in range(len(keys)):
            place = keys[j] & 0x7FFFFFFF
            ordered = -((keys[j] - place) // 4294967296)
            scores[row, j] = _number(np.int32(ordered if ordered >= 0 else ordered ^ 0x7FFFFFFF))
            found[row, j] = place
