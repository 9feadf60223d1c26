"""The scores of many questions, block after block, by the fastest road that is as exact as float32.

Candidates are folded once, not once a block. MKL's float32 products can be half as fast as oneDNN's (on processors of other
makers than its own); torch offers oneDNN's for layers only, so each of the two ways to them is tried before it is used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor

from kgservice.query import QueryBatch, Slot
from kgservice.scorers.base import Scorer, VectorScorer

BLOCK_BYTES = 8 << 20
"""Scores that are made and counted together: they stay in the last cache."""
FEWEST_ROWS = 32
COPY_BYTES = 256 << 20
"""Larger candidates are not copied for the sake of speed."""
TOLERANCE = 1e-5
"""Of |q||c|: a hundred times float32's rounding, a tenth of bfloat16's."""
SAMPLED = 1024
PROBED = 16_384

Road = Callable[[Tensor], Tensor]
"""float `[b, d]` → float `[b, n]`; what it gives may be overwritten by its next call."""
Making = Callable[[Tensor, Tensor | None, int], Road]

_log = logging.getLogger(__name__)
_chosen: dict[tuple[int, ...], Making] = {}
"""By rows, candidates, width, bias and threads: a road is chosen once in a process."""


def blocks(scorer: Scorer, slot: Slot, n: int, most: int) -> tuple[int, Callable[[QueryBatch], Tensor]]:
    """How many questions to score at once, and what scores so many, under weights that do not change meanwhile.

    The scores order candidates as `scorer.scores` does; a squared distance lacks the length that is the question's own.
    What a call gives is overwritten by the next one.

    Args:
        scorer: what is asked. One with scores of its own is asked for them.
        slot: the hole of all questions.
        n: candidates.
        most: questions at once at most; on the CPU fewer, so that their scores stay in the last cache.
    """
    fitting = BLOCK_BYTES // (4 * max(n, 1)) // 16 * 16
    rows = max(1, min(most, max(FEWEST_ROWS, fitting)))
    if (
        not isinstance(scorer, VectorScorer)
        or type(scorer).scores is not VectorScorer.scores
        or slot not in scorer.slots
    ):
        return rows, scorer.scores
    candidates = scorer.candidate_vectors(slot).detach().contiguous()
    rows = rows if candidates.device.type == "cpu" else most
    if scorer.metric_of(slot) == "ip":
        road = fastest(candidates, None, rows)
        return rows, lambda queries: road(scorer.query_vectors(queries))
    # −|q − c|² = 2q·c − |c|² − |q|², the last of which is the same for all candidates.
    road = fastest(candidates, -(candidates * candidates).sum(1), rows)
    return rows, lambda queries: road(2 * scorer.query_vectors(queries))


def fastest(candidates: Tensor, bias: Tensor | None, rows: int) -> Road:
    """`queries @ candidates.T + bias` for up to `rows` queries of float `[b, d]`."""
    if (
        candidates.device.type != "cpu"
        or candidates.dtype != torch.float32
        or candidates.nbytes > COPY_BYTES
        or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    ):
        return plain(candidates, bias, rows)
    key = (rows, *candidates.shape, bias is None, torch.get_num_threads())
    if key not in _chosen:
        _chosen[key] = _choose(candidates[:PROBED], None if bias is None else bias[:PROBED], rows)
        _log.info("products of %d rows with %d candidates of width %d: %s", *key[:3], _chosen[key].__name__)
    return _chosen[key](candidates, bias, rows)


def plain(candidates: Tensor, bias: Tensor | None, rows: int) -> Road:
    """torch's own product, into a buffer that is kept."""
    buffer = candidates.new_empty(rows, len(candidates))

    def road(queries: Tensor) -> Tensor:
        out = buffer[: len(queries)]
        if bias is None:
            return torch.mm(queries, candidates.T, out=out)
        return torch.addmm(bias, queries, candidates.T, out=out)

    return road


def packed(candidates: Tensor, bias: Tensor | None, rows: int) -> Road:
    """oneDNN's, with candidates laid out for it beforehand: what torch.compile calls for linear layers."""
    weight = torch.ops.mkldnn._reorder_linear_weight(candidates, rows)
    linear = torch.ops.mkldnn._linear_pointwise
    return lambda queries: linear(queries, weight, bias, "none", [], None)


def layered(candidates: Tensor, bias: Tensor | None, rows: int) -> Road:
    """oneDNN's, by tensors of its own kind."""
    weight, linear = candidates.to_mkldnn(), torch._C._nn.mkldnn_linear
    return lambda queries: linear(queries.to_mkldnn(), weight, bias).to_dense()


def _choose(candidates: Tensor, bias: Tensor | None, rows: int) -> Making:
    """The first road of oneDNN that is there, right and not slower than torch's own.

    It may be half as slow again: where both are as fast, noise must not decide, so that equal runs give equal scores.
    """
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(rows, candidates.shape[1], generator=generator)
    step = max(1, len(candidates) // SAMPLED)
    sample = candidates[::step].double()
    expected = queries.double() @ sample.T
    if bias is not None:
        expected += bias[::step]
    allowed = TOLERANCE * queries.double().norm(dim=1, keepdim=True) * sample.norm(dim=1)
    limit = 1.5 * _least_time(plain(candidates, bias, rows), queries)
    for making in (packed, layered):
        try:
            road = making(candidates, bias, rows)
            right = bool(((road(queries)[:, ::step].double() - expected).abs() <= allowed).all())
            if right and _least_time(road, queries) <= limit:
                return making
        except (AttributeError, RuntimeError) as reason:
            _log.debug("%s products cannot be used: %s", making.__name__, reason)
    return plain


def _least_time(road: Road, queries: Tensor) -> float:
    took = []
    for _ in range(4):
        started = time.perf_counter()
        road(queries)
        took.append(time.perf_counter() - started)
    return min(took[1:])
