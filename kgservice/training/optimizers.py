"""Update rules: torch's own, and Adagrad by rows for tables that no dense gradient should ever be made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kgservice.recipe import TrainingSettings
from kgservice.scorers.base import VectorScorer


class RowAdagrad(torch.optim.Optimizer):
    """Adagrad that keeps one number per row of a table whose gradient is sparse.

    With the gradient g of one of d columns' rows, repeated rows summed first: G += mean(g²), row −= lr · g / (√G + ε). A
    parameter with a dense gradient gets the ordinary rule, a number per weight.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, eps: float = 1e-10) -> None:
        super().__init__(parameters, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["eps"])

    def _update(self, parameter: Tensor, gradient: Tensor, lr: float, eps: float) -> None:
        state = self.state[parameter]
        if not gradient.is_sparse:
            total = state.setdefault("sum", torch.zeros_like(parameter))
            total.addcmul_(gradient, gradient)
            parameter.addcdiv_(gradient, total.sqrt().add_(eps), value=-lr)
            return
        if "sum" not in state:
            state["sum"] = parameter.new_zeros(len(parameter))
        gradient = gradient.coalesce()  # sums what is there twice
        rows, values = gradient.indices()[0], gradient.values()
        total = state["sum"][rows] + values.square().mean(1)
        state["sum"][rows] = total
        parameter.index_add_(0, rows, values / (total.sqrt() + eps).unsqueeze(1), alpha=-lr)


def build(scorer: VectorScorer, settings: TrainingSettings, *, by_rows: bool) -> torch.optim.Optimizer:
    """The optimiser that a recipe names; `by_rows` where the entity table gets sparse gradients."""
    parameters = trained(scorer)
    if by_rows:
        return RowAdagrad(parameters, lr=settings.learning_rate)
    if settings.optimizer == "adagrad":
        return torch.optim.Adagrad(parameters, lr=settings.learning_rate, fused=parameters[0].device.type == "cpu")
    return torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)


def trained(scorer: VectorScorer) -> list[nn.Parameter]:
    """The parameters that change, in the order that their numbers in a checkpoint mean."""
    return [parameter for parameter in scorer.parameters() if parameter.requires_grad]


def state_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by `optimizer/<parameter number>/<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer/{number}/{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
    }


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `state_of` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, number, name = key.split("/")
            state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
