"""Hessian-vector products by differentiating the gradient's inner product with the vector."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.curvature._keeping import Kept, memory_of
from landscape.curvature._layers import double_backward_fails, unsupported
from landscape.errors import InputError
from landscape.objective import Objective

# How torch says that a backward pass has no derivative.
UNSUPPORTED = ("is not implemented", "not implemented for", "once_differentiable")


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
        try:
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
        except RuntimeError as error:
            if not any(words in str(error) for words in UNSUPPORTED):
                raise
            raise self._refusal(batch, str(error).splitlines()[0]) from error

    def _differentiated(self, batch: Batch, denominator: float) -> tuple[tuple[Tensor, Tensor], int]:
        """The gradient with its graph, theta, and the bytes that the graph holds."""
        theta = self.objective.theta.detach().requires_grad_(True)
        saved: list[Tensor] = []

        def pack(value: Tensor) -> Tensor:
            saved.append(value.detach())
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            value = self.objective.numerator(self.objective.variables(theta), batch, denominator)
            if not value.requires_grad:
                return (torch.zeros_like(theta), theta), 0
            (gradient,) = torch.autograd.grad(
                value, theta, create_graph=True, allow_unused=True, materialize_grads=True
            )
        if not self._complete:
            if _is_cut(gradient):
                raise self._refusal(batch, "it is marked as differentiable once, and torch would leave it out")
            self._complete = True
        return (gradient, theta), memory_of(saved, [theta])

    def _refusal(self, batch: Batch, reason: str) -> InputError:
        where = unsupported(self.objective, batch, double_backward_fails)
        return InputError(
            f'the backward pass of {where} cannot be differentiated; use product="forward_over_reverse" or '
            f'"finite_difference" ({reason})'
        )


def _is_cut(gradient: Tensor) -> bool:
    """Whether the graph of a gradient holds a node that only raises an error.

    Nothing leads on from there, so that no derivative by theta ever visits it, and its part would silently be missing.
    """
    seen, waiting = set(), [gradient.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            return True
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return False
