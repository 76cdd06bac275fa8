"""Control points of a curve, trained on mini-batches at random places of it (Garipov et al., NeurIPS 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape._arguments import check_whole
from landscape._data import Batch
from landscape._ranks import refused_together
from landscape.errors import ComputeError, InputError
from landscape.geometry.ends import buffers_between
from landscape.geometry.layout import layout_of
from landscape.geometry.path import Path
from landscape.geometry.point_loss import PointLoss, done_by_first_rank, of_function, undisturbed
from landscape.objective import Objective
from landscape.records.control_points import ControlPoints

Array = NDArray[np.float64]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Progress = Callable[[int, int, str], None]
Kind = TypeVar("Kind", bound=Path)

# Of Adam, falling linearly to zero. With it and 60 epochs no quadratic curve between two digits perceptrons or two
# convolutional nets had a barrier (three pairs each); 0.03 left one between the latter.
LEARNING_RATE = 0.01


def fitted(
    start: Kind,
    objective: Objective,
    optimizer: MakeOptimizer | None,
    epochs: int,
    batch: int,
    seed: int,
    batchnorm: str,
    progress: Progress | None,
) -> Kind:
    """The same kind of curve with control points of low mean loss along it (collective); see :meth:`BezierPath.fit`.

    Parameters
    ----------
    start : Path
        With the control points to begin with.
    objective, optimizer, epochs, batch, seed, batchnorm, progress
        As for :meth:`BezierPath.fit`.
    """
    if not isinstance(objective, Objective):
        raise InputError(f"fit needs the landscape.Objective whose loss should be low, not {type(objective).__name__}")
    objective.grid.meet("Path.fit")
    world = objective.grid.world

    def prepare() -> None:
        for name, value, least in (("epochs", epochs, 1), ("batch", batch, 1), ("seed", seed, 0)):
            check_whole(name, value, least)
        if seed >= 2**64:
            raise InputError(f"seed must be below 2⁶⁴, not {seed}")
        prepared.append((start.aligned(layout_of(objective, objective.n)), PointLoss(objective, batchnorm)))

    prepared: list[tuple[Path, PointLoss]] = []
    refused_together(prepare, world)
    path, walker = prepared[0]

    def train() -> tuple[ControlPoints, str]:
        with undisturbed(objective):
            training = _Training(path, walker, optimizer)
            training.run(epochs, min(batch, objective.samples), seed, progress)
        words = f"{path.source}, trained for {len(training.losses)} steps"
        found = replace(path.record(), controls=training.found(), fit_loss=np.array(training.losses), path_source=words)
        return found, training.words

    record, words = done_by_first_rank(train, world)
    configuration = {
        **of_function(objective),
        "path": record.path,
        "controls": len(record.controls),
        "optimizer": words,
        "epochs": epochs,
        "batch": batch,
        "seed": seed,
        "batchnorm": walker.batchnorm,
    }
    facts = {"configuration": configuration, "grid": objective.grid.describe()}
    return cast(Kind, Path.of(replace(record, provenance=facts)).aligned(start.layout))


class _Training:
    """Control points as parameters of a torch optimizer, in the shapes of those of the network."""

    def __init__(self, path: Path, walker: PointLoss, make: MakeOptimizer | None) -> None:
        self.path, self.walker = path, walker
        self.losses: list[float] = []
        objective = self.objective = walker.objective
        anchors = [torch.tensor(anchor, device=objective.device, dtype=torch.float64) for anchor in path.anchors()]
        self._first, *inner, self._second = anchors
        self._controls = [
            [nn.Parameter(value.clone()) for value in objective.variables(anchor.to(objective.dtype)).values()]
            for anchor in inner
        ]
        self._optimizer = _optimizer(make, [value for control in self._controls for value in control])
        self._scheduled = make is None
        rate = self._optimizer.param_groups[0].get("lr", math.nan)
        self.words = f"{type(self._optimizer).__name__}, lr {float(rate):g}{' falling to 0' if make is None else ''}"

    def run(self, epochs: int, size: int, seed: int, progress: Progress | None) -> None:
        """All steps, each with a mini-batch and a place of its own."""
        enough = self.walker.has_statistics
        steps = epochs * sum(1 for _ in filter(enough, self.objective.mini_batches(size, seed, 0)))
        if not steps:
            raise InputError(
                "no mini-batch has the two samples that statistics of its own need: take a larger batch, more data, or "
                "batchnorm='eval'"
            )
        places = iter(_uniform(steps, seed))
        for epoch in range(epochs):
            for batch in filter(enough, self.objective.mini_batches(size, seed, epoch)):
                if self._scheduled:
                    self._optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - len(self.losses) / steps)
                self.losses.append(self._step(next(places), batch))
                if progress is not None:
                    progress(len(self.losses), steps, f"loss {self.losses[-1]:.4g}")

    def found(self) -> NDArray[Any]:
        """The control points, (k, n)."""
        return np.stack([_flat(control).cpu().numpy() for control in self._controls])

    def _step(self, place: float, batch: Batch) -> float:
        """Move the control points; the loss of the mini-batch at this place before that."""
        seen: list[float] = []

        def closure() -> Tensor:
            seen.append(self._set_gradients(place, batch))
            return torch.tensor(seen[-1], dtype=self.objective.dtype, device=self.objective.device)

        self._optimizer.step(closure)  # type: ignore[arg-type]  # torch itself passes tensors on
        return seen[0]

    def _set_gradients(self, place: float, batch: Batch) -> float:
        weights = self.path.weights(np.array([place]))[0].tolist()
        theta = weights[0] * self._first + weights[-1] * self._second
        for weight, control in zip(weights[1:-1], self._controls, strict=True):
            theta += weight * _flat(control).double()
        self.walker.move(theta, buffers_between(self.path.ends, place))
        loss, gradient = self.walker.of_batch(batch)
        if not (math.isfinite(loss) and bool(torch.isfinite(gradient).all())):
            raise ComputeError(
                f"the loss on the path became NaN or infinite in step {len(self.losses)}, at t = {place:.3f}: take "
                "smaller steps, as with optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.001)"
            )
        for weight, control in zip(weights[1:-1], self._controls, strict=True):
            for value, slope in zip(control, self.objective.variables(weight * gradient).values(), strict=True):
                value.grad = slope
        return loss


def _optimizer(make: MakeOptimizer | None, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if make is None:
        return torch.optim.Adam(parameters, lr=LEARNING_RATE)
    made = make(parameters) if callable(make) else make
    if not isinstance(made, torch.optim.Optimizer):
        raise InputError(
            "optimizer must be a function that makes a torch optimizer of the control points, as in optimizer=lambda "
            f"parameters: torch.optim.SGD(parameters, lr=0.1), not {type(made).__name__}"
        )
    if {id(value) for group in made.param_groups for value in group["params"]} != set(map(id, parameters)):
        raise InputError(
            "the optimizer must be made of the parameters that it is given: the control points, all of them"
        )
    return made


def _uniform(count: int, seed: int) -> list[float]:
    """Numbers uniform in [0, 1), from the raw Philox stream, whose bits no version of NumPy changes."""
    # Mini-batches take the streams of the same key whose counter begins with small numbers at the other end.
    bits = np.random.Philox(key=[seed, 0], counter=[0, 0, 1, 0]).random_raw(count)
    return ((bits >> np.uint64(11)) * 2.0**-53).tolist()


def _flat(parts: list[nn.Parameter]) -> Tensor:
    return torch.cat([part.detach().reshape(-1) for part in parts])
