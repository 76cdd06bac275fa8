"""Hessian-vector products as the directional derivative of the gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.errors import InputError
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

    Raises
    ------
    InputError
        If a layer or the loss has no forward derivative (torch's mean squared error had none when this was written).
    """

    # By parameter and not by theta as a whole: torch cannot accumulate the symbolic zeros of forward mode into a split.
    def numerator(variables: dict[str, Tensor]) -> Tensor:
        return objective.numerator(variables, batch, denominator)

    at, along = objective.variables(objective.theta.detach()), objective.variables(vector)
    try:
        products = torch.func.jvp(torch.func.grad(numerator), (at,), (along,))[1]
    except (NotImplementedError, RuntimeError) as error:
        raise InputError(
            "the gradient of this model and loss has no forward derivative in this version of torch; use "
            f'product="double_backward" ({str(error).splitlines()[0]})'
        ) from error
    return torch.cat([products[name].reshape(-1) for name in objective.names])
