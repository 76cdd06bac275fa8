"""The covariance of per-sample gradients, the noise of stochastic gradients."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from landscape._data import Batch
from landscape._network import Selection
from landscape.curvature._of_outputs import OfOutputs
from landscape.curvature.operator import Operator
from landscape.objective import Objective
from landscape.parallel import ProcessGrid


class GradientCovariance(OfOutputs):
    """Mean of ``(gᵢ - ḡ)(gᵢ - ḡ)ᵀ`` over the samples, where ḡ is the mean of the per-sample gradients gᵢ.

    The mean is the one that the loss takes: L = Σᵢ wᵢ ℓᵢ / D with D = Σᵢ wᵢ gives ``(1/D) Σᵢ wᵢ (∇ℓᵢ - ḡ)(∇ℓᵢ - ḡ)ᵀ``.
    A sample is one row of a batch and wᵢ what it adds to the denominator (1, its tokens, its class weight), so ignored
    samples do not count, and doubling all weights changes nothing. A mini-batch of b samples, drawn with replacement,
    has 1/b of this covariance.

    Weight decay does not enter: it adds the same vector to every gradient and to their mean.

    Parameters
    ----------
    objective : Objective
        With ``loss(output, target)``. ḡ is computed once, here (collective).

    Attributes
    ----------
    mean : (n,) tensor
        ḡ, the gradient of the loss without weight decay.

    Raises
    ------
    InputError
        If the loss is ``fn(model, batch)``.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> data = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [1.0]])
    >>> line = torch.nn.Linear(1, 1)
    >>> _ = [torch.nn.init.zeros_(parameter) for parameter in line.parameters()]
    >>> C = ls.GradientCovariance(ls.Objective(line, torch.nn.MSELoss(), data))  # gradients (-2, -2) and (2, -2)
    >>> C @ torch.tensor([1.0, 1.0])
    tensor([4., 0.])
    """

    name = "gradient-covariance"
    regularized = False

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        objective.grid.meet("GradientCovariance")
        self.mean = objective.mean_of(objective.batch_gradient).to(self.dtype)

    def on(self, grid: ProcessGrid) -> Self:
        """The same operator computed by other ranks; ḡ has the same bits there."""
        return super().of(self.objective.on(grid))

    def of(self, objective: Objective) -> Self:
        """The covariance for another objective, with its own ḡ (collective)."""
        return type(self)(objective)

    def restricted(self, parameters: Selection) -> Operator:
        """The diagonal block of some parameters, with their part of ḡ."""
        means = self.objective.variables(self.mean)
        other = super().of(self.objective.restricted(parameters))
        other.mean = torch.cat([means[name].reshape(-1) for name in other.objective.names])
        return other

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of ``wᵢ (∇ℓᵢ - ḡ) ((∇ℓᵢ - ḡ) · v)`` over one micro-batch, ``(n,)``."""
        theta, losses = self.objective.theta.detach(), self._losses(batch)
        with self._forward_mode(batch):
            values, slopes = torch.func.jvp(losses, (theta,), (vector,))[:2]
        weights = self.objective.shares(batch).to(values)
        counted = weights > 0
        # Centred before it is squared: the difference of two second moments would cancel where the mean dominates.
        centred = torch.where(counted, slopes / weights.where(counted, 1) - self.mean @ vector, 0)
        return torch.func.vjp(losses, theta)[1](centred)[0] - (weights @ centred) * self.mean
