"""The quadratic model of the loss in a plane, from the gradient and the curvature at its origin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from landscape.curvature import Hessian
from landscape.errors import ComputeError, InputError
from landscape.geometry import Plane
from landscape.geometry.products import product
from landscape.objective import Objective

Array = NDArray[np.float64]
# Relative difference of two losses of one function at one point, computed in different orders.
SAME_LOSS = 1e-4


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


@dataclass(frozen=True)
class Eigenvalues:
    """Curvature along unit eigenvectors of the Hessian of an objective with this loss.

    Attributes
    ----------
    values : (k,) float64
    loss : float
    """

    values: Array
    loss: float


def known_eigenvalues(plane: Plane, objective: Objective, batchnorm: str) -> Eigenvalues | None:
    """The eigenvalues that a plane knows, if they are those of this objective with these batch-norm statistics."""
    facts = plane.curvature_of
    same = (facts.get("data_sha256"), facts.get("weight_decay")) == (objective.data_digest, objective.weight_decay)
    if plane.kind != "eigenvectors" or batchnorm not in ("eval", "none") or not same:
        return None
    return Eigenvalues(np.asarray(plane.curvature, float), float(facts["loss"]))


def quadratic(objective: Objective, directions: Array, known: Eigenvalues | None = None) -> Quadratic | None:
    """The model along some directions (collective); None where the loss has no derivatives.

    Parameters
    ----------
    objective : Objective
        At the origin.
    directions : (k, n) array
    known : Eigenvalues, optional
        Used if the directions are their eigenvectors and the loss is theirs; otherwise one Hessian product per
        direction finds the curvature.
    """
    try:
        loss = objective.loss()
        slope = objective.gradient().double().cpu().numpy()
        rows = np.array(directions, dtype=np.float64)
        if known is None or not math.isclose(known.loss, loss, rel_tol=SAME_LOSS):
            hessian = Hessian(objective)
            columns = torch.from_numpy(rows).T.to(hessian.device, hessian.dtype).contiguous()
            square = product(rows, (hessian @ columns).double().cpu().numpy())
            square = (square + square.T) / 2
        else:
            square = np.diag(known.values)
        return Quadratic(loss, product(rows, slope[:, None])[:, 0], square)
    except (InputError, ComputeError):
        return None
