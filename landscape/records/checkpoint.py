"""One point of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[Any]


@dataclass(frozen=True)
class Checkpoint:
    """Parameters, buffers and optimizer facts at one step of a run; ``objective.at(checkpoint)`` goes there.

    Attributes
    ----------
    theta : (n,) float32 or float64
        The trainable parameters, flattened in the order of ``names``.
    buffers : dict of arrays
        Batch-norm statistics and the like, by name.
    names, shapes : tuples
        Of the parameters that theta is made of.
    step : int
        Optimizer steps done before.
    loss : float
        As it was recorded, NaN if it was not.
    learning_rate : float
        Of the optimizer's first parameter group at that moment, NaN if unknown.
    momentum, second_moment : (n,) arrays, optional
        The optimizer's state, where it has one.
    """

    theta: Vector
    buffers: Mapping[str, Vector] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    step: int = 0
    loss: float = float("nan")
    learning_rate: float = float("nan")
    momentum: Vector | None = None
    second_moment: Vector | None = None

    @property
    def n(self) -> int:
        """Number of parameters."""
        return int(np.size(self.theta))
