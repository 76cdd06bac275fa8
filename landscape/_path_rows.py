"""Numbers of a place on a path: losses of the data, derivatives along the path, distances from its ends."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._data_parts import PartLosses
from landscape._evaluation import Evaluator
from landscape._outputs import OutputDistances
from landscape._path_places import PathPlaces
from landscape._point_values import PointValues
from landscape.curvature import Hessian
from landscape.errors import InputError, NotFiniteError
from landscape.geometry.products import dot, norm
from landscape.objective import Objective

Array = NDArray[np.float64]


class PathRows:
    """One row of numbers for each place on a path, by this rank alone.

    Parameters
    ----------
    values : PointValues
    parts : PartLosses
        Of the same evaluator.
    places : PathPlaces
    hessian : Hessian, optional
        Prepared, for the derivatives along the path; without it they are not computed.
    """

    def __init__(self, values: PointValues, parts: PartLosses, places: PathPlaces, hessian: Hessian | None) -> None:
        self.values, self.parts, self.places = values, parts, places
        self._hessian = hessian
        self._alone = values.objective.on(values.objective.grid.alone())
        self._outputs: OutputDistances | None = None
        self._both = values.batchnorm == "recompute" and places.with_buffers
        self._widths = {
            "values": values.width,
            "distances": 2,
            "function_distances": 2,
            "derivatives": 0 if hessian is None else 3,
            "unrepaired_loss": int(self._both),
            "parts": len(parts.weights),
        }

    @property
    def width(self) -> int:
        """Numbers per place."""
        return sum(self._widths.values())

    def at(self, s: float) -> list[float]:
        """Everything at a share of the length of the path."""
        outputs = self._compared_outputs()
        theta, buffers = self._there(s)
        outputs.begin()
        found, each = self.values.values_and_parts(theta, buffers, self.parts, outputs.compared)
        found += self.places.distances(s) + outputs.found()
        if self._hessian is not None:
            found += self._derivatives(s, self._hessian) if math.isfinite(found[0]) else [math.nan] * 3
        if self._both:
            found += self.values.fast.evaluate(theta, self.places.buffers(s))[:1]
        return found + each

    def end(self, evaluator: Evaluator, which: int) -> list[float]:
        """Loss and metrics at an end itself, with its own buffers; NaN for the rest, and without buffers."""
        found = self.values.true(evaluator, self.places.ends[which]) if self.places.with_buffers else []
        return found + [math.nan] * (self.width - len(found))

    def objective_at(self, s: float) -> Objective:
        """The objective there, of this rank alone."""
        return self._alone.at(*self._there(s))

    def split(self, rows: Array) -> dict[str, Array]:
        """The columns of many rows by what they are: (p, width) → dict of (p, ·)."""
        edges = np.cumsum(list(self._widths.values()))[:-1]
        return dict(zip(self._widths, np.split(rows, edges, axis=1), strict=True))

    @property
    def outputs_unknown(self) -> str:
        """Why there are no distances between outputs; "" if there are."""
        return self._compared_outputs().why_unknown

    def _there(self, s: float) -> tuple[Tensor, dict[str, Tensor]]:
        theta = self.places.theta(s)
        return theta, self.values.statistics(theta, self.places.buffers(s))

    def _compared_outputs(self) -> OutputDistances:
        """Outputs at both ends, kept by each rank when it needs them first."""
        if self._outputs is None:
            self._outputs, evaluator = OutputDistances(self.values.objective.samples), self.values.fast
            for s in (0.0, 1.0):
                self._outputs.keep()
                evaluator.watch = self._outputs.kept
                try:
                    evaluator.evaluate(*self._there(s))
                finally:
                    evaluator.watch = None
        return self._outputs

    def _derivatives(self, s: float, hessian: Hessian) -> list[float]:
        """Length of the gradient, slope and curvature along the path; NaN where there are none."""
        tangent, there = self.places.tangent(s), self.objective_at(s)
        rounded = torch.from_numpy(tangent).to(there.device, there.dtype)
        try:
            gradient = there.gradient().double().cpu().numpy()
        except NotFiniteError:
            return [math.nan] * 3
        size, slope = norm(gradient), dot(gradient, tangent)
        try:
            image = hessian.of(there).apply(rounded).double().cpu().numpy()
        except NotFiniteError:
            return [size, slope, math.nan]
        except InputError as error:
            raise InputError(f"{error}; or leave the derivatives along the path out (derivatives=False)") from error
        unit = rounded.double().cpu().numpy()
        return [size, slope, dot(unit, image) / dot(unit, unit)]
