"""Sharpness along a training, beside what the optimizer can bear."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from landscape.records.record import Array, Record


@dataclass(frozen=True)
class Stability(Record):
    """The largest curvature that an optimizer meets, step by step, and the threshold of its linear stability.

    Attributes
    ----------
    steps : (t,) int64
        Optimizer steps before each measurement.
    sharpness : (t,) float64
        Largest eigenvalue of the curvature in the optimizer's metric that some products from the last eigenvector and
        a random part have found.
    residuals : (t,) float64
        ``‖Av - λv‖``: within it of the sharpness lies an eigenvalue.
    threshold : (t,) float64
        Above it the steps along this direction grow on a quadratic, with the coefficients of that step held fixed.
    gradient_share : (t,) float64
        Share of the squared length of the gradient along this direction.
    learning_rates : (t,) float64
    losses : (t,) float64
        As they were told, NaN where none was.
    optimizer, operator : str
        Class of the optimizer, name of the operator.
    rule : str
        Formula of the threshold.
    overhead : float
        Time of the measurements over that of the training.
    products : int
    seconds : float
        Time of the measurements.
    provenance : dict
    """

    figure: ClassVar[str] = "stability"

    steps: NDArray[np.int64]
    sharpness: Array
    residuals: Array
    threshold: Array
    gradient_share: Array
    learning_rates: Array
    losses: Array
    optimizer: str = ""
    operator: str = "hessian"
    rule: str = ""
    overhead: float = float("nan")
    products: int = 0
    seconds: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def ratio(self) -> Array:
        """Sharpness over threshold, ``(t,)``: 1 is the edge of stability."""
        return self.sharpness / self.threshold
