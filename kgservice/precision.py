"""Whether products of matrices are faster in bfloat16 than in float32."""

from __future__ import annotations


def fast_bfloat16(device: str) -> bool:
    """True on a GPU that multiplies bfloat16, and on a processor with AMX, where it is about six times float32.

    AVX-512's own bfloat16 is not enough: products reached half of float32's rate there.

    Args:
        device: a torch device's type, "cpu" or "cuda".
    """
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Torch has no public question for the CPU; where the private one is gone, float32 is never wrong.
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())
