"""Whether products of matrices are faster in bfloat16 than in float32."""

from __future__ import annotations

import functools
import time

# How many times faster bfloat16 has to be before its rounding is worth it.
WORTH = 1.5


@functools.cache
def fast_bfloat16(device: str) -> bool:
    """True on a GPU that multiplies bfloat16, and on a processor where a product of matrices proves faster in it.

    Processors that promise the same instructions differ: with AMX bfloat16 is about six times float32, with AVX-512's own
    bfloat16 five times on one maker's and half on another's, without either hundreds of times slower. So it is asked first if
    there are instructions at all, then a product is timed, which takes a few milliseconds, once a process.

    Args:
        device: a torch device's type, "cpu" or "cuda".
    """
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Torch has no public question for the CPU; where the private ones are gone, float32 is never wrong.
    if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
        return True
    if not getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        return False
    return _seconds(torch.float32) > WORTH * _seconds(torch.bfloat16)


def _seconds(dtype: object) -> float:
    """The least time of a product of the size that a batch of questions makes."""
    import torch

    rows, columns = torch.ones(256, 256, dtype=dtype), torch.ones(256, 4096, dtype=dtype)  # type: ignore[call-overload]
    product = torch.empty(256, 4096, dtype=dtype)  # type: ignore[call-overload]
    times = []
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(rows, columns, out=product)
        times.append(time.perf_counter() - start)
    return min(times)
