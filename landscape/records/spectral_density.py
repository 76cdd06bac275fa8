"""The eigenvalue density of an operator, with error bars."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landscape.errors import InputError
from landscape.records.density_error import ErrorModel
from landscape.records.record import Array

# |λ| below this fraction of the largest |λ| counts as zero: Hessians of trained networks have a peak there.
NEAR_ZERO = 1e-4
# The Chebyshev–Markov–Stieltjes envelope counts as a 95 % interval: a true eigenvalue count is seldom at its ends.
CDF_ENVELOPE = 1 / NormalDist().inv_cdf(0.975)
# Smoothing the counts leaves less noise in the density at one place than the Dirichlet law of the raw weights.
PDF_PROBE = 0.7
PDF_COMPANION = 0.5
# A node of more eigenvalues is a part of the bulk, where one more or less is nothing.
FEW = 20.0
# A share with a wider interval is not worth naming.
VAGUE = 0.2
# One kernel width, as a fraction of the largest |λ|: fine enough to separate outliers, coarse enough to see the bulk.
DEFAULT_SIGMA = 1e-2


@dataclass(frozen=True)
class SpectralDensity(ErrorModel):
    """Eigenvalue density of a symmetric operator as a discrete measure with error bars.

    The density is ``sum_j weights[j] · δ(λ - nodes[j])``. Eigenvalues λ have the unit of the operator, for a Hessian
    loss per parameter².

    Attributes
    ----------
    nodes, weights : (m,) float64
        Quadrature of the density, nodes ascending; the weights sum to 1.
    resolved : (m,) bool
        Nodes whose eigenpair has converged and which carry the exact weight 1/n of a simple eigenvalue.
    residuals : (m,) float64
        ``‖Av - λv‖`` of each node's Ritz pair, in units of λ.
    probe : (m,) int64
        Which random start vector a node comes from.
    cell : (m,) int64
        Which node of the Gauss rule a node's mass comes from: coarse ones are spread over several places.
    companion_nodes, companion_weights : (m',) float64
        A second quadrature of the same runs whose error has about the opposite sign (Laurie's anti-Gauss rule,
        Math. Comp. 65 (1996) 739); its distance from the first is the quadrature part of :meth:`pdf_band`.
    companion_probe : (m',) int64
        Which random start vector a companion node comes from.
    complement_probes : int
        How many other start vectors, in the complement of the resolved eigenvectors, had a few products each. They
        resolve nothing, but the moments of the weights are the mean over all vectors.
    complement_degree : int
        Degree of the polynomials whose mean over the unresolved eigenvalues they know as well as a long run.
    n : int
        Number of eigenvalues, that is of trainable parameters.
    trace, trace_stderr : float
        Trace of the operator and its standard error.
    sampling_stderr : (m,) float64
        Standard error of a resolved eigenvalue from data sampling: how far it would move had other samples been drawn
        from the same population. NaN where it was not asked for.
    trace_sampling_stderr : float
        The same of the trace, an upper estimate.
    error, tol : float
        Wasserstein-1 distance to the true density in units of ``mean |λ - median λ|`` that nine runs in ten stay below
        (:meth:`error_parts` says where it comes from), and the one asked for.
    converged : bool
        Whether ``error <= tol``.
    noise_floor : float
        Rounding of the products, in units of λ: smaller eigenvalues have no sign.
    method, operator : str
        ``"deflated"`` or ``"classical"``; the name of the operator.
    memory : str
        How the Lanczos vectors were kept; after ``"minimal"`` no node is resolved.
    products : int
        Operator applications spent on the record.
    seconds, gradient_equivalents : float
        Wall time of the run and its cost in gradients of the same data.
    provenance : dict
        Everything needed to repeat the run.

    Examples
    --------
    >>> density = SpectralDensity(nodes=np.array([0.0, 1.0]), weights=np.array([0.9, 0.1]), n=10)
    >>> float(density.mass_below(0.5)), density.lambda_max
    (0.9, 1.0)
    """

    figure: ClassVar[str] = "density"

    nodes: Array
    weights: Array
    n: int
    resolved: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    residuals: Array = field(default_factory=lambda: np.zeros(0))
    probe: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    cell: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    companion_nodes: Array = field(default_factory=lambda: np.zeros(0))
    companion_weights: Array = field(default_factory=lambda: np.zeros(0))
    companion_probe: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    complement_probes: int = 0
    complement_degree: int = 0
    trace: float = float("nan")
    trace_stderr: float = float("nan")
    sampling_stderr: Array = field(default_factory=lambda: np.zeros(0))
    trace_sampling_stderr: float = float("nan")
    error: float = float("nan")
    tol: float = float("nan")
    converged: bool = False
    noise_floor: float = 0.0
    method: str = "deflated"
    operator: str = "hessian"
    memory: str = "full"
    products: int = 0
    seconds: float = 0.0
    gradient_equivalents: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        m = len(self.nodes)
        for name, dtype, fill in (
            ("resolved", bool, False),
            ("residuals", float, np.nan),
            ("probe", np.int64, 0),
            ("sampling_stderr", float, np.nan),
        ):
            if len(getattr(self, name)) != m:
                object.__setattr__(self, name, np.full(m, fill, dtype))
        if len(self.cell) != m:
            object.__setattr__(self, "cell", np.arange(m))

    @property
    def eigenvalues(self) -> Array:
        """The resolved eigenvalues, ascending, ``(k,)``."""
        return np.sort(self.nodes[self.resolved])

    @property
    def lambda_max(self) -> float:
        """The largest node: a lower bound of the largest eigenvalue, sharp when resolved."""
        return float(self.nodes.max())

    @property
    def lambda_min(self) -> float:
        """The smallest node: an upper bound of the smallest eigenvalue, sharp when resolved."""
        return float(self.nodes.min())

    @property
    def ends_resolved(self) -> tuple[bool, bool]:
        """Whether :attr:`lambda_min` and :attr:`lambda_max` are eigenvalues, and not bounds only."""
        ends = int(self.nodes.argmin()), int(self.nodes.argmax())
        low, high = (bool(self.resolved[end] or self.residuals[end] <= self.noise_floor) for end in ends)
        return low, high

    @property
    def magnitude(self) -> float:
        """The largest ``|λ|``."""
        return float(np.abs(self.nodes).max())

    @property
    def default_sigma(self) -> float:
        """The kernel width used when none is given: 1 % of the largest ``|λ|``."""
        return DEFAULT_SIGMA * self.magnitude or 1.0

    def pdf(self, x: ArrayLike, sigma: float | None = None) -> Array:
        """Density at ``x``, smoothed by a Gaussian of width ``sigma``.

        Parameters
        ----------
        x : array_like
            Positions on the eigenvalue axis.
        sigma : float, optional
            Kernel width in units of λ, default :attr:`default_sigma`.

        Returns
        -------
        array of the shape of ``x``, in units of 1/λ.
        """
        x = np.asarray(x, float)
        return _kernel(x, self.nodes, self._width(sigma)) @ self.weights

    def pdf_band(self, x: ArrayLike, sigma: float | None = None, level: float = 0.95) -> tuple[Array, Array]:
        """Pointwise confidence band of :meth:`pdf`.

        Three parts: the random start vector (the Dirichlet law of its weights, known without repetition), the
        quadrature (half the distance to the companion rule as one standard deviation; within the residual of a node
        that is not resolved, one eigenvalue more or less) and the residuals of the resolved nodes. Where all that is
        seen has converged, it is far narrower than its level says.

        Parameters
        ----------
        x : array_like
            Positions on the eigenvalue axis.
        sigma : float, optional
            Kernel width in units of λ, default :attr:`default_sigma`.
        level : float
            Probability of the band at each x.

        Returns
        -------
        low, high : arrays of the shape of ``x``
        """
        x = np.asarray(x, float)
        sigma = self._width(sigma)
        kernel = _kernel(x, self.nodes, sigma)
        centre = kernel @ self.weights
        bulk = ~self.resolved
        mass, count = self._bulk()
        half = np.zeros_like(centre)
        if mass > 0:
            share = self.weights[bulk] / mass
            # A node that is seen with less than one eigenvalue's weight may be one with bad luck.
            mean, square = kernel[..., bulk] @ share, kernel[..., bulk] ** 2 @ self._at_least_one(share, count)
            averaged = self._averaged(kernel[..., bulk] @ (share * self._matched[:, bulk]).T)
            variance = 2 * np.maximum(square - mean**2 - averaged, 0) / ((count + 2) * self.probes)
            half = PDF_PROBE * mass * np.sqrt(variance)
        if len(self.companion_nodes):
            companion = _kernel(x, self.companion_nodes, sigma) @ self.companion_weights
            half = np.hypot(half, PDF_COMPANION * np.abs(centre - companion))
        if self.resolved.any():
            slope = np.abs(x[..., None] - self.nodes[self.resolved]) / sigma**2 * kernel[..., self.resolved]
            shift = (self.weights * np.minimum(self._shift(), sigma))[self.resolved]
            half = np.hypot(half, np.sqrt(slope**2 @ shift**2))
        few = ~self.resolved & (self.n * self.probes * self.weights <= FEW) & (self.residuals > 0)
        if few.any():
            # Within the residual of a node that is not resolved there may or may not be an eigenvalue at x.
            near = np.exp(-0.5 * ((x[..., None] - self.nodes[few]) / self.residuals[few]) ** 2).max(-1)
            half = np.hypot(half, near * _kernel(np.zeros(1), np.zeros(1), sigma)[0, 0] / (2 * self.n * self.probes))
        half = _quantile(level) * half
        return np.maximum(centre - half, 0), centre + half

    def cdf(self, x: ArrayLike) -> Array:
        """Fraction of eigenvalues ``<= x``, the shape of ``x``."""
        order = np.argsort(self.nodes, kind="stable")
        steps = np.concatenate([[0.0], np.cumsum(self.weights[order])])
        return steps[np.searchsorted(self.nodes[order], np.asarray(x, float), side="right")]

    def cdf_band(self, x: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
        """Pointwise confidence band of :meth:`cdf`.

        The random start vector weighs n eigenvalues with a Dirichlet law, so the mass below F is Beta distributed with
        standard deviation ``sqrt(2F(1-F)/(n+2))``. The quadrature adds the Chebyshev–Markov–Stieltjes envelope (the
        mass up to a node is known up to that node's weight), narrowed linearly with the distance from the node and
        taken as an interval of 95 %; rounding adds a shift of ``noise_floor``.

        Parameters
        ----------
        x : array_like
            Positions on the eigenvalue axis.
        level : float
            Probability of the band at each x.

        Returns
        -------
        low, high : arrays of the shape of ``x``
        """
        x = np.asarray(x, float)
        low = self._cdf_limits(x - self.noise_floor, level)[0]
        high = self._cdf_limits(x + self.noise_floor, level)[1]
        return low, high

    def mass_below(self, x: float) -> float:
        """Fraction of eigenvalues below ``x``.

        Below zero much of it is rounding: never ask for less than ``mass_below(-density.noise_floor)``. It jumps at
        every node, and near a peak at zero one node stands for many eigenvalues: :meth:`mass_band` says how much is
        known.
        """
        return float(self.weights[self.nodes < x].sum())

    @property
    def zero_threshold(self) -> float:
        """What counts as zero: 1e-4 of the largest ``|λ|``, or the noise floor if that is larger."""
        return max(self.noise_floor, NEAR_ZERO * self.magnitude)

    @property
    def near_zero_mass(self) -> float:
        """Fraction of eigenvalues with ``|λ| <= zero_threshold``."""
        return float(self.weights[np.abs(self.nodes) <= self.zero_threshold].sum())

    @property
    def negative_mass(self) -> float:
        """Fraction of eigenvalues below ``-zero_threshold``; see :meth:`mass_band` for its interval."""
        return self.mass_below(-self.zero_threshold)

    def mass_band(self, low: float, high: float, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the fraction of eigenvalues in ``(low, high]``, from :meth:`cdf_band`.

        Wide where one heavy node near an end stands for many eigenvalues: their side of the end is not known.

        Parameters
        ----------
        low, high : float
            Ends in units of λ; infinite ones are allowed.

        Returns
        -------
        least, most : float
        """
        bottom = [float(limit[0]) for limit in self.cdf_band(np.array([low]), level)] if low > -np.inf else [0.0, 0.0]
        top = [float(limit[0]) for limit in self.cdf_band(np.array([high]), level)] if high < np.inf else [1.0, 1.0]
        return max(top[0] - bottom[1], 0.0), min(top[1] - bottom[0], 1.0)

    def _width(self, sigma: float | None) -> float:
        if sigma is None:
            return self.default_sigma
        if not (np.isfinite(sigma) and sigma > 0):
            raise InputError(f"sigma must be a positive width on the eigenvalue axis, not {sigma}")
        return sigma

    def _averaged(self, products: Array) -> Array:
        """What complement probes take off the variance of functions under one start vector.

        Parameters
        ----------
        products : (..., d) float64
            Means over the unresolved nodes of each function times each known one.

        Returns
        -------
        (...) float64
        """
        return self.complement_probes / (self.complement_probes + 1) * np.sum(products**2, -1)

    def _shift(self) -> Array:
        """How far a resolved node can be from its eigenvalue: residual²/gap, at most the residual."""
        gaps = np.full(len(self.nodes), np.inf)
        order = np.argsort(self.nodes, kind="stable")
        difference = np.diff(self.nodes[order])
        nearest = np.minimum(np.append(difference, np.inf), np.insert(difference, 0, np.inf))
        gaps[order] = np.maximum(nearest, np.finfo(float).tiny)
        return np.minimum(self.residuals, self.residuals**2 / gaps) + self.noise_floor

    def _cdf_parts(self, x: Array) -> tuple[Array, Array, Array]:
        """Quadrature envelope to the left and to the right, and the probe's standard deviation, of the cdf at x."""
        mass, count = self._bulk()
        left, right, below = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        if mass <= 0:
            return left, right, below
        probes = np.unique(self.probe)
        inside = np.zeros(x.shape, bool)
        averaged = np.zeros_like(x)
        for probe in probes:
            mine = np.flatnonzero(~self.resolved & (self.probe == probe))
            mine = mine[np.argsort(self.nodes[mine], kind="stable")]
            if len(mine) == 0:
                continue
            nodes, weights = self._cells(mine)
            index = np.searchsorted(nodes, x, side="right")
            between = (index > 0) & (index < len(nodes))
            lower, upper = np.clip(index - 1, 0, None), np.clip(index, None, len(nodes) - 1)
            gap = nodes[upper] - nodes[lower]
            position = np.clip((x - nodes[lower]) / np.where(gap > 0, gap, 1), 0, 1)
            left += np.where(between, (1 - position) * weights[lower], 0)
            right += np.where(between, position * weights[upper], 0)
            if len(nodes) > 1:
                # Eigenvalues also lie beyond the outermost nodes, but no farther than to where the next would be.
                least = np.finfo(float).tiny
                beyond = (
                    (x - nodes[-1]) / max(nodes[-1] - nodes[-2], least),
                    (nodes[0] - x) / max(nodes[1] - nodes[0], least),
                )
                left += np.where(beyond[0] >= 0, np.clip(1 - beyond[0], 0, 1) * weights[-1], 0)
                right += np.where(beyond[1] > 0, np.clip(1 - beyond[1], 0, 1) * weights[0], 0)
            places = self.nodes[mine]
            index = np.searchsorted(places, x, side="right")
            below += np.concatenate([[0.0], np.cumsum(self.weights[mine])])[index]
            known = np.cumsum(self.weights[mine] / mass * self._matched[:, mine], 1)
            averaged += self._averaged(np.concatenate([np.zeros((len(known), 1)), known], 1).T[index])
            inside |= between
        fraction = np.clip(below / mass, 0, 1)
        # One eigenvalue more: in the tail the observed mass may be that of a count one larger.
        variance = np.maximum(fraction * (1 - fraction) - averaged, 0) + inside / count
        variance *= 2 / ((count + 2) * len(probes))
        return left, right, mass * np.sqrt(variance)

    def _at_least_one(self, share: Array, count: int) -> Array:
        """Shares of the nodes that are not resolved, those of each whole cell at least that of one eigenvalue."""
        _, owner = np.unique(self.cell[~self.resolved] + self.probe[~self.resolved] * self.n, return_inverse=True)
        cells = np.bincount(owner, share)[owner]
        return share * np.maximum(1.0, 1 / np.maximum(count * self.probes * cells, 1e-30))

    def _cdf_limits(self, x: Array, level: float) -> tuple[Array, Array]:
        left, right, deviation = self._cdf_parts(x)
        centre = self.cdf(x)
        mass, _ = self._bulk()
        exact = (self.weights * self.resolved) @ (self.nodes[:, None] <= x.reshape(1, -1)).astype(float)
        exact = exact.reshape(x.shape)
        z = _quantile(level)
        low = centre - z * np.hypot(CDF_ENVELOPE * left, deviation)
        high = centre + z * np.hypot(CDF_ENVELOPE * right, deviation)
        # Never below what is resolved to the left, never above it plus all that is not resolved.
        return np.clip(low, exact, centre), np.clip(high, centre, exact + mass)


def is_vague(band: tuple[float, float]) -> bool:
    """Whether the interval of a share is so wide that one heavy node on this or that side decides the share itself."""
    return band[1] - band[0] > VAGUE


def _kernel(x: Array, nodes: Array, sigma: float) -> Array:
    """Gaussians of width sigma around each node, ``x.shape + (m,)``."""
    return np.exp(-0.5 * ((x[..., None] - nodes) / sigma) ** 2) / (sigma * sqrt(2 * np.pi))


def _quantile(level: float) -> float:
    """Half-width of a central normal interval in standard deviations."""
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, such as 0.95, not {level}")
    return NormalDist().inv_cdf(0.5 + level / 2)
