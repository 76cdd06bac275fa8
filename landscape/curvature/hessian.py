"""The Hessian of the objective."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from landscape._capacity import bytes_of, host_bytes
from landscape._data import Batch
from landscape._ranks import answer_of_first_rank
from landscape.curvature.double_backward import DoubleBackward
from landscape.curvature.finite_difference import FiniteDifference
from landscape.curvature.forward_over_reverse import ForwardOverReverse
from landscape.curvature.linearized import Linearized
from landscape.curvature.operator import Operator
from landscape.errors import InputError
from landscape.objective import Objective


class Product(Protocol):
    """A way to compute products."""

    def products(self, index: int | None, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """Sum of one micro-batch's Hessian times each vector, ``(k, n)``."""


PRODUCTS: dict[str, Callable[..., Product]] = {
    "linearized": Linearized,
    "compiled": partial(Linearized, compiled=True),
    "double_backward": DoubleBackward,
    "forward_over_reverse": ForwardOverReverse,
    "finite_difference": FiniteDifference,
}
TRACED = ("linearized", "compiled")
# What traced products may be computed in, besides the dtype of theta.
PRECISIONS = ("bfloat16", "tf32")
# Of the memory of this computer, divided among its ranks, for what products keep. Half is left to the vectors of a run.
SHARE = 0.25
# Operations of one gradient over all data above which tracing, which takes some seconds, pays: it saves about one
# gradient per product, and a density takes about a hundred products. Counted and not timed, so that the choice is the
# same in every run and on any number of ranks.
WORTH_TRACING = 2.5e9
# Largest relative distance between two ways to compute one product; more means that the trace is not the function.
# ReLUs at zero to rounding fall on either side.
AGREEMENT = {torch.float32: 1e-2, torch.float64: 1e-6}


