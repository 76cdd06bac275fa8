"""What every curvature operator has in common: a symmetric linear map on parameter space, summed over micro-batches."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from landscape._data import Batch
from landscape._network import Selection
from landscape.errors import InputError
from landscape.objective import Objective
from landscape.parallel import ProcessGrid
from landscape.parallel.rows import RowPartition
from landscape.parallel.sums import magnitude

# How long the unit of cost is measured, and how often at the most.
TIMED_SECONDS = 0.02
MOST_REPEATS = 3


class Operator(ABC):
    """A symmetric linear map on R^n at one theta, in loss units per parameter².

    It is a mean over the data of the objective plus ``weight_decay`` times the identity, and never stored as a matrix.

    Parameters
    ----------
    objective : Objective

    Attributes
    ----------
    objective : Objective
    products : int
        How often the operator was applied to a vector.
    seconds : float
        Wall time of these products.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> (ls.Hessian(objective) @ torch.tensor([0.0, 0.0, 1.0]))[2].item()
    2.0
    """

    name: str
    regularized = True
    """Whether weight decay adds ``weight_decay`` times the identity."""

    def __init__(self, objective: Objective) -> None:
        if not isinstance(objective, Objective):
            raise InputError(f"{type(self).__name__} needs a landscape.Objective, not {type(objective).__name__}")
        self.objective = objective
        self.products = 0
        self.seconds = 0.0

    @property
    def n(self) -> int:
        """Number of rows and columns."""
        return self.objective.n

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, n)``."""
        return (self.n, self.n)

    @property
    def device(self) -> torch.device:
        """Where vectors live."""
        return self.objective.device

    @property
    def dtype(self) -> torch.dtype:
        """Of vectors."""
        return self.objective.dtype

    @property
    def grid(self) -> ProcessGrid:
        """The ranks that share the data."""
        return self.objective.grid

    @property
    def known_shift(self) -> float:
        """The multiple of the identity that the operator is known to hold, such as weight decay."""
        objective = getattr(self, "objective", None)
        return objective.weight_decay if objective is not None and self.regularized else 0.0

    @abstractmethod
    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Product of one micro-batch's sum (not mean, without weight decay) with a full vector, ``(n,)``."""

    def __matmul__(self, vector: Any) -> Any:
        """Apply the operator (collective); the vector is that of rank 0.

        Parameters
        ----------
        vector : (n,) or (n, k) tensor or array

        Returns
        -------
        Of the same type and shape.

        Raises
        ------
        InputError
            If the shape does not fit or a value is not finite.
        """
        self.grid.meet(f"{type(self).__name__} @ v")
        try:
            columns = torch.as_tensor(vector).to(device=self.device, dtype=self.dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"an operator multiplies a tensor or an array, not {type(vector).__name__}") from error
        if columns.dim() not in (1, 2) or columns.shape[0] != self.n:
            raise InputError(f"a vector must have shape ({self.n},) or ({self.n}, k), not {tuple(columns.shape)}")
        if not bool(torch.isfinite(magnitude(columns))):
            raise InputError("the vector holds NaN or inf")
        columns = columns.contiguous()
        if self.grid.data.size > 1:
            columns = columns.clone()
            self.grid.data.broadcast(columns)
        result = self.apply(columns) if columns.dim() == 1 else self.apply_block(columns.T.contiguous()).T.contiguous()
        if isinstance(vector, np.ndarray):
            array = result.cpu().numpy()
            return array.astype(vector.dtype) if np.issubdtype(vector.dtype, np.floating) else array
        return result

    def prepare(self) -> None:  # noqa: B027 - most operators have nothing to settle
        """Settle what is settled once for all products, such as the way to compute them (collective)."""

    def batch_products(self, index: int, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """:meth:`batch_product` with each row of ``(k, n)``, ``(k, n)``; the index is that of the micro-batch."""
        return torch.stack([self.batch_product(batch, denominator, vector) for vector in vectors])

    def apply(self, vector: Tensor) -> Tensor:
        """The product with a full vector, ``(n,)``, which every rank holds."""
        return self.apply_block(vector[None])[0]

    def apply_block(self, vectors: Tensor) -> Tensor:
        """The products with the rows of ``(k, n)``, which every rank holds, in one sweep over the data."""
        return self._timed(vectors, None, vectors)

    def apply_rows(self, shard: Tensor, rows: RowPartition) -> Tensor:
        """The product on row shards: ``(rows,)`` in and out."""
        return self._timed(rows.gather(shard)[None], rows, shard)

    def on(self, grid: ProcessGrid) -> Self:
        """The same operator computed by other ranks, with its own count of products (collective)."""
        self.prepare()
        return self.of(self.objective.on(grid))

    def of(self, objective: Objective) -> Self:
        """The same kind of operator for another objective, with its own count of products."""
        other = copy.copy(self)
        other.objective = objective
        other.products, other.seconds = 0, 0.0
        return other

    def restricted(self, parameters: Selection) -> Operator:
        """The diagonal block of some parameters: this operator of the objective restricted to them.

        See :class:`~landscape.curvature.Restricted`, which also says where the block lies.
        """
        return self.of(self.objective.restricted(parameters))

    def gradient_seconds(self) -> float:
        """Wall time of one gradient of the same data on the same ranks, the unit of cost (collective)."""

        def seconds() -> float:
            started = time.perf_counter()
            self.objective.mean_of(self.objective.batch_gradient)
            return time.perf_counter() - started

        first = seconds()
        # The first call of anything is slow, and one short time is mostly noise.
        repeats = self.grid.world.broadcast_object(int(min(TIMED_SECONDS / first, MOST_REPEATS)))
        return float(np.median([seconds() for _ in range(repeats)])) if repeats else first

    def to_scipy(self) -> Any:
        """The operator as a float64 ``scipy.sparse.linalg.LinearOperator`` (its products are collective)."""
        from scipy.sparse.linalg import LinearOperator

        def product(vector: Any) -> Any:
            flat = np.asarray(vector, np.float64).reshape(self.n)
            return self.apply(torch.from_numpy(flat).to(device=self.device, dtype=self.dtype)).double().cpu().numpy()

        return LinearOperator(self.shape, matvec=product, rmatvec=product, dtype=np.float64)

    def describe(self) -> dict[str, Any]:
        """What identifies the operator, for provenance and for resuming (collective)."""
        return {"operator": self.name, **self.objective.describe()}

    def facts(self) -> dict[str, Any]:
        """What was settled while products were computed, for provenance."""
        return {}

    def __add__(self, other: Any) -> Operator:
        """``A + B``, or ``A + c`` for A plus c times the identity."""
        from landscape.curvature.combined import combine

        return combine(((1.0, self), (1.0, other)))

    def __sub__(self, other: Any) -> Operator:
        """``A - B``, or ``A - c``, the shift by a number."""
        from landscape.curvature.combined import combine

        return combine(((1.0, self), (-1.0, other)))

    def __rsub__(self, other: Any) -> Operator:
        """``c - A``."""
        from landscape.curvature.combined import combine

        return combine(((1.0, other), (-1.0, self)))

    def __mul__(self, factor: Any) -> Operator:
        """``A * c``."""
        from landscape.curvature.combined import scale

        return scale(self, factor)

    def __truediv__(self, divisor: Any) -> Operator:
        """``A / c``."""
        from landscape.curvature.combined import divide

        return divide(self, divisor)

    def __neg__(self) -> Operator:
        """``-A``."""
        return self * -1.0

    __radd__ = __add__
    __rmul__ = __mul__

    def _timed(self, vectors: Tensor, rows: RowPartition | None, shift: Tensor) -> Tensor:
        """Products with the rows of ``(k, n)``; of one vector only this rank's rows, if asked for."""
        self.prepare()
        started = time.perf_counter()
        vectors = vectors.detach().contiguous()

        def contribution(index: int, batch: Batch, share: float) -> Tensor:
            return self.batch_products(index, batch, share, vectors).reshape(-1)

        result = self.objective.mean_over(contribution, rows, vectors.numel(), self.dtype).to(self.dtype)
        result = result if rows is not None else result.view(vectors.shape)
        if self.objective.weight_decay and self.regularized:
            result = result + self.objective.weight_decay * shift
        self.products += len(vectors)
        self.seconds += time.perf_counter() - started
        return result


def need_outputs(objective: Objective, name: str) -> None:
    """Refuse a loss that hides the network's output."""
    if objective.opaque:
        raise InputError(
            f"{name} needs the network's output and per-sample losses, which loss(model, batch) hides: give "
            "loss(output, target) and batches (input, target)"
        )
