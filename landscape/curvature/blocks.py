"""Diagonal blocks of an operator: one block alone, or all of them with what lies outside set to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from landscape._data import Batch
from landscape._network import Selection
from landscape.curvature.block_backward import BlockBackward
from landscape.curvature.derived import Derived
from landscape.curvature.hessian import Hessian
from landscape.curvature.operator import Operator
from landscape.errors import InputError
from landscape.objective import Objective
from landscape.parallel import ProcessGrid

DIVISIONS = ("layer", "parameter")


@dataclass(frozen=True)
class Block:
    """Some of the parameters of theta.

    Attributes
    ----------
    name : str
        Of the layer or the parameter.
    parameters : tuple of str
    places : tuple of slices
        Where they lie in theta.
    """

    name: str
    parameters: tuple[str, ...]
    places: tuple[slice, ...]

    @property
    def n(self) -> int:
        """Number of parameters, counted as numbers."""
        return sum(place.stop - place.start for place in self.places)

    def take(self, vectors: Tensor) -> Tensor:
        """Its part of vectors ``(..., n)``."""
        return torch.cat([vectors[..., place] for place in self.places], -1)

    def put(self, target: Tensor, values: Tensor) -> None:
        """Write its part into vectors ``(..., n)``."""
        parts = values.split([place.stop - place.start for place in self.places], -1)
        for place, part in zip(self.places, parts, strict=True):
            target[..., place] = part


def blocks_of(objective: Objective, by: str = "layer") -> tuple[Block, ...]:
    """The parameters of an objective, divided.

    Parameters
    ----------
    objective : Objective
    by : "layer" or "parameter"
        A layer is the module that owns parameters; one that belongs to the network itself is a layer of its own.

    Returns
    -------
    tuple of Block
        In the order of theta.

    Raises
    ------
    InputError
        If ``by`` is unknown.
    """
    if by not in DIVISIONS:
        raise InputError(f"unknown division {by!r}; choose {' or '.join(DIVISIONS)}")
    found: dict[str, list[tuple[str, slice]]] = {}
    start = 0
    for name, shape in zip(objective.names, objective.shapes, strict=True):
        place = slice(start, start + shape.numel())
        layer = name.rpartition(".")[0] if by == "layer" and "." in name else name
        found.setdefault(layer, []).append((name, place))
        start = place.stop
    return tuple(Block(name, *zip(*members, strict=True)) for name, members in found.items())


class Restricted(Derived):
    """The diagonal block of an operator that belongs to some of its parameters, on all of the data.

    It is the operator of the loss as a function of these parameters alone, while the others stay where they are: exact,
    and cheaper than a product with the whole, because no derivatives with respect to the others are computed.

    Parameters
    ----------
    operator : Operator
    parameters : list of names, regular expression or predicate(name, parameter)
        Among those of theta; ``"^layer1[.]"`` is a layer.

    Attributes
    ----------
    names : tuple of str
        The parameters of the block.
    block : Block
        Where they lie in the whole; ``block.take(v)`` and ``block.put(v, part)`` translate vectors.

    Raises
    ------
    InputError
        If nothing is chosen or a name is unknown (the message lists the names), or the operator knows no parameters.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> ls.Restricted(ls.Hessian(objective), parameters="weight") @ torch.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """

    def __init__(self, operator: Operator, parameters: Selection) -> None:
        whole = _objective_of(operator, "Restricted")
        super().__init__([operator.restricted(parameters)])
        self.names = self.objective.names
        places = {block.name: block.places[0] for block in blocks_of(whole, "parameter")}
        self.block = Block(", ".join(self.names), self.names, tuple(places[name] for name in self.names))
        self.whole = operator.name

    @property
    def name(self) -> str:  # type: ignore[override]
        """Such as "hessian of 0.weight, 0.bias"."""
        return f"{self.whole} of {self.block.name}"

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of one micro-batch's products, ``(n,)`` of the block."""
        return self.parts[0].batch_product(batch, denominator, vector)

    def _products(self, vectors: Tensor) -> Tensor:
        return self.parts[0].apply_block(vectors)

    def describe(self) -> dict[str, Any]:
        """What identifies the operator."""
        return {**super().describe(), "parameters": list(self.names)}


