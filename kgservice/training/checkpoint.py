"""One file that holds a training's whole state; replaced in one step, so that a kill leaves the old or the new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kgservice.files import replacing


@dataclass(frozen=True)
class Checkpoint:
    """Attributes:
    tensors: by name; prefixes `model/`, `mean/`, `best/` and `optimizer/`.
    state: plain values: epoch, history, what the state belongs to.
    """

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write beside `path`, sync, rename.

        Raises:
            OSError: the disk is full, say; the previous file is kept.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(path) as staging:
                save_file(dict(self.tensors), staging, metadata={"state": json.dumps(self.state)})
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error

    @classmethod
    def load(cls, path: Path) -> Checkpoint | None:
        """What was saved, or None where nothing was. Tensors are mapped from the file: pages are read when used."""
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return cls({name: file.get_tensor(name) for name in file.keys()}, state)  # noqa: SIM118
