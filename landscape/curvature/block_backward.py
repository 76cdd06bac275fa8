"""Products of all diagonal blocks of a Hessian by double backward, with one gradient for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.curvature._gradient_graph import Refusal, gradient_graph
from landscape.curvature._keeping import Kept
from landscape.curvature._layers import another_product
from landscape.objective import Objective

Differentiated = tuple[dict[str, Tensor], dict[str, Tensor]]  # parameters and their gradients, by name


class PartOfTheta(Protocol):
    """A block: the names of its parameters, and how to write its part of vectors ``(..., n)``."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""

    def put(self, target: Tensor, values: Tensor) -> None:
        """Write its part into vectors."""


class BlockBackward:
    """The blocks share the forward and the backward pass with its graph, which is kept while it fits into the budget.

    Every parameter is a leaf of its own, so that differentiating the gradient of a block with respect to the block
    visits only what connects the two.

    Parameters
    ----------
    objective : Objective
    blocks : sequence of Block
    budget : float
        Bytes for the graphs of gradients.
    """

    def __init__(self, objective: Objective, blocks: Sequence[PartOfTheta], budget: float) -> None:
        self.objective, self.blocks = objective, blocks
        self.kept = Kept(budget)
        self._complete = False  # the graph of a gradient has been looked through

    def products(self, index: int | None, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """Sum of one micro-batch's Hessian blocks times the parts of each vector, ``(k, n)``."""
        found: Differentiated | None = self.kept.get(index)
        if found is None:
            found, size = self._differentiated(batch, denominator)
            self.kept.offer(index, found, size)
        leaves, gradients = found
        result = torch.zeros_like(vectors)
        for row, vector in zip(result, vectors, strict=True):
            along = self.objective.variables(vector)
            for block in self.blocks:
                curved = [name for name in block.parameters if gradients[name].requires_grad]
                if not curved:  # The loss is linear in them.
                    continue
                with self._refusal(batch).naming():
                    products = torch.autograd.grad(
                        [gradients[name] for name in curved],
                        [leaves[name] for name in block.parameters],
                        [along[name] for name in curved],
                        retain_graph=True,
                        allow_unused=True,
                        materialize_grads=True,
                    )
                block.put(row, torch.cat([product.reshape(-1) for product in products]))
        return result

    def _differentiated(self, batch: Batch, denominator: float) -> tuple[Differentiated, int]:
        """Parameters and gradients with their graph, and the bytes that the graph holds."""
        leaves = {name: value.detach().requires_grad_(True) for name, value in self.objective.variables().items()}
        refusal = None if self._complete else self._refusal(batch)
        found, size = gradient_graph(self.objective, leaves, list(leaves.values()), batch, denominator, refusal)
        self._complete = True
        return (leaves, dict(zip(leaves, found, strict=True))), size

    def _refusal(self, batch: Batch) -> Refusal:
        return Refusal.of_layers(
            self.objective,
            batch,
            lambda: (
                "take one block after the other, Restricted(Hessian(objective, "
                f'product="{another_product(self.objective, batch, "double_backward")}"), parameters)'
            ),
        )