class Hessian(Operator):
    """The matrix of second derivatives of L at theta.

    Parameters
    ----------
    objective : Objective
    product : str
        How a product is computed; the results agree to rounding, except for ``"finite_difference"``.
        ``"linearized"``: traced, with the part that does not depend on the vector kept. ``"compiled"``: the same
        through a compiler, worth it for thousands of products. ``"double_backward"``: for nearly all layers.
        ``"forward_over_reverse"``: with the least memory. ``"finite_difference"``: from gradients alone. ``"auto"``:
        linearized if the data are so many operations that tracing pays and the network can be traced, otherwise double
        backward; never by a timing, so that every run chooses the same. Whatever is traced is compared with double
        backward on the first micro-batch, where that works.
    precision : "bfloat16" or "tf32", optional
        Of the matrix products and convolutions inside a product (linearized or compiled); theta, vectors and sums keep
        their own. The distance from a full product is measured on the first micro-batch: :attr:`deviation`, named in
        results. TF32 needs an NVIDIA GPU.
    memory_budget : bytes or text such as "4GiB", optional
        Per rank, for what is kept between products; default: a quarter of the memory divided by the ranks of the
        computer.

    Attributes
    ----------
    points : int
        At how many points there will be a run with this operator, 1 unless it is set: tracing is paid for once.
    deviation : float
        ``‖Hv - H'v‖ / ‖Hv‖`` of a random v for the reduced precision, 0 without one, NaN before the first product.
    preparation_seconds : float
        Spent on choosing, tracing, compiling and comparing before the first product, not counted among its seconds.

    Raises
    ------
    InputError
        If an argument is out of range; at the first product, if the network cannot be traced, a layer lacks the
        derivative that the way needs, or a trace is not the function.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> (ls.Hessian(objective, product="linearized") @ torch.tensor([0.0, 0.0, 1.0]))[2].item()
    2.0
    """

    name = "hessian"
    product = "auto"
    points = 1
    precision: str | None = None
    deviation = 0.0
    preparation_seconds = 0.0
    _chosen: str | None = None
    _compared = True  # a trace that was asked for, with double backward

    def __init__(
        self,
        objective: Objective,
        product: str = "auto",
        precision: str | None = None,
        memory_budget: int | float | str | None = None,
    ) -> None:
        super().__init__(objective)
        if product != "auto" and product not in PRODUCTS:
            raise InputError(f"unknown product {product!r}; choose auto, {', '.join(PRODUCTS)}")
        if precision is not None:
            _check_precision(precision, product, objective)
            product = "linearized" if product == "auto" else product
        self.precision = precision
        self.deviation = 0.0 if precision is None else float("nan")
        self.product = product
        self.memory_budget = memory_budget
        self._chosen = None if product == "auto" else product
        self._compared = precision is not None or product not in TRACED
        self._budget = self._default_budget() if memory_budget is None else float(bytes_of(memory_budget))
        self._ways: dict[str, Product] = {}

    @property
    def budget(self) -> float:
        """Bytes for what is kept between products, per rank."""
        return self._budget

    @property
    def chosen(self) -> str:
        """The way in which products are computed, ``"auto"`` before the first."""
        return self._chosen or "auto"

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of one micro-batch's Hessian times a vector, ``(n,)``."""
        with _tensor_cores(self.precision == "tf32"):
            return self._way().products(None, batch, denominator, vector[None])[0]

    def batch_products(self, index: int, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """Sum of one micro-batch's Hessian times the rows of ``(k, n)``."""
        if type(self).batch_product is not Hessian.batch_product:  # A subclass has its own.
            return super().batch_products(index, batch, denominator, vectors)
        with _tensor_cores(self.precision == "tf32"):
            return self._way().products(index, batch, denominator, vectors)

    def of(self, objective: Objective) -> Self:
        """The Hessian of another objective, computed in the same way."""
        other = super().of(objective)
        other._ways = {}
        return other

    def describe(self) -> dict[str, Any]:
        """What identifies the operator; the products differ in rounding."""
        return {**super().describe(), "product": self.product, "precision": self.precision or "full"}

    def facts(self) -> dict[str, Any]:
        """How products were computed, for provenance."""
        return {
            "product": self.chosen,
            "precision": self.precision or "full",
            "deviation": self.deviation,
            "preparation_seconds": self.preparation_seconds,
        }

    def prepare(self) -> None:
        """Choose the way to compute products if that is left to us: the first rank tries (collective)."""
        if self._chosen is not None and self.deviation == self.deviation and self._compared:
            return
        started = time.perf_counter()
        if self._chosen is None:
            self._chosen = answer_of_first_rank(self._best, self.grid.world)
        if self.deviation != self.deviation:
            self.deviation = answer_of_first_rank(self._measured_deviation, self.grid.world)
        if not self._compared:
            self._compared = answer_of_first_rank(self._is_traced_well, self.grid.world)
            if not self._compared:
                raise InputError(
                    f'the trace for product="{self.product}" computes another function than the network, whose Hessian '
                    'double backward finds to be another one; use product="double_backward"'
                )
        self.preparation_seconds += time.perf_counter() - started

    def _way(self) -> Product:
        name = self._chosen or "double_backward"
        if name not in self._ways:
            self._ways[name] = self._new_way(self.objective, self._budget)
        return self._ways[name]

    def _new_way(self, objective: Objective, budget: float) -> Product:
        reduced = {"precision": torch.bfloat16} if self.precision == "bfloat16" else {}
        return PRODUCTS[self._chosen or "double_backward"](objective, budget, **reduced)

    def _best(self) -> str:
        """Tracing where it pays and agrees with double backward on the first micro-batch."""
        first = next(iter(self.objective.mine()), None)
        if first is None:
            return "double_backward"
        vector = self._random_vector()
        with self.objective.scope():
            if _operations(self.objective, first) * self.objective.batches * self.points < WORTH_TRACING:
                return "double_backward"
            expected = DoubleBackward(self.objective, 0.0).products(None, *first[1:], vector)
            traced = self._ways["linearized"] = Linearized(self.objective, self._budget)
            try:
                found = traced.products(*first, vector)
            except (InputError, RuntimeError, NotImplementedError, TypeError):
                return "double_backward"
        return "linearized" if _agree(found, expected) else "double_backward"

    def _is_traced_well(self) -> bool:
        """Whether traced products of the first micro-batch are those of double backward, if there are both."""
        first = next(iter(self.objective.mine()), None)
        if first is None:
            return True
        # Where all samples are fitted, products are little but rounding: nearer to the origin, nothing is saturated.
        nearer = copy.copy(self.objective)
        nearer.theta = self.objective.theta / 2
        vector = self._random_vector()
        with self.objective.scope():
            for objective, traced in ((self.objective, self._way()), (nearer, self._new_way(nearer, 0.0))):
                try:
                    found = traced.products(*first, vector)  # an InputError goes to all ranks
                except RuntimeError:  # The product itself says why.
                    return True
                try:
                    expected = DoubleBackward(objective, 0.0).products(None, *first[1:], vector)
                except (InputError, RuntimeError):
                    return True
                if not bool(torch.isfinite(expected).all()) or _agree(found, expected):
                    return True
        return False

    def _measured_deviation(self) -> float:
        """Relative distance of one product in the reduced precision from one in full."""
        first = next(iter(self.objective.mine()), None)
        if first is None:
            return 0.0
        vector = self._random_vector()
        with self.objective.scope():
            full = DoubleBackward(self.objective, 0.0).products(*first, vector).double()
            return float(torch.linalg.vector_norm(self.batch_products(*first, vector) - full) / full.norm())

    def _random_vector(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self.n, generator=generator, dtype=torch.float64).to(self.objective.theta)[None]

    def _default_budget(self) -> float:
        if self.device.type == "cuda":
            return SHARE * float(torch.cuda.get_device_properties(self.device).total_memory)
        return SHARE * host_bytes() / self.grid.ranks_on_host


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two ways to compute one product differ by no more than rounding."""
    distance = torch.linalg.vector_norm((found - expected).double())
    return bool(distance <= AGREEMENT[found.dtype] * torch.linalg.vector_norm(expected.double()))


def _operations(objective: Objective, first: tuple[int, Batch, float]) -> float:
    """Multiplications and additions of matrix products and convolutions in the gradient of one micro-batch."""
    with FlopCounterMode(display=False) as counter:
        objective.batch_gradient(*first[1:])
    return float(counter.get_total_flops())


def _check_precision(precision: str, product: str, objective: Objective) -> None:
    if precision not in PRECISIONS:
        raise InputError(
            f"unknown precision {precision!r}; choose {' or '.join(PRECISIONS)}, or none for that of theta"
        )
    if product not in ("auto", *TRACED):
        raise InputError(f'precision="{precision}" is for the products "linearized" and "compiled", not {product!r}')
    if precision == "tf32" and objective.device.type != "cuda":
        raise InputError(f'precision="tf32" needs an NVIDIA GPU, but the objective is on {objective.device.type}')


@contextmanager
def _tensor_cores(wanted: bool) -> Iterator[None]:
    """Let matrix products and convolutions of float32 use TF32 inside."""
    if not wanted:
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
