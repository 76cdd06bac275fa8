"""The quadratic model of the loss in a plane, from the gradient and the curvature at its origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from landscape.curvature import Hessian
from landscape.errors import ComputeError, InputError
from landscape.geometry.products import product
from landscape.objective import Objective

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quadratic:
    """``loss + slope · z + ½ zᵀ curvature z`` in the coordinates z = (x, y) of a plane.

    Attributes
    ----------
    loss : float
    slope : (k,) float64
    curvature : (k, k) float64
    """

    loss: float
    slope: Array
    curvature: Array

    def on(self, x: Array, y: Array) -> Array:
        """Values on a grid, ``(ny, nx)``."""
        a, b = x[None, :], y[:, None]
        (xx, xy), (_, yy) = self.curvature
        result: Array = (
            self.loss + self.slope[0] * a + self.slope[1] * b + 0.5 * (xx * a * a + 2 * xy * a * b + yy * b * b)
        )
        return result

    def facts(self) -> dict[str, Any]:
        """Plain values, for provenance."""
        return {"loss": self.loss, "slope": self.slope.tolist(), "curvature": self.curvature.tolist()}


def quadratic(objective: Objective, directions: Array, curvature: Array | None = None) -> Quadratic | None:
    """The model along some directions (collective); None where the loss has no derivatives.

    Parameters
    ----------
    objective : Objective
        At the origin.
    directions : (k, n) array
    curvature : (k,) array, optional
        Eigenvalues, if the directions are unit eigenvectors; otherwise one Hessian product per direction finds it.
    """
    try:
        loss = objective.loss()
        slope = objective.gradient().double().cpu().numpy()
        rows = np.array(directions, dtype=np.float64)
        if curvature is None:
            hessian = Hessian(objective)
            columns = torch.from_numpy(rows).T.to(hessian.device, hessian.dtype).contiguous()
            square = product(rows, (hessian @ columns).double().cpu().numpy())
            square = (square + square.T) / 2
        else:
            square = np.diag(np.asarray(curvature, float))
        return Quadratic(loss, product(rows, slope[:, None])[:, 0], square)
    except (InputError, ComputeError):
        return None
