"""Hessian-vector products as differences of gradients."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.objective import Objective

# Of ‖theta‖: balances the cubic term of the difference against rounding in float32 (measured: error 1e-4 on smooth
# nets); in float64 rounding allows a smaller one.
STEP = {torch.float32: 1e-2, torch.float64: 1e-4}
# Two steps whose products differ by more than this share see kinks: the matrix of a difference is then another one.
KINKED = 0.1


class FiniteDifference:
    """Central differences of the gradient along the vector: needs nothing but first derivatives.

    On piecewise-linear networks (ReLU) it is **another matrix** than the Hessian, since steps cross kinks; a comparison
    of two steps at the first product warns of that.

    Parameters
    ----------
    objective : Objective
    budget : float
        Not used.

    Attributes
    ----------
    cosine : float
        The smallest cosine between a perturbation that was meant and the one that rounding left of it.
    """

    def __init__(self, objective: Objective, budget: float = 0.0) -> None:
        self.objective = objective
        self.cosine = 1.0
        self._compared = False

    def products(self, index: int | None, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """Sum of one micro-batch's differences along each vector, ``(k, n)``."""
        theta = self.objective.theta.detach()
        results = []
        for vector in vectors:
            length = float(torch.linalg.vector_norm(vector.double()))
            if length == 0:
                results.append(torch.zeros_like(vector))
                continue
            step = STEP[theta.dtype] * max(float(torch.linalg.vector_norm(theta.double())), 1e-3) / length
            product = self._difference(batch, denominator, vector, step)
            if not self._compared:
                self._compared = True
                self._compare(product, self._difference(batch, denominator, vector, step / 4))
            results.append(product)
        return torch.stack(results)

    def _difference(self, batch: Batch, denominator: float, vector: Tensor, step: float) -> Tensor:
        theta = self.objective.theta.detach()
        ahead, behind = theta + step * vector, theta - step * vector
        moved, meant = (ahead.double() - behind.double()), vector.double()
        cosine = torch.nn.functional.cosine_similarity(moved, meant, dim=0)
        self.cosine = min(self.cosine, float(cosine))
        there = [self._gradient(point, batch, denominator) for point in (ahead, behind)]
        return (there[0] - there[1]) / (2 * step)

    def _gradient(self, theta: Tensor, batch: Batch, denominator: float) -> Tensor:
        point = theta.requires_grad_(True)
        value = self.objective.numerator(self.objective.variables(point), batch, denominator)
        if not value.requires_grad:
            return torch.zeros_like(theta)
        return torch.autograd.grad(value, point, allow_unused=True, materialize_grads=True)[0].detach()

    def _compare(self, product: Tensor, finer: Tensor) -> None:
        scale = float(torch.linalg.vector_norm(product.double()))
        if float(torch.linalg.vector_norm((product - finer).double())) > KINKED * scale:
            warnings.warn(
                "finite differences with two steps disagree by more than 10 %: the network is piecewise linear (ReLU) "
                'or its rounding too large, and this is not its Hessian; use product="linearized" or "double_backward"',
                stacklevel=2,
            )
