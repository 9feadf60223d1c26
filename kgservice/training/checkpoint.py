"""One file that holds a training's whole state; replaced in one step, so that a kill leaves the old or the new one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """Attributes:
    tensors: by name; prefixes `model/`, `best/` and `optimizer/`.
    state: plain values: epoch, history, what the state belongs to.
    """

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write beside `path`, sync, rename. A full disk keeps the previous file and raises `OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(".partial")
        try:
            save_file(dict(self.tensors), staging, metadata={"state": json.dumps(self.state)})
            with staging.open("rb") as file:
                os.fsync(file.fileno())
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Checkpoint | None:
        """What was saved, or None where nothing was."""
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return cls({name: file.get_tensor(name) for name in file.keys()}, state)  # noqa: SIM118


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by `optimizer/<parameter number>/<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer/{number}/{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, number, name = key.split("/")
            state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
