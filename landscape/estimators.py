"""Trace, diagonal and Frobenius norm of an operator from a few products with random vectors, with standard errors.

Hutchinson's estimator averages ``vᵀAv``. The others first find the range of the few large eigenvalues, where its
variance comes from: Hutch++ (Meyer, Musco, Musco, Woodruff, SOSA 2021) with a third of the products, XTrace and XDiag
(Epperly, Tropp, Webber, SIAM J. Matrix Anal. Appl. 45 (2024) 1) with every vector in turn against the range of all
others. The estimates of XTrace share vectors: their spread alone states an error that is up to a third too small, so
that, unlike in that paper, their covariance is estimated and added.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from math import hypot, inf, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._arguments import check_whole
from landscape.curvature import Operator, blocks_of
from landscape.errors import ComputeError, InputError
from landscape.krylov import Basis, gaussian
from landscape.parallel.rows import RowPartition
from landscape.records import DiagonalEstimate, Estimate

Array = NDArray[np.float64]

# What a density takes to be plotted; see tools/bench operators for the errors that are left.
DEFAULT_PRODUCTS = 60
# Vectors per sweep over the data: part of the configuration, so that results do not depend on the number of ranks.
WIDTH = 8
TRACE_METHODS = {"xtrace": 4, "hutch++": 6, "hutchinson": 2}  # method → fewest products
DIAGONAL_METHODS = {"xdiag": 4, "hutchinson": 2}
NORM_METHODS = {"hutch++": 4, "hutchinson": 2}
# Streams of vectors whose range is found, and of those that sample what is left of it.
RANGE, REST = 2**34, 2**35


def trace(operator: Operator, *, method: str = "xtrace", products: int = DEFAULT_PRODUCTS, seed: int = 0) -> Estimate:
    """Trace of an operator (collective).

    Parameters
    ----------
    operator : Operator
    method : "xtrace", "hutch++" or "hutchinson"
        XTrace is the most accurate where few eigenvalues dominate, as for networks; Hutchinson's needs no memory for a
        basis. The standard error of XTrace holds the covariance of its samples, from leaving out pairs of vectors.
    products : int
        How many may be spent. With n or more the trace is exact.
    seed : int

    Returns
    -------
    Estimate
        Bitwise the same on any number of ranks.

    Raises
    ------
    InputError
        If an argument is out of range.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(3, 1), torch.nn.MSELoss(), (torch.eye(3), torch.zeros(3, 1)))
    >>> round(ls.trace(ls.Hessian(objective)).value, 4)
    4.0
    """
    vectors = _Vectors(operator, "trace", method, TRACE_METHODS, products, seed)
    if products >= operator.n:
        value = float(np.sum([row[index].double().item() for index, row in vectors.columns()]))
        return vectors.estimate(value, [], "exact")
    if method == "hutchinson":
        samples = [vectors.dot(v, image) for v, image in vectors.images(vectors.signs(RANGE, products))]
        return vectors.estimate(0.0, samples, method)
    if method == "hutch++":
        basis = vectors.range_of(vectors.signs(RANGE, products // 3))
        head = sum(vectors.dot(q, image) for q, image in vectors.images(vectors.of(basis)))
        rest = map(basis.project_out, vectors.signs(REST, products - vectors.spent))
        return vectors.estimate(head, [vectors.dot(v, image) for v, image in vectors.images(rest)], method)
    fixed, samples, covariance = _xtrace(vectors, products // 2)
    return vectors.estimate(fixed, samples, method, covariance)


def diagonal(
    operator: Operator, *, method: str = "xdiag", products: int = DEFAULT_PRODUCTS, seed: int = 0
) -> DiagonalEstimate:
    """Diagonal of an operator (collective).

    Parameters
    ----------
    operator : Operator
    method : "xdiag" or "hutchinson"
        The mean of ``v ∘ Av`` over vectors of random signs (Bekas, Kokiopoulou, Saad, Appl. Numer. Math. 57 (2007)
        1214), in XDiag after the range of the others was taken out exactly.
    products : int
        How many may be spent. With n or more the diagonal is exact.
    seed : int

    Returns
    -------
    DiagonalEstimate

    Raises
    ------
    InputError
        If an argument is out of range.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(1, 1), torch.nn.MSELoss(), (torch.ones(3, 1), torch.zeros(3, 1)))
    >>> ls.diagonal(ls.Hessian(objective)).values
    array([2., 2.])
    """
    vectors = _Vectors(operator, "diagonal", method, DIAGONAL_METHODS, products, seed)
    if products >= operator.n:
        values = np.array([row[index].double().item() for index, row in vectors.columns()])
        return vectors.diagonal(values, np.zeros(operator.n), "exact")
    if method == "hutchinson":
        samples: Iterator[Tensor] = (v * image for v, image in vectors.images(vectors.signs(RANGE, products)))
    else:
        samples = _xdiag(vectors, products // 2)
    mean, squares, count = torch.zeros(0), torch.zeros(0), 0
    for sample in samples:  # Welford's recurrence: no sample is kept.
        sample, count = sample.double(), count + 1
        if count == 1:
            mean, squares = sample, torch.zeros_like(sample)
            continue
        step = sample - mean
        mean = mean + step / count
        squares = squares + step * (sample - mean)
    stderr = (squares / max(count - 1, 1) / max(count, 1)).sqrt() if count > 1 else torch.full_like(mean, inf)
    gather = vectors.rows.gather
    return vectors.diagonal(gather(mean).cpu().numpy(), gather(stderr).cpu().numpy(), method)


def frobenius_norm(
    operator: Operator, *, method: str = "hutch++", products: int = DEFAULT_PRODUCTS, seed: int = 0
) -> Estimate:
    """Frobenius norm ``sqrt(Σ λ²)`` of an operator (collective).

    The square is the mean of ``‖Av‖²`` over vectors of random signs; with ``"hutch++"`` that of what is left when the
    range of half of them is taken out, where ``‖AQ‖²`` is exact.

    Parameters
    ----------
    operator : Operator
    method : "hutch++" or "hutchinson"
    products : int
        How many may be spent. With n or more the norm is exact.
    seed : int

    Returns
    -------
    Estimate
        Its standard error is that of the square over twice the value.

    Raises
    ------
    InputError
        If an argument is out of range.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(1, 1), torch.nn.MSELoss(), (torch.ones(3, 1), torch.zeros(3, 1)))
    >>> ls.frobenius_norm(ls.Hessian(objective)).value
    4.0
    """
    vectors = _Vectors(operator, "frobenius_norm", method, NORM_METHODS, products, seed)
    if products >= operator.n:
        square = float(np.sum([row.double().square().sum().item() for _, row in vectors.columns()]))
        return vectors.estimate(sqrt(square), [], "exact")
    head, basis = 0.0, None
    if method == "hutch++":
        basis = vectors.range_of(vectors.signs(RANGE, products // 3))
        head = sum(vectors.dot(y, y) for _, y in vectors.images(vectors.of(basis)))
    signs = vectors.signs(RANGE if basis is None else REST, products - vectors.spent)
    rest = signs if basis is None else map(basis.project_out, signs)
    samples = [vectors.dot(y, y) for _, y in vectors.images(rest)]
    square = head + float(np.mean(samples))
    # Around the square, so that the mean of what follows is the norm and its spread that of the norm.
    value = sqrt(max(square, 0.0))
    return vectors.estimate(value, [(head + one - square) / (2 * value or 1.0) for one in samples], method)


def layer_traces(
    operator: Operator, *, by: str = "layer", products: int = DEFAULT_PRODUCTS, seed: int = 0
) -> dict[str, Estimate]:
    """Trace of every diagonal block, all from the same products with the whole operator (collective).

    For a vector v of random signs the sum of ``v ∘ Av`` over a layer is an unbiased estimate of the trace of its block:
    what other layers add has mean zero, and is part of the standard error.

    Parameters
    ----------
    operator : Operator
        Of an objective.
    by : "layer" or "parameter"
    products : int
        How many may be spent in all. With n or more the traces are exact.
    seed : int

    Returns
    -------
    dict
        Name of the layer → Estimate, in the order of theta.

    Raises
    ------
    InputError
        If an argument is out of range.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    >>> objective = ls.Objective(model, torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> traces = ls.layer_traces(ls.Hessian(objective))
    >>> list(traces), traces["0"].method
    (['0', '2'], 'exact')
    """
    if getattr(operator, "objective", None) is None:
        raise InputError(
            "layer_traces needs an operator of an objective, such as landscape.Hessian(objective), not "
            f"{getattr(operator, 'name', type(operator).__name__)}"
        )
    vectors = _Vectors(operator, "layer_traces", "hutchinson", TRACE_METHODS, products, seed)
    blocks = blocks_of(operator.objective, by)
    samples: dict[str, list[float]] = {block.name: [] for block in blocks}
    exact = products >= operator.n
    if exact:
        diagonal = torch.tensor([row[index].item() for index, row in vectors.columns()], dtype=torch.float64)
        for block in blocks:
            samples[block.name].append(float(block.take(diagonal).sum()))
    else:
        for v, image in vectors.images(vectors.signs(RANGE, products)):
            whole = vectors.rows.gather(v * image).double()
            for block in blocks:
                samples[block.name].append(float(block.take(whole).sum()))
    result = {}
    for name, values in samples.items():
        result[name] = (
            vectors.estimate(values[0], [], "exact") if exact else vectors.estimate(0.0, values, "hutchinson")
        )
    return result


class _Vectors:
    """Random vectors and their products, as row shards, counted and timed."""

    def __init__(
        self, operator: Operator, name: str, method: str, methods: dict[str, int], products: int, seed: int
    ) -> None:
        if not isinstance(operator, Operator):
            raise InputError(
                f"{name} needs an operator such as landscape.Hessian(objective), not {type(operator).__name__}"
            )
        if method not in methods:
            raise InputError(f"unknown method {method!r}; choose {', '.join(methods)}")
        check_whole("products", products, 1)
        if products < min(methods[method], operator.n):
            raise InputError(f"{method} needs at least {methods[method]} products, not {products}")
        check_whole("seed", seed, 0)
        operator.grid.meet(name)
        self.operator, self.seed = operator, seed
        self.rows = RowPartition(operator.n, operator.grid.data)
        self.spent = 0
        self.largest = 0.0
        self.started = time.monotonic()

    def signs(self, stream: int, count: int) -> Iterator[Tensor]:
        """Row shards of vectors of independent signs."""
        for index in range(count):
            yield torch.where(self.gaussian(stream, index) < 0, -1.0, 1.0).to(self.operator.dtype)

    def gaussian(self, stream: int, index: int) -> Tensor:
        """Row shard of a standard normal vector."""
        return gaussian(self.rows, self.seed, stream + index, self.operator.dtype, self.operator.device)

    def of(self, basis: Basis) -> Iterator[Tensor]:
        """Row shards of the vectors of a basis."""
        return (basis.vector(index) for index in range(len(basis)))

    def images(self, shards: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Row shards of vectors, each with its product (collective)."""
        while chunk := [shard for _, shard in zip(range(WIDTH), shards, strict=False)]:
            full = torch.stack([self.rows.gather(shard) for shard in chunk])
            products = self.operator.apply_block(full)
            self.spent += len(chunk)
            if not bool(torch.isfinite(products).all()):
                raise ComputeError(f"a product of {self.operator.name} holds NaN or inf; check the loss at this point")
            for shard, product in zip(chunk, products, strict=True):
                image = self.rows.shard(product)
                self.largest = max(self.largest, sqrt(self.dot(image, image) / self.dot(shard, shard)))
                yield shard, image

    def columns(self) -> Iterator[tuple[int, Tensor]]:
        """Every column of the operator with its index, on every rank (collective)."""
        n = self.operator.n
        for start in range(0, n, WIDTH):
            units = torch.zeros(min(WIDTH, n - start), n, dtype=self.operator.dtype, device=self.operator.device)
            units[torch.arange(len(units)), start + torch.arange(len(units))] = 1
            products = self.operator.apply_block(units)
            self.spent += len(units)
            self.largest = max(self.largest, float(products.double().norm(dim=1).max()))
            yield from ((start + offset, row) for offset, row in enumerate(products))

    def range_of(self, shards: Iterator[Tensor]) -> Basis:
        """Orthonormal basis of the products with some vectors (collective)."""
        basis = Basis(self.rows, self.operator.dtype, self.operator.device)
        for _, image in self.images(shards):
            self.extend(basis, image)
        return basis

    def extend(self, basis: Basis, image: Tensor) -> np.ndarray | None:
        """Append a vector to a basis; return its coefficients there, None if it is in its span to rounding."""
        before = sqrt(self.dot(image, image))
        if before == 0:
            return None
        rest = image.clone()
        coefficients = basis.split_off(rest)
        length = sqrt(self.dot(rest, rest))
        if length <= 10 * torch.finfo(image.dtype).eps * before:
            return None
        basis.append(rest / length)
        return np.append(coefficients.numpy(), length)

    def dot(self, left: Tensor, right: Tensor) -> float:
        """Inner product of row shards, the same bits on every rank."""
        return self.rows.dot(left, right)

    @property
    def rounding(self) -> float:
        """Of one number of a product, in units of the operator."""
        return torch.finfo(self.operator.dtype).eps * self.largest

    def estimate(self, fixed: float, samples: list[float], method: str, covariance: float = 0.0) -> Estimate:
        """The record of a number that is known, plus the mean of samples with some covariance of any two."""
        operator, count = self.operator, len(samples)
        value = fixed + (float(np.mean(samples)) if samples else 0.0)
        # The spread estimates the variance minus the covariance: var/m + (1-1/m)cov = spread/m + cov.
        spread = sqrt(float(np.var(samples, ddof=1)) / count + covariance) if count > 1 else 0.0
        return Estimate(
            value=value,
            stderr=hypot(spread, self.rounding * sqrt(operator.n)),
            products=self.spent,
            method=method,
            operator=operator.name,
            n=operator.n,
            samples=count,
            seconds=time.monotonic() - self.started,
        )

    def diagonal(self, values: np.ndarray, stderr: np.ndarray, method: str) -> DiagonalEstimate:
        """The record."""
        seconds = time.monotonic() - self.started
        stderr = np.hypot(stderr, self.rounding)
        return DiagonalEstimate(values, stderr, self.spent, method, self.operator.name, seconds)


class _LeaveOneOut:
    """Q and R of ``Y = AΩ``, ``Z = AQ``, and for every column i the unit vector that the others do not reach.

    ``Q (I - sᵢsᵢᵀ) Qᵀ`` projects onto the range of all columns of Y but the i-th, because ``sᵢ ∝ R⁻ᵀeᵢ``.
    """

    def __init__(self, vectors: _Vectors, sources: Callable[[], Iterator[Tensor]]) -> None:
        from scipy.linalg import solve_triangular

        self.basis = Basis(vectors.rows, vectors.operator.dtype, vectors.operator.device)
        columns = []
        self.quadratic: list[float] = []
        self.deficient = False
        for source, image in vectors.images(sources()):
            self.quadratic.append(vectors.dot(source, image))
            coefficients = vectors.extend(self.basis, image)
            self.deficient |= coefficients is None
            if coefficients is not None:
                columns.append(coefficients)
        count = len(self.basis)
        self.R = np.zeros((count, count))
        for index, coefficients in enumerate(columns):
            self.R[: index + 1, index] = coefficients
        self.S = np.zeros((count, count))
        if count:
            inverse = solve_triangular(self.R, np.eye(count), trans="T")
            self.S = inverse / np.linalg.norm(inverse, axis=0)

    def inside(self, shard: Tensor) -> np.ndarray:
        """Components of a vector along Q."""
        return self.basis.split_off(shard.clone(), 1).numpy()


def _xtrace(vectors: _Vectors, count: int) -> tuple[float, list[float], float]:
    """What is known exactly, the exchangeable estimates of the rest, and the covariance of any two of them."""
    n = vectors.operator.n

    def sources() -> Iterator[Tensor]:
        for index in range(count):
            vector = vectors.gaussian(RANGE, index)
            yield vector * sqrt(n / vectors.dot(vector, vector))

    parts = _LeaveOneOut(vectors, sources)
    H = np.array([parts.inside(image) for _, image in vectors.images(vectors.of(parts.basis))]).reshape(
        len(parts.basis), len(parts.basis)
    )
    H = (H + H.T) / 2
    if parts.deficient:  # Y spans the range of A: nothing is left to sample.
        return float(np.trace(H)), [], 0.0
    W = np.array([parts.inside(source) for source in sources()]).T
    alone = _each_left_out(parts, H, W, n)
    shared = alone[:, None] - _pairs_left_out(parts, H, W, n)
    np.fill_diagonal(shared, 0.0)
    covariance = max(float((shared * shared.T).sum()) / (count * (count - 1)), 0.0)
    return float(np.trace(H)), alone.tolist(), covariance


def _each_left_out(parts: _LeaveOneOut, H: Array, W: Array, n: int) -> Array:
    """Estimates of the trace minus that of H, each from one vector against the range of the others, ``(m,)``."""
    S, R = parts.S, parts.R
    A = W - S * (S * W).sum(0)
    # Vectors of the sphere in the complement: its dimension over the squared length that this one has there.
    scale = (n - len(S) + 1) / (n - (A * A).sum(0))
    rest = np.array(parts.quadratic) - 2 * (A * R).sum(0) + (A * (H @ A)).sum(0)
    estimates: Array = scale * rest - (S * (H @ S)).sum(0)
    return estimates


def _pairs_left_out(parts: _LeaveOneOut, H: Array, W: Array, n: int) -> Array:
    """The same where the range is also without the j-th vector, ``(m, m)``; NaN on the diagonal.

    What the j-th adds to the i-th estimate has mean zero over it. So the product of that with what the i-th adds to the
    j-th has the mean of their covariance, which the spread of the estimates does not show.
    """
    S, R = parts.S, parts.R
    count = len(S)
    HS, whole = H @ S, np.array(parts.quadratic)
    estimates = np.full((count, count), np.nan)
    for i in range(count):
        s, a = S[:, i], W[:, i] - S[:, i] * (S[:, i] @ W[:, i])
        others = np.arange(count) != i
        along = s @ S[:, others]
        # Unit vectors that span with the i-th what neither reaches, and their products.
        B = S[:, others] - np.outer(s, along)
        length = np.maximum(np.linalg.norm(B, axis=0), np.finfo(float).eps)
        B, HB = B / length, (HS[:, others] - np.outer(HS[:, i], along)) / length
        part, curved = a @ B, H @ a
        scale = (n - count + 2) / (n - a @ a + part**2)
        quadratic = a @ curved - 2 * part * (curved @ B) + part**2 * (B * HB).sum(0)
        rest = whole[i] - 2 * (a @ R[:, i] - part * (R[:, i] @ B)) + quadratic
        estimates[i, others] = scale * rest - s @ HS[:, i] - (B * HB).sum(0)
    return estimates


def _xdiag(vectors: _Vectors, count: int) -> Iterator[Tensor]:
    """Row shards of the exchangeable estimates of the diagonal."""
    parts = _LeaveOneOut(vectors, lambda: vectors.signs(RANGE, count))
    basis = parts.basis
    images = [image for _, image in vectors.images(vectors.of(basis))]
    if not images:
        yield torch.zeros(vectors.rows.rows, dtype=torch.float64)
        yield torch.zeros(vectors.rows.rows, dtype=torch.float64)
        return
    base = sum((basis.vector(j).double() * image.double() for j, image in enumerate(images)), torch.zeros(()))
    if parts.deficient:
        yield base
        yield base
        return
    # In a basis of the same row blocks, so that the bits of a combination do not depend on the number of ranks.
    Z = Basis(vectors.rows, vectors.operator.dtype, vectors.operator.device)
    for image in images:
        Z.append(image)
    for index, source in enumerate(vectors.signs(RANGE, count)):
        s = torch.from_numpy(parts.S[:, index])
        along = basis.combine(s[:, None])[:, 0].double()
        others = base - along * Z.combine(s[:, None])[:, 0].double()
        yield others + source.double() * along * float(parts.S[:, index] @ parts.R[:, index])
