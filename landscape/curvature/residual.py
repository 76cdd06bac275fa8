"""What the Gauss-Newton matrix leaves of the Hessian, and both products in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape._data import Batch
from landscape.curvature._gradient_graph import Refusal
from landscape.curvature._of_outputs import OfOutputs
from landscape.objective import Objective


class Residual(OfOutputs):
    """``R = H - G``: the mean of ``Σₒ ∂loss/∂outputₒ · ∇²outputₒ`` over the data (Papyan, arXiv 1811.07062).

    Computed as it is written and not as a difference: the Hessian of the network's output weighted with the slopes of
    the loss, so that nothing cancels where it is small, as at the end of training. Weight decay is in G.

    Parameters
    ----------
    objective : Objective
        With ``loss(output, target)``.

    Raises
    ------
    InputError
        If the loss is ``fn(model, batch)``.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> data = torch.eye(2), torch.zeros(2, 1)
    >>> linear = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), data)
    >>> ls.Residual(linear) @ torch.ones(3)  # the second derivatives of a linear network are zero
    tensor([0., 0., 0.])
    """

    name = "residual"
    regularized = False

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of one micro-batch's residual matrix times a vector, ``(n,)``."""
        return split_product(self.objective, batch, denominator, None, vector)[1]


def split_product(
    objective: Objective, batch: Batch, denominator: float, along_g: Tensor | None, along_r: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sums of one micro-batch's Gauss-Newton and residual products, with one forward and one backward pass for both.

    With ``p = Jᵀc``, the derivative of the output pulled back along a cotangent c that has the value of the slopes of
    the loss, R v is the derivative of ``p·v`` with respect to theta, J v that with respect to c.

    Parameters
    ----------
    along_g, along_r : (n,) tensors, optional
        The vectors; a product without one is zero and costs nothing.

    Returns
    -------
    (n,) tensors, G · along_g and R · along_r
    """
    theta = objective.theta.detach().requires_grad_(True)
    zero = torch.zeros_like(objective.theta)
    leaves, tree = tree_flatten(objective.output(objective.variables(theta), batch[0]))
    used = [index for index, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
    if not used:  # Theta is a block that the network does not use.
        return zero, zero
    outputs = [leaves[index] for index in used]
    ends: list[Any] = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    for index in used:
        ends[index].requires_grad_(True)
    loss = objective.of_output(tree_unflatten(ends, tree), batch[1], denominator)
    inner = [ends[index] for index in used]
    slopes = torch.autograd.grad(loss, inner, create_graph=True, allow_unused=True, materialize_grads=True)
    of_loss, of_layers = Refusal.of_loss(), Refusal.of_layers(objective, batch)
    if along_g is not None:
        of_loss.refuse_cut([loss, *slopes])
    cotangents = [slope.detach().requires_grad_(True) for slope in slopes]
    (pulled,) = torch.autograd.grad(
        outputs, theta, cotangents, create_graph=True, allow_unused=True, materialize_grads=True
    )
    of_layers.refuse_cut([pulled, *outputs])
    bent, straight = zero, zero
    if along_r is not None:
        with of_layers.naming():
            (bent,) = torch.autograd.grad(
                pulled, theta, along_r, retain_graph=True, allow_unused=True, materialize_grads=True
            )
    if along_g is not None:
        with of_layers.naming():
            tangents = torch.autograd.grad(
                pulled, cotangents, along_g, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        rise = sum((slope * tangent).sum() for slope, tangent in zip(slopes, tangents, strict=True))
        if isinstance(rise, Tensor) and rise.requires_grad:  # Else the loss is linear in the output.
            with of_loss.naming():
                curved = torch.autograd.grad(rise, inner, allow_unused=True, materialize_grads=True)
            (straight,) = torch.autograd.grad(outputs, theta, curved, allow_unused=True, materialize_grads=True)
    return straight, bent
