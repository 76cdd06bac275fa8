"""The densities along a path on one symmetric logarithmic axis, in heights of one eigenvalue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landscape.render.density_figure import FLOOR

if TYPE_CHECKING:
    from landscape.records import PathProfile, SpectralDensity

Array = NDArray[np.float64]
KERNEL = 0.01  # of the largest |λ| at a point, as for a density by itself
REACH = 5.2  # kernels beyond which a peak of ten thousand eigenvalues is not seen; an outlier has half of it
NARROWEST = 0.01  # of the widest kernel: half of what is linear on the axis at least


@dataclass(frozen=True)
class EigenvalueMap:
    """What the pictures of the eigenvalues along paths share.

    The kernel of a point has the width that the density there would have by itself: a path may lead through places
    whose largest eigenvalues differ by orders of magnitude. A height of 1 is that of one eigenvalue everywhere.

    Attributes
    ----------
    width : float
        The narrowest kernel: what is linear around zero.
    x : (rows,) float64
        Eigenvalues, ascending, even on the axis.
    top : float
        The greatest height.
    sigma : float or None
        Kernel width of all points, if it was chosen.
    """

    width: float
    x: Array
    top: float
    sigma: float | None

    @classmethod
    def of(cls, records: Sequence[PathProfile], rows: int, sigma: float | None = None) -> EigenvalueMap | None:
        """The map that holds all eigenvalues and curvatures of some profiles; None if no eigenvalue is known.

        Parameters
        ----------
        records : sequence of PathProfile
        rows : int
            Places on the axis.
        sigma : float, optional
            Kernel width of all points. Default: 1 % of the largest |λ| at each.
        """
        densities = [density for record in records for density in densities_of(record) if density is not None]
        ends = [np.array([density.lambda_min, density.lambda_max]) for density in densities]
        ends += [row for record in records for row in np.asarray(record.values, float)]
        ends = [finite for end in ends if len(finite := end[np.isfinite(end)])]
        others = np.concatenate([one for record in records for one in (record.smallest, record.curvatures)])
        if not ends:
            return None
        every = np.concatenate([*ends, others[np.isfinite(others)]])
        kernels = [KERNEL * float(np.abs(end).max()) for end in ends if np.abs(end).any()]
        kernels = kernels or [KERNEL * float(np.abs(every).max()) or 1.0]
        width = sigma or max(min(kernels), NARROWEST * max(kernels))
        reach = [REACH * (sigma or max(KERNEL * one.magnitude, width)) for one in densities]
        lows = [one.lambda_min - far for one, far in zip(densities, reach, strict=True)]
        highs = [one.lambda_max + far / 2 for one, far in zip(densities, reach, strict=True)]
        ups = np.arcsinh(np.array([min([float(every.min()), *lows]), max([float(every.max()), *highs])]) / width)
        margin = 0.02 * float(np.ptp(ups)) or 1.0
        found = cls(width, np.sinh(np.linspace(ups[0] - margin, ups[1] + margin, rows)) * width, 1.0, sigma)
        top = max((float(found.heights(density).max()) for density in densities), default=1.0)
        return cls(width, found.x, max(top, 2.0), sigma)

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the axis."""
        return float(self.x[0]), float(self.x[-1])

    def kernel(self, density: SpectralDensity) -> float:
        """Kernel width of a density."""
        return self.sigma or max(KERNEL * density.magnitude, self.width)

    def one(self, density: SpectralDensity) -> float:
        """Height of one eigenvalue, per unit of λ."""
        return 1 / (density.n * self.kernel(density) * sqrt(2 * pi))

    def heights(self, density: SpectralDensity) -> Array:
        """The density on the axis, in heights of one eigenvalue, ``(rows,)``."""
        return np.asarray(density.pdf(self.x, self.kernel(density)) / self.one(density))

    def image(self, record: PathProfile) -> Array:
        """The heights at all points, ``(rows, p)``; NaN where there is no eigenvalue, or no density."""
        columns = [
            np.full(len(self.x), np.nan) if density is None else self.heights(density)
            for density in densities_of(record)
        ]
        found = np.stack(columns, axis=1)
        return np.where(found < FLOOR, np.nan, found)


def densities_of(record: PathProfile) -> list[SpectralDensity | None]:
    """The density at each point, None where there is no finite one; an empty list if none was asked for."""
    found: list[SpectralDensity | None] = []
    for density in record.densities:
        sound = len(density.nodes) > 0 and np.isfinite(density.nodes).all() and np.isfinite(density.weights).all()
        found.append(density if sound else None)
    return found
