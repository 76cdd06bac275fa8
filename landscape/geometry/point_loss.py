"""Loss and gradient at points of a path while it is being found: by one rank, on one network that moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._batch_norm import norms_of
from landscape._data import Batch, batch_size, in_words
from landscape.errors import InputError, LandscapeError
from landscape.objective import Objective
from landscape.parallel import Collectives
from landscape.parallel.threads import one_thread

Array = NDArray[np.float64]
Result = TypeVar("Result")

# batch: statistics of each mini-batch, as in training; eval: those that are given with the point.
MODES = ("batch", "eval")


class PointLoss:
    """A private copy of an objective's network that is put at one point after the other.

    Parameters
    ----------
    objective : Objective
        It is unchanged.
    batchnorm : "batch" or "eval"

    Attributes
    ----------
    batchnorm : str
        "none" if the network has no batch norm.

    Raises
    ------
    InputError
        If there is no such mode.
    """

    def __init__(self, objective: Objective, batchnorm: str) -> None:
        if batchnorm not in MODES:
            raise InputError(
                f"batchnorm must be one of {', '.join(MODES)} while a path is being found, not {batchnorm!r}; "
                "statistics of all data at its points are for interpolate(objective, path, batchnorm='recompute')"
            )
        self.objective = objective
        self._model = objective.model()
        norms = norms_of(self._model)
        self.batchnorm = batchnorm if norms else "none"
        for norm in norms.values():
            norm.train(batchnorm == "batch")
        self._theta = objective.theta.detach().clone()
        parts = objective.variables(self._theta)
        self._parameters = [value for value in self._model.parameters() if value.requires_grad]
        # Views of one vector, which is written in place.
        for name, value in self._model.named_parameters():
            if name in parts:
                value.data = parts[name]

    def move(self, theta: Tensor, buffers: Mapping[str, NDArray[Any]]) -> None:
        """Go to a point, (n,), with its buffers; buffers that are not given stay."""
        self._theta.copy_(theta)
        with torch.no_grad():
            for name, buffer in self._model.named_buffers():
                if name in buffers:
                    buffer.copy_(torch.as_tensor(buffers[name]))

    def of_batch(self, batch: Batch) -> tuple[float, Tensor]:
        """Mean loss of a batch there, and its gradient (n,)."""
        try:
            value = self.objective.batch_loss(self._model, batch)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else ""
            raise InputError(
                f"the model or the loss fails on a batch of {in_words(batch)} with batchnorm={self.batchnorm!r}: "
                f"{type(error).__name__}: {reason}"
            ) from error
        gradients = torch.autograd.grad(value, self._parameters, allow_unused=True, materialize_grads=True)
        return value.item(), torch.cat([gradient.reshape(-1) for gradient in gradients])

    def of_all(self) -> tuple[float, Array]:
        """Mean loss over all data there, and its gradient (n,) float64; the micro-batches in their order."""
        losses, gradient = list[float](), torch.zeros_like(self._theta, dtype=torch.float64)
        objective = self.objective.on(self.objective.grid.alone())
        for _, batch, denominator in objective.mine():
            loss, slope = self.of_batch(batch)
            losses.append(loss * denominator)
            gradient += slope.double() * denominator
        total = math.fsum(losses) if all(map(math.isfinite, losses)) else math.nan
        return total / objective.denominator, (gradient / objective.denominator).cpu().numpy()

    def has_statistics(self, batch: Batch) -> bool:
        """Whether a mini-batch is large enough for statistics of its own, if it needs them."""
        return self.batchnorm != "batch" or batch_size(batch) > 1


@contextmanager
def undisturbed(objective: Objective) -> Iterator[None]:
    """One thread, whose sums have one order; derivatives on; the caller's random numbers as they were."""
    devices = [objective.device.index or 0] if objective.device.type == "cuda" else []
    with one_thread(), torch.random.fork_rng(devices=devices), objective.scope():
        yield


def done_by_first_rank(work: Callable[[], Result], ranks: Collectives) -> Result:
    """What the first rank gets, on all of them; an error of ours is raised on all of them, too (collective)."""
    found: tuple[Result | None, LandscapeError | None] = (None, None)
    if ranks.rank == 0:
        try:
            found = work(), None
        except LandscapeError as error:
            found = None, error
    result, failure = ranks.broadcast_object(found)
    if failure is not None:
        raise failure
    return result


def of_function(objective: Objective) -> dict[str, Any]:
    """What identifies the function of an objective, without its point, which plays no role here (collective)."""
    return {name: value for name, value in objective.describe().items() if name not in ("loss", "theta_sha256")}
