"""Products of questions and candidates by the fastest road that is as exact as float32.

Candidates are laid out once, not once a product. MKL's float32 products can be half as fast as oneDNN's (on processors of other
makers than its own); torch offers oneDNN's for layers only, so each of the two ways to them is tried before it is used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

COPY_BYTES = 256 << 20
"""Larger candidates are not copied for the sake of speed."""
TOLERANCE = 1e-5
"""Of |q||c|: a hundred times float32's rounding, a tenth of bfloat16's."""
SAMPLED = 1024
PROBED = 16_384

Road = Callable[[Tensor], Tensor]
"""float `[b, d]` → float `[b, n]`; what `plain` gives is overwritten by its next call."""
Making = Callable[[Tensor, Tensor | None, int], Road]

_log = logging.getLogger(__name__)
_chosen: dict[tuple[int, ...], Making] = {}
"""By rows, candidates, width, bias and threads: a road is chosen once in a process."""


def fastest(candidates: Tensor, bias: Tensor | None, rows: int) -> Road:
    """`queries @ candidates.T + bias` for up to `rows` queries of float `[b, d]`; for one thread at a time."""
    return laid_out(candidates, bias, rows) or plain(candidates, bias, rows)


def laid_out(candidates: Tensor, bias: Tensor | None, rows: int) -> Road | None:
    """The same by a copy of candidates, for many threads; None where that is no faster, or not to be had."""
    if (
        candidates.device.type != "cpu"
        or candidates.dtype != torch.float32
        or candidates.nbytes > COPY_BYTES
        or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    ):
        return None
    key = (rows, *candidates.shape, bias is None, torch.get_num_threads())
    if key not in _chosen:
        _chosen[key] = _choose(candidates[:PROBED], None if bias is None else bias[:PROBED], rows)
        _log.info("products of %d rows with %d candidates of width %d: %s", *key[:3], _chosen[key].__name__)
    return None if _chosen[key] is plain else _chosen[key](candidates, bias, rows)


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
    limit = 1.5 * _least_time(partial(plain(candidates, bias, rows), queries))
    for making in (packed, layered):
        try:
            road = making(candidates, bias, rows)
            right = bool(((road(queries)[:, ::step].double() - expected).abs() <= allowed).all())
            if right and _least_time(partial(road, queries)) <= limit:
                return making
        except (AttributeError, RuntimeError) as reason:
            _log.debug("%s products cannot be used: %s", making.__name__, reason)
    return plain


def _least_time(work: Callable[[], object]) -> float:
    took = []
    for _ in range(4):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took[1:])
