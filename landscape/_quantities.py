"""Derivatives of the loss at a grid point: the norm of its gradient, the largest eigenvalue of its Hessian."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from landscape.curvature import Hessian
from landscape.eigen import settings_for, solve
from landscape.errors import ComputeError, InputError
from landscape.objective import Objective

# What can be asked for → the names of its values.
QUANTITIES = {"gradient_norm": ("gradient_norm",), "lambda_max": ("lambda_max", "lambda_max_residual")}
# A colour on a map needs no more; eigenpairs(tol=1e-3) is for numbers.
TOLERANCE = 1e-2
# Of a cold Lanczos run: the largest eigenvalue of trained networks takes some ten.
MOST_PRODUCTS = 40


class Quantities:
    """Some quantities at any point, by this rank alone; every run is cold, so that no order of points matters.

    Parameters
    ----------
    objective : Objective
        Not collective: its grid is not used.
    chosen : sequence of str
        Of :data:`QUANTITIES`.

    Raises
    ------
    InputError
        If one is unknown; the message lists them.
    """

    def __init__(self, objective: Objective, chosen: Sequence[str]) -> None:
        unknown = [name for name in chosen if name not in QUANTITIES]
        if unknown:
            raise InputError(f"quantity {unknown[0]!r} is unknown; there are {', '.join(QUANTITIES)}")
        self._objective = objective.on(objective.grid.alone())
        self._chosen = [name for name in QUANTITIES if name in chosen]
        self.names = [value for name in self._chosen for value in QUANTITIES[name]]

    def at(self, theta: Tensor, buffers: Mapping[str, Tensor] | None = None) -> list[float]:
        """Values in the order of ``names``; NaN where the loss has no derivative.

        Batch-norm statistics count as constants.
        """
        if not self.names:
            return []
        try:
            there = self._objective.at(theta, buffers)
            return [value for name in self._chosen for value in _COMPUTED[name](there)]
        except (InputError, ComputeError):  # NaN or inf in theta, in the gradient or in a product
            return [math.nan] * len(self.names)


def _gradient_norm(objective: Objective) -> list[float]:
    slope = objective.gradient().double()
    return [float(torch.linalg.vector_norm(slope))]


def _lambda_max(objective: Objective) -> list[float]:
    hessian = Hessian(objective)
    settings = settings_for(hessian, 1, "largest", TOLERANCE, min(MOST_PRODUCTS, max(objective.n, 2)), None, 0)
    pairs, _ = solve(hessian, {**settings, "check": False})
    return [float(pairs.values[0]), float(pairs.residuals[0])] if len(pairs) else [math.nan, math.nan]


_COMPUTED = {"gradient_norm": _gradient_norm, "lambda_max": _lambda_max}
