"""Hessian-vector products as the directional derivative of the gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.objective import Objective


def forward_over_reverse(objective: Objective, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
    """Sum of one micro-batch's Hessian times a vector: forward mode over the reverse-mode gradient.

    Keeps no graph of the gradient, so it needs less memory than double backward; every layer must have a forward
    derivative.

    Parameters
    ----------
    vector : (n,) tensor

    Returns
    -------
    (n,) tensor
    """

    def numerator(theta: Tensor) -> Tensor:
        return objective.numerator(objective.variables(theta), batch, denominator)

    _, product = torch.func.jvp(torch.func.grad(numerator), (objective.theta.detach(),), (vector,))
    return product
