"""The loss of each of several parts of the data, from the same pass that gives the mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._data import Batch
from landscape._evaluation import Evaluator, Watch
from landscape.objective import Objective

Array = NDArray[np.float64]

RANDOM, BATCHES = "random parts of the samples", "micro-batches"


class PartLosses:
    """Loss, metrics and the losses of m parts of the data at any point, by this rank alone.

    Samples are dealt to the parts at random, so that an order in the data, such as by class, does not matter. Where the
    losses of single samples cannot be seen (``loss(model, batch)``, statistics of micro-batches), the parts are the
    micro-batches.

    Parameters
    ----------
    objective : Objective
    evaluator : Evaluator
        Of the same objective.
    count : int
        Most parts.
    seed : int
        Of the dealing.
    by_sample : bool
        False: the parts are the micro-batches.

    Attributes
    ----------
    weights : (m,) float64
        What each part counts in the mean.
    kind : str
        What the parts are.
    """

    def __init__(self, objective: Objective, evaluator: Evaluator, count: int, seed: int, by_sample: bool) -> None:
        self._objective, self._evaluator = objective, evaluator
        self._of_samples: list[Array] = []
        self.kind = RANDOM if by_sample and not objective.opaque and self._fits(evaluator) else BATCHES
        if self.kind == RANDOM:
            shares = np.concatenate([objective.shares(group.batch).numpy() for group in evaluator._groups])
            counted = np.flatnonzero(shares > 0)
            count = min(count, len(counted))
            order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(counted))
            self._part = np.full(len(shares), -1)
            self._part[counted[order]] = np.arange(len(counted)) % count
            self.weights = np.array([math.fsum(shares[self._part == part]) for part in range(count)])
        else:
            self.weights = np.array([group.denominator for group in evaluator._groups if group.counted])

    def at(
        self, theta: Tensor, buffers: Mapping[str, Tensor] | None = None, watch: Watch | None = None
    ) -> tuple[list[float], list[float]]:
        """Loss with metrics, and the losses of the parts; NaN or inf where there is no value.

        Someone else may watch the same pass.
        """

        def see(output: Any, batch: Batch, numerator: float, counted: bool) -> None:
            self._see(output, batch, numerator, counted)
            if watch is not None:
                watch(output, batch, numerator, counted)

        self._of_samples.clear()
        self._evaluator.watch = see
        try:
            found = self._evaluator.evaluate(theta, buffers)
        finally:
            self._evaluator.watch = None
        if not self._of_samples or not math.isfinite(found[0]):
            return found, [math.nan] * len(self.weights)
        losses = np.concatenate(self._of_samples)
        if self.kind == RANDOM:
            losses = np.array([math.fsum(losses[self._part == part]) for part in range(len(self.weights))])
        decay = 0.5 * self._objective.weight_decay * float(torch.sum(theta.double() ** 2))
        return found, (losses / self.weights + decay).tolist()

    def _see(self, output: Any, batch: Batch, numerator: float, counted: bool) -> None:
        """Keep what a pass says of its samples."""
        if self.kind == RANDOM:
            self._of_samples.append(self._objective.per_sample(output, batch).detach().double().cpu().numpy())
        elif counted:
            self._of_samples.append(np.array([numerator]))

    def _fits(self, evaluator: Evaluator) -> bool:
        """Whether the losses of single samples can be computed, and add up to that of all."""
        objective, seen = self._objective, list[tuple[float, float]]()
        self.kind = RANDOM

        def compare(output: Any, batch: Batch, numerator: float, counted: bool) -> None:
            each = objective.per_sample(output, batch).double()
            if len(each) != len(objective.shares(batch)):
                raise ValueError("other samples count in the denominator")
            seen.append((float(each.sum()), numerator))

        evaluator.watch = compare
        try:
            evaluator.evaluate(objective.theta, objective.buffers)
        except Exception:  # the user's loss on one sample: anything may happen, and micro-batches remain
            return False
        finally:
            evaluator.watch = None
        return all(abs(one - other) <= 1e-4 * max(abs(one), abs(other), 1e-30) for one, other in seen)
