"""Hessian-vector products by differentiating the gradient's inner product with the vector."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.curvature._gradient_graph import Refusal, gradient_graph
from landscape.curvature._keeping import Kept
from landscape.curvature._layers import another_product
from landscape.objective import Objective


class DoubleBackward:
    """Reverse mode over reverse mode (Pearlmutter, Neural Computation 6 (1994) 147, who has forward mode first).

    Works for every layer whose backward pass can itself be differentiated. From scratch a product costs about three
    gradients; while the graph of a micro-batch's gradient fits into the budget it is kept, and a product costs about
    two.

    Parameters
    ----------
    objective : Objective
    budget : float
        Bytes for the graphs of gradients.
    """

    def __init__(self, objective: Objective, budget: float) -> None:
        self.objective = objective
        self.kept = Kept(budget)
        self._complete = False  # the graph of a gradient has been looked through

    def products(self, index: int | None, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """Sum of one micro-batch's Hessian times each vector, ``(k, n)``; what is kept is kept under ``index``."""
        found = self.kept.get(index)
        if found is None:
            found, size = self._differentiated(batch, denominator)
            self.kept.offer(index, found, size)
        gradient, theta = found
        if not gradient.requires_grad:  # The loss is linear in theta, or does not depend on it.
            return torch.zeros_like(vectors)
        again = self.kept.get(index) is found
        with self._refusal(batch).naming():
            return torch.stack(
                [
                    torch.autograd.grad(
                        gradient,
                        theta,
                        vector,
                        retain_graph=again or place + 1 < len(vectors),
                        allow_unused=True,
                        materialize_grads=True,
                    )[0]
                    for place, vector in enumerate(vectors)
                ]
            )

    def _differentiated(self, batch: Batch, denominator: float) -> tuple[tuple[Tensor, Tensor], int]:
        """The gradient with its graph, theta, and the bytes that the graph holds."""
        theta = self.objective.theta.detach().requires_grad_(True)
        refusal = None if self._complete else self._refusal(batch)
        variables = self.objective.variables(theta)
        gradients, size = gradient_graph(self.objective, variables, [theta], batch, denominator, refusal)
        self._complete = True
        return (gradients[0], theta), size

    def _refusal(self, batch: Batch) -> Refusal:
        return Refusal.of_layers(
            self.objective,
            batch,
            lambda: f'use product="{another_product(self.objective, batch, "double_backward")}"',
        )
