"""The empirical Fisher matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.curvature._of_outputs import OfOutputs


class EmpiricalFisher(OfOutputs):
    """Sum of the outer products of per-sample gradients over the loss's denominator, plus weight_decay · identity.

    With L = (1/D) Σᵢ cᵢ the matrix is ``(1/D) Σᵢ ∇cᵢ ∇cᵢᵀ``, at the targets of the data. A sample is one row of a
    batch; its cᵢ includes its class weight and all its tokens. The regularizer, which is not a loss of a sample, adds
    its exact second derivative.

    Parameters
    ----------
    objective : Objective
        With ``loss(output, target)``.

    Raises
    ------
    InputError
        If the loss is ``fn(model, batch)``.
    """

    name = "fisher"

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of ``∇cᵢ (∇cᵢ · v)`` over one micro-batch, ``(n,)``."""
        theta, losses = self.objective.theta.detach(), self._losses(batch)
        with self._forward_mode(batch):
            slopes = torch.func.jvp(losses, (theta,), (vector,))[1]
        return torch.func.vjp(losses, theta)[1](slopes)[0]
