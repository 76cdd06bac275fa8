"""A path between two minima as numbers: its ends, what bends it, and how it was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records.record import Array, Record


@dataclass(frozen=True)
class ControlPoints(Record):
    """Everything that a path is made of, as ``path.save(file)`` writes it.

    ``landscape.geometry.Path.of(landscape.load(file))`` is the path again, bit by bit.

    Attributes
    ----------
    path : str
        "linear", "spherical", "bezier", "polygon" or "band".
    end_points : (2, n) float32 or float64
        Theta at both ends.
    controls : (k, n) float32 or float64
        What bends the path: control points of a Bezier curve, corners of a polygonal chain.
    path_source : str
        How the path was made, in words.
    alignment : str
        How the second end was permuted to match the first, "weights" or "activations"; "" if it was not.
    end_names : (2,) text
    first_buffers, second_buffers : dict of arrays
        Batch-norm statistics and the like at the ends.
    parameters : dict
        Name of each trainable parameter → its shape, in the order of theta; empty if unknown.
    origin : (n,) array
        Of a spherical path: the centre of its sphere; otherwise empty.
    n : int
        Number of parameters.
    length : float
        Of the path, Euclidean in parameter space.
    fit_loss : (t,) float64
        Loss while the path was being found, by step; empty if there was nothing to find.
    provenance : dict
    """

    path: str
    end_points: NDArray[Any]
    controls: NDArray[Any]
    path_source: str = ""
    alignment: str = ""
    end_names: NDArray[Any] = field(default_factory=lambda: np.array(["A", "B"]))
    first_buffers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    second_buffers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    origin: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    n: int = 0
    length: float = float("nan")
    fit_loss: Array = field(default_factory=lambda: np.zeros(0))
    provenance: dict[str, Any] = field(default_factory=dict)

    def plot(self, path: str | Path | None = None, **options: Any) -> NoReturn:
        """Refuse: what is found along a path can be drawn.

        Raises
        ------
        InputError
        """
        raise InputError(
            "a path has no picture of its own: compute what lies along it, landscape.interpolate(objective, path), and "
            "draw that"
        )
