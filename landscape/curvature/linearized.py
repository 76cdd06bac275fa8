"""Hessian-vector products by replaying the part of a traced product that depends on the vector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from landscape._data import Batch
from landscape.curvature._keeping import Kept, memory_of
from landscape.curvature._layers import another_product, forward_over_reverse_fails, unsupported
from landscape.curvature._splitting import Split
from landscape.curvature._tracing import UntraceableError, batch_tensors, point_tensors, traced
from landscape.errors import InputError
from landscape.objective import Objective

Part = Callable[..., Sequence[Tensor]]


class Linearized:
    """Forward mode over the reverse-mode gradient, traced once and split in two.

    The first part depends on the point and the micro-batch only: the forward pass, the backward pass and the slopes of
    the activations. Its results are kept while they fit into the budget; then a product costs the second part alone,
    about 1.5 gradients for matrix products and 2 for convolutions by counting operations. Without room, a block of
    vectors shares one evaluation of the first part. Vectors go through the second part one by one, since convolutions
    over stacked vectors become grouped ones, which are slow.

    Graphs are kept with the objective and serve all its points.

    Parameters
    ----------
    objective : Objective
    budget : float
        Bytes for the results of the first part.
    compiled : bool
        Compile both parts by TorchInductor: 10 to 60 s of a C++ compiler for a net of 20 layers.
    precision : torch.dtype, optional
        Of matrix products and convolutions; theta, vectors and results keep theirs.

    Raises
    ------
    InputError
        At the first product, if the network cannot be traced.
    """

    def __init__(
        self, objective: Objective, budget: float, compiled: bool = False, precision: torch.dtype | None = None
    ) -> None:
        self.objective = objective
        self.kept = Kept(budget)
        self.compiled = compiled
        self.precision = precision
        self.point_kinds = _kinds(point_tensors(objective))

    def products(self, index: int | None, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """Sum of one micro-batch's Hessian times each vector, ``(k, n)``; what is kept is kept under ``index``."""
        primal, tangent = self._parts(batch, denominator)
        with torch.no_grad():
            results = self.kept.get(index)
            if results is None:
                given = [*point_tensors(self.objective), *batch_tensors(batch, denominator, self.objective)]
                results = primal(*given)
                self.kept.offer(index, results, memory_of(results, given))
            return torch.stack([tangent(*results, vector)[0] for vector in vectors])

    def _parts(self, batch: Batch, denominator: float) -> tuple[Part, Part]:
        leaves, tree = tree_flatten(batch)
        key = ("linearized", self.compiled, self.precision, str(tree), self.point_kinds, _kinds(leaves))
        graphs: dict[Any, Any] = self.objective.graphs
        if key not in graphs:
            try:
                parts = traced(self.objective, batch, denominator, self.precision)
            except UntraceableError as error:
                where = unsupported(self.objective, batch, forward_over_reverse_fails)
                instead = another_product(self.objective, batch, "linearized")
                raise InputError(f'{where} cannot be traced: {error}; use product="{instead}"') from error
            graphs[key] = _compiled(parts) if self.compiled else (parts.primal, parts.tangent)
        found: tuple[Part, Part] = graphs[key]
        return found


def _kinds(values: Sequence[Any]) -> tuple[Any, ...]:
    """What a graph is traced for. Its views hold only for tensors that lie in memory in the same way."""
    return tuple(
        (tuple(value.shape), value.stride(), value.dtype) if isinstance(value, Tensor) else repr(value)
        for value in values
    )


def _compiled(parts: Split) -> tuple[Part, Part]:
    return tuple(_Compiled(part) for part in (parts.primal, parts.tangent))  # type: ignore[return-value]


class _Compiled:
    """A graph that is compiled at its first call, or runs as it is if that is not possible here."""

    def __init__(self, part: Any) -> None:
        self.part = part
        self.call: Part = torch.compile(part, fullgraph=True, dynamic=False)

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor.exc import InductorError

        try:
            return self.call(*inputs)
        except (TorchDynamoException, InductorError, RuntimeError) as error:
            if self.call is self.part:
                raise
            self.call = self.part
            warnings.warn(
                "products are computed without compilation, as there is no working compiler here "
                f"({str(error).splitlines()[0]})",
                stacklevel=2,
            )
            return self.part(*inputs)
