"""An operator that the user brings as a function."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from landscape._data import Batch
from landscape._network import Selection, checked_device
from landscape.curvature import Operator
from landscape.errors import ComputeError, InputError
from landscape.krylov import gaussian
from landscape.objective import Objective
from landscape.parallel import ProcessGrid
from landscape.parallel.rows import RowPartition
from landscape.symmetry import check_symmetric


class FunctionOperator(Operator):
    """A symmetric linear map that is given as a function; made by :func:`from_function`."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        n: int,
        *,
        name: str = "function",
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        arrays: bool = False,
        grid: ProcessGrid | None = None,
    ) -> None:
        self.function = function
        self.name = name
        self.arrays = arrays
        self.products = 0
        self.seconds = 0.0
        grid = grid if grid is not None else ProcessGrid.world()
        self._n, self._dtype, self._device = n, dtype, checked_device(device, grid)
        self._grid = grid.for_device(self._device)

    @property
    def n(self) -> int:
        """Number of rows and columns."""
        return self._n

    @property
    def device(self) -> torch.device:
        """Where vectors live."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """Of vectors."""
        return self._dtype

    @property
    def grid(self) -> ProcessGrid:
        """The ranks."""
        return self._grid

    def apply(self, vector: Tensor) -> Tensor:
        """The product with a full vector; that of the first rank of the group counts (collective)."""
        started = time.perf_counter()
        given = vector.detach().clone()
        result = self.function(given.cpu().numpy() if self.arrays else given)
        result = torch.as_tensor(np.asarray(result) if self.arrays else result)
        if result.shape != vector.shape:
            raise InputError(
                f"{self.name} was given a vector of shape {tuple(vector.shape)} and returned {tuple(result.shape)}; a "
                "product has the shape of the vector"
            )
        broken = int((~torch.isfinite(result)).sum())
        if broken:
            raise ComputeError(
                f"product {self.products + 1} of {self.name} holds NaN or inf at {broken} of {self.n} places"
            )
        result = result.detach().to(device=self.device, dtype=self.dtype).clone()
        self.grid.data.broadcast(result)
        self.products += 1
        self.seconds += time.perf_counter() - started
        return result

    def apply_block(self, vectors: Tensor) -> Tensor:
        """The products with the rows of ``(k, n)``, one by one."""
        return torch.stack([self.apply(vector) for vector in vectors])

    def apply_rows(self, shard: Tensor, rows: RowPartition) -> Tensor:
        """The product on row shards: ``(rows,)`` in and out."""
        return rows.shard(self.apply(rows.gather(shard)))

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Refuse: there are no micro-batches."""
        self._refuse("micro-batches")

    def on(self, grid: ProcessGrid) -> Self:
        """The same operator on other ranks, with its own count of products."""
        return type(self)(
            self.function,
            self.n,
            name=self.name,
            dtype=self.dtype,
            device=self.device,
            arrays=self.arrays,
            grid=grid,
        )

    def of(self, objective: Objective) -> Self:
        """Refuse: there is no objective."""
        self._refuse("objective")

    def restricted(self, parameters: Selection) -> Operator:
        """Refuse: the function knows no parameters."""
        self._refuse("parameters")

    def gradient_seconds(self) -> float:
        """NaN: there is no gradient to compare with."""
        return float("nan")

    def describe(self) -> dict[str, Any]:
        """What identifies the operator: a digest of one product with a fixed vector (collective)."""
        rows = RowPartition(self.n, self.grid.data)
        image = self.apply(rows.gather(gaussian(rows, 0, 2**33, self.dtype, self.device)))
        return {
            "operator": self.name,
            "n": self.n,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "product_sha256": hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest(),
        }

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"{self.name} is a function of vectors and knows no {what}; build an operator of an Objective")


def from_function(
    function: Callable[[Any], Any],
    n: int,
    *,
    name: str = "function",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    arrays: bool = False,
    symmetry_tol: float | None = None,
    grid: ProcessGrid | None = None,
) -> Operator:
    """An operator from a function that multiplies a vector by a symmetric matrix (collective).

    Two products with random vectors test that it is symmetric.

    Parameters
    ----------
    function : callable
        ``function(v)`` → Av, both ``(n,)``. Under several ranks every rank calls it with the same vector, and the
        result of the first one counts: share work in it, if at all, among all ranks.
    n : int
        Length of the vectors.
    name : str
        For results and figures.
    dtype, device
        Of the vectors; float32 or float64.
    arrays : bool
        Whether the function takes and returns NumPy arrays instead of tensors.
    symmetry_tol : float, optional
        Largest ``|⟨u, Av⟩ - ⟨Au, v⟩|`` relative to the length of a product. Default: 10·√eps of the dtype.
    grid : ProcessGrid, optional
        Default: all ranks of the job.

    Returns
    -------
    Operator

    Raises
    ------
    InputError
        If it is not symmetric, or a product has another shape.
    ComputeError
        If a product holds NaN or inf.

    Examples
    --------
    >>> import landscape as ls, numpy as np
    >>> matrix = np.diag(np.arange(1.0, 6.0))
    >>> ls.eigenpairs(ls.from_function(lambda v: matrix @ v, 5, arrays=True), k=1).values.round(6)
    array([5.])
    """
    if not callable(function):
        raise InputError(f"function must be callable, v → Av, not {type(function).__name__}")
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"n must be a whole number of at least 1, not {n!r}")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype must be torch.float32 or torch.float64, not {dtype}")
    operator = FunctionOperator(function, n, name=name, dtype=dtype, device=device, arrays=arrays, grid=grid)
    operator.grid.meet("from_function")
    check_symmetric(operator, symmetry_tol)
    operator.products, operator.seconds = 0, 0.0
    return operator
