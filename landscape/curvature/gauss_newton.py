"""The generalized Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape._data import Batch
from landscape.curvature._gradient_graph import Refusal
from landscape.curvature._of_outputs import OfOutputs


class GaussNewton(OfOutputs):
    """Mean of ``Jᵀ (∂²loss/∂output²) J`` over the data, plus weight_decay · identity (Schraudolph, 2002).

    For a loss that is convex in the output it has no negative eigenvalue. J is the Jacobian of the output.

    Parameters
    ----------
    objective : Objective
        With ``loss(output, target)``.

    Raises
    ------
    InputError
        If the loss is ``fn(model, batch)``.
    """

    name = "gauss-newton"

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of one micro-batch's Gauss-Newton matrix times a vector, ``(n,)``."""
        data, target = batch
        curved, pull_back = self._at_output(data, target, denominator, vector)[2:]
        return pull_back(curved)[0]

    def at_output(self, batch: Batch, denominator: float, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The output of one micro-batch, its tangent along a vector, and the loss's curvature times the tangent."""
        data, target = batch
        return self._at_output(data, target, denominator, vector)[:3]

    def _at_output(
        self, data: Any, target: Any, denominator: float, vector: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Callable[..., Any]]:
        def output(theta: Tensor) -> Tensor:
            return self.objective.output(self.objective.variables(theta), data)

        theta = self.objective.theta.detach()
        with self._forward_mode((data, target)):
            value, tangent = torch.func.jvp(output, (theta,), (vector,))[:2]
        curved = self._loss_curvature(value, tangent, target, denominator)
        return value, tangent, curved, lambda cotangent: torch.func.vjp(output, theta)[1](cotangent)

    def _loss_curvature(self, value: Tensor, tangent: Tensor, target: Tensor, denominator: float) -> Tensor:
        """Second derivative of the summed loss with respect to the output, times a tangent of the output."""
        leaves, tree = tree_flatten(value)
        leaves = [leaf.detach().requires_grad_(leaf.is_floating_point()) for leaf in leaves]
        tangents = tree_flatten(tangent)[0]
        loss = self.objective.of_output(tree_unflatten(leaves, tree), target, denominator)
        inputs = [leaf for leaf in leaves if leaf.requires_grad]
        slopes = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True, materialize_grads=True)
        refusal = Refusal.of_loss()
        refusal.refuse_cut([loss, *slopes])
        inner = sum((slope * t).sum() for slope, t in zip(slopes, tangents, strict=True))
        if not isinstance(inner, Tensor) or not inner.requires_grad:  # The loss is linear in the output.
            return tree_unflatten([torch.zeros_like(leaf) for leaf in leaves], tree)
        with refusal.naming():
            curved = torch.autograd.grad(inner, inputs, allow_unused=True, materialize_grads=True)
        return tree_unflatten(list(curved), tree)
