"""Eigenpairs and densities at the checkpoints of a recorded run."""

from __future__ import annotations

import operator as operators
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.densities import packed, unpacked
from landscape.records.eigen_pairs import EigenPairs
from landscape.records.record import Array, Record
from landscape.records.spectral_density import SpectralDensity


@dataclass(frozen=True)
class EigenSeries(Record):
    """Extreme eigenvalues at the checkpoints of a run, without the vectors.

    Attributes
    ----------
    steps : (T,) int64
        Optimizer steps before each checkpoint, ascending.
    values : (T, k) float64
        Eigenvalues by rank, ordered as in :class:`EigenPairs`, in units of the operator; NaN where fewer were found.
        Curves that cross change ranks.
    residuals : (T, k) float64
        ``‖Av - λv‖``, in units of λ: an eigenvalue lies within it.
    converged : (T, k) bool
        Whether the residual is at most ``tol · max(|λ|, scale / 1000)``.
    loss : (T,) float64
        L at the checkpoint, evaluated here.
    losses : (T,) float64
        As it was recorded while training, NaN where none was.
    learning_rates : (T,) float64
        As recorded, NaN where unknown.
    scales, noise_floors : (T,) float64
        The largest ``|λ|`` seen and the rounding error of one product, in units of λ.
    product_counts : (T,) int64
        Operator applications at each checkpoint.
    warm : (T,) bool
        Whether the vectors of the checkpoint before were the start.
    theta_sha256 : (T,) text
        Digests of the checkpoints, as ``run.digests``.
    tol : float
        Asked-for residual relative to ``|λ|``.
    n : int
        Number of parameters.
    which, operator, run : str
        The last one is the name of the run.
    optimizer : dict
        Class and hyper-parameters, as recorded.
    seconds, gradient_equivalents : float
        Wall time, and cost of all products in gradients of the same data.
    provenance : dict
    """

    figure: ClassVar[str] = "eigenvalue_series"

    steps: NDArray[np.int64]
    values: Array
    residuals: Array
    converged: NDArray[np.bool_]
    n: int
    tol: float
    loss: Array
    losses: Array
    learning_rates: Array
    scales: Array
    noise_floors: Array
    product_counts: NDArray[np.int64]
    warm: NDArray[np.bool_]
    theta_sha256: NDArray[Any]
    which: str = "largest"
    operator: str = "hessian"
    run: str = ""
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    gradient_equivalents: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def products(self) -> int:
        """Operator applications at all checkpoints."""
        return int(self.product_counts.sum())

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> EigenPairs:
        """The pairs at one checkpoint, without vectors."""
        row = _row(index, len(self))
        there = np.isfinite(self.values[row])
        return EigenPairs(
            values=self.values[row][there],
            vectors=np.zeros((0, int(there.sum()))),
            residuals=self.residuals[row][there],
            converged=self.converged[row][there],
            tol=self.tol,
            scale=float(self.scales[row]),
            n=self.n,
            which=self.which,
            operator=self.operator,
            noise_floor=float(self.noise_floors[row]),
            loss=float(self.loss[row]),
            products=int(self.product_counts[row]),
        )

    def __iter__(self) -> Iterator[EigenPairs]:
        return (self[row] for row in range(len(self)))


@dataclass(frozen=True)
class DensitySeries(Record):
    """Eigenvalue densities at the checkpoints of a run; ``series[i]`` is a :class:`SpectralDensity`.

    Attributes
    ----------
    steps : (T,) int64
        Optimizer steps before each checkpoint, ascending.
    pieces : dict of arrays
        Every array of the densities, such as "nodes" and "weights", those of all checkpoints one after the other.
    lengths : dict of (T,) int64
        How many numbers of a piece belong to each checkpoint.
    facts : dict of (T,) arrays
        Every number of the densities, such as "trace", "error" and "noise_floor".
    words : dict
        Every text of the densities, which they have in common, such as "method" and "operator".
    loss, losses, learning_rates, theta_sha256
        As for :class:`EigenSeries`.
    n : int
        Number of parameters.
    run : str
        Name of the run.
    optimizer : dict
        Class and hyper-parameters, as recorded.
    seconds, gradient_equivalents : float
        Wall time, and cost of all products in gradients of the same data.
    provenance : dict
    """

    figure: ClassVar[str] = "density_series"

    steps: NDArray[np.int64]
    pieces: Mapping[str, NDArray[Any]]
    lengths: Mapping[str, NDArray[np.int64]]
    facts: Mapping[str, NDArray[Any]]
    n: int
    loss: Array
    losses: Array
    learning_rates: Array
    theta_sha256: NDArray[Any]
    words: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    gradient_equivalents: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, densities: Sequence[SpectralDensity], **others: Any) -> Self:
        """A series of densities, and its other fields.

        Raises
        ------
        InputError
            There is no density.
        """
        if len(densities) == 0:
            raise InputError(
                "a series of densities needs at least one; landscape spectrum run.h5 --every 10 computes one"
            )
        return cls(**packed(densities), n=densities[0].n, **others)

    @property
    def products(self) -> int:
        """Operator applications at all checkpoints."""
        return int(self.facts["products"].sum())

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Where the predicted error is as small as asked for, ``(T,)``."""
        return np.asarray(self.facts["converged"], bool)

    @property
    def lambda_max(self) -> Array:
        """The largest node at each checkpoint, ``(T,)``."""
        return np.array([density.lambda_max for density in self])

    @property
    def lambda_min(self) -> Array:
        """The smallest node at each checkpoint, ``(T,)``."""
        return np.array([density.lambda_min for density in self])

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> SpectralDensity:
        """The density at one checkpoint."""
        row = _row(index, len(self))
        return unpacked(row, self.n, self.pieces, self.lengths, self.facts, self.words)

    def __iter__(self) -> Iterator[SpectralDensity]:
        return (self[row] for row in range(len(self)))


def _row(index: int, length: int) -> int:
    number = operators.index(index)
    if not -length <= number < length:
        raise IndexError(f"checkpoint {number} of a series of {length}")
    return number % length
