"""Files of `torch.save`, read without running what they hold."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kgservice.errors import DataError


def load(path: Path, advice: str, stand_ins: Mapping[str, type] | None = None) -> Any:
    """What a file holds: tensors and plain values alone.

    Args:
        path: written by `torch.save`.
        advice: how to get a readable file, for the message.
        stand_ins: by full name of a class met in the file, an empty class of ours that takes its attributes and has no
            code of its own.

    Raises:
        DataError: not such a file, or one that would have to run foreign code to be read.
    """
    allowed: list[Any] = [(kind, name) for name, kind in (stand_ins or {}).items()]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = str(error).partition("GLOBAL ")[2].split(" ", 1)[0]
        what = f"objects of {wanted}" if wanted else "more than tensors and plain values"
        raise DataError(f"{path}: holds {what}, which only running code could read. {advice}") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a file of torch.save: {error}") from error


def table(state: Any, keys: tuple[str, ...], path: Path) -> torch.Tensor:
    """float32 `[m, w]`: the first of `keys` that a state dict holds.

    Raises:
        DataError: none of them; lists what there is.
    """
    for key in keys:
        if isinstance(state, Mapping) and isinstance(found := state.get(key), torch.Tensor):
            return found.detach().flatten(1).to(torch.float32)
    held = ", ".join(sorted(map(str, state))[:8]) if isinstance(state, Mapping) else type(state).__name__
    raise DataError(f"{path}: expected {' or '.join(keys)}, found {held or 'nothing'}")