class BlockDiagonal(Operator):
    """All diagonal blocks of an operator, with zeros outside them: what layers do to themselves.

    One sweep over the data serves all blocks. For a Hessian they share the forward and the backward pass with its
    graph, which is kept between products as far as the memory budget of the Hessian allows, and each differentiates
    only its own part of the gradient again; for the others a sweep costs the products of
    all :class:`Restricted` blocks, with one sum over the ranks.

    Parameters
    ----------
    operator : Operator
        Hessian, GaussNewton, EmpiricalFisher or GradientCovariance. Of sums, take the blocks of each term.
    by : "layer" or "parameter"
        What a block is: the module that owns parameters, or a parameter tensor.
    names : sequence of str, optional
        Compute only these blocks; the others are zero, but for weight decay.

    Attributes
    ----------
    blocks : tuple of Block

    Raises
    ------
    InputError
        If ``by`` is unknown or the operator is made of others.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.ones(3, 2), torch.zeros(3, 1)))
    >>> ls.BlockDiagonal(ls.Hessian(objective), by="parameter") @ torch.tensor([1.0, 0.0, 0.0])
    tensor([2., 2., 0.])
    """

    def __init__(self, operator: Operator, by: str = "layer", names: Sequence[str] | None = None) -> None:
        super().__init__(_objective_of(operator, "BlockDiagonal"))
        if isinstance(operator, Derived):
            raise InputError(
                f"the blocks of {operator.name} are made of the blocks of its parts: write BlockDiagonal(A) + "
                "BlockDiagonal(B), or Preconditioned(BlockDiagonal(A), diagonal)"
            )
        self.by = by
        self.names = names
        self.blocks = tuple(block for block in blocks_of(self.objective, by) if names is None or block.name in names)
        self.name = f"{operator.name}, diagonal blocks by {by}"
        self.regularized = operator.regularized
        self._operator = operator
        # For a subclass, whose products may be others, block by block.
        self._shared = (
            BlockBackward(self.objective, self.blocks, operator.budget) if type(operator) is Hessian else None
        )
        self._parts: Sequence[Operator] = (
            [] if self._shared is not None else [operator.restricted(block.parameters) for block in self.blocks]
        )

    def on(self, grid: ProcessGrid) -> Self:
        """The same operator computed by other ranks, with its own count of products."""
        return type(self)(self._operator.on(grid), self.by, self.names)

    def of(self, objective: Objective) -> Self:
        """The blocks of the same kind of operator for another objective."""
        return type(self)(self._operator.of(objective), self.by, self.names)

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of one micro-batch's products of all blocks with their parts of the vector, ``(n,)``."""
        return self._products_of(None, batch, denominator, vector[None])[0]

    def batch_products(self, index: int, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """The same with each row of ``(k, n)``; what can be kept is kept for the next sweep."""
        return self._products_of(index, batch, denominator, vectors)

    def _products_of(self, index: int | None, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        if self._shared is not None:
            return self._shared.products(index, batch, denominator, vectors)
        result = torch.zeros_like(vectors)
        for block, part in zip(self.blocks, self._parts, strict=True):
            mine = block.take(vectors)
            if index is None:
                products = torch.stack([part.batch_product(batch, denominator, vector) for vector in mine])
            else:
                products = part.batch_products(index, batch, denominator, mine)
            block.put(result, products)
        return result

    def describe(self) -> dict[str, Any]:
        """What identifies the operator."""
        return {**self._operator.describe(), "operator": self.name, "product": "double_backward by block"}


def block_diagonal(operator: Operator, by: str = "layer", names: Sequence[str] | None = None) -> Operator:
    """The diagonal blocks of any operator that knows its parameters; with ``names``, only these, at their cost alone.

    Sums, and scalings by a diagonal, have the blocks of their parts.
    """
    if isinstance(operator, Derived):
        return operator.of_parts([block_diagonal(part, by, names) for part in operator.parts])
    return BlockDiagonal(operator, by, names)


def _objective_of(operator: Any, name: str) -> Objective:
    objective = getattr(operator, "objective", None)
    if not isinstance(operator, Operator) or objective is None:
        raise InputError(
            f"{name} needs an operator of an objective, such as landscape.Hessian(objective), not "
            f"{getattr(operator, 'name', type(operator).__name__)}"
        )
    found: Objective = objective
    return found
