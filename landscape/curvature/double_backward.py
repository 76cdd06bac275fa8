"""Hessian-vector products by differentiating the gradient's inner product with the vector."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.objective import Objective


def double_backward(objective: Objective, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
    """Sum of one micro-batch's Hessian times a vector (Pearlmutter, Neural Computation 6 (1994) 147, in reverse mode).

    Works for every layer whose backward pass can itself be differentiated; costs about three gradients.

    Parameters
    ----------
    vector : (n,) tensor

    Returns
    -------
    (n,) tensor
    """
    theta = objective.theta.detach().requires_grad_(True)
    value = objective.numerator(objective.variables(theta), batch, denominator)
    if not value.requires_grad:  # Theta is a block that the network does not use.
        return torch.zeros_like(vector)
    (gradient,) = torch.autograd.grad(value, theta, create_graph=True, allow_unused=True, materialize_grads=True)
    if not gradient.requires_grad:  # The loss is linear in theta.
        return torch.zeros_like(vector)
    (product,) = torch.autograd.grad(gradient, theta, vector, allow_unused=True, materialize_grads=True)
    return product
