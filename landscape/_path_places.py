"""Places on a path as an objective needs them: in its order of parameters, its precision, on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._batch_norm import norms_of
from landscape._ranks import common_point
from landscape.errors import InputError
from landscape.geometry.layout import layout_of
from landscape.geometry.products import norm
from landscape.objective import Objective
from landscape.parallel import Collectives
from landscape.records import Checkpoint

if TYPE_CHECKING:
    from landscape.geometry.path import Path

Array = NDArray[np.float64]


class PathPlaces:
    """Where a path leads.

    Parameters
    ----------
    objective : Objective
    path : Path
        The same on all ranks.

    Attributes
    ----------
    path : Path
        In the objective's order of parameters.
    ends : (Checkpoint, Checkpoint)
    with_buffers : bool
        Whether the ends have the batch-norm statistics that the network uses.

    Raises
    ------
    InputError
        If the path is of another model: which parameter or buffer, which shapes.
    """

    def __init__(self, objective: Objective, path: Path) -> None:
        self.path = path.aligned(layout_of(objective, objective.n))
        self.ends: tuple[Checkpoint, Checkpoint] = self.path.ends
        self._objective = objective
        for end, name in zip(self.ends, path.names, strict=True):
            _check_buffers(objective, end, name)
        self.with_buffers = not missing_statistics(objective, self.ends[0])

    def theta(self, s: float) -> Tensor:
        """The point there, ``(n,)``: a float64 sum that is rounded once; an end as it is."""
        end = self._end(s)
        values = self.path.point(s) if end is None else np.array(end.theta)
        return torch.from_numpy(values).to(self._objective.device, self._objective.dtype)

    def tangent(self, s: float) -> Array:
        """The unit vector from the first end to the second, ``(n,)``."""
        return self.path.tangent(s)

    def buffers(self, s: float) -> dict[str, Tensor]:
        """Buffers of the network between those of the ends."""
        known = self._objective.buffers
        return {
            name: torch.as_tensor(np.array(value)).to(known[name])
            for name, value in self.path.buffers(s).items()
            if name in known
        }

    def distances(self, s: float) -> list[float]:
        """From both ends."""
        point = self.path.point(s)
        return [0.0 if end is self._end(s) else norm(point - end.theta.astype(float)) for end in self.ends]

    def _end(self, s: float) -> Checkpoint | None:
        return {0.0: self.ends[0], 1.0: self.ends[1]}.get(s)


def missing_statistics(objective: Objective, point: Any) -> list[str]:
    """Batch-norm statistics that the network uses and the point does not have."""
    held = getattr(point, "buffers", None) or {}
    needed = [
        f"{name}.{buffer}" if name else buffer
        for name, norm_layer in norms_of(objective._network.module).items()
        for buffer in ("running_mean", "running_var")
        if getattr(norm_layer, buffer) is not None
    ]
    return [name for name in needed if name not in held]


def need_statistics(objective: Objective, point: Any, name: str) -> None:
    """Refuse a point without the batch-norm statistics that the network uses.

    Raises
    ------
    InputError
    """
    missing = missing_statistics(objective, point)
    if missing:
        raise InputError(
            f"{name} has no batch-norm statistics: the network uses {missing[0]!r}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}. Give a checkpoint with its buffers, or "
            "batchnorm='recompute', which takes them from the data at every point"
        )


def same_path_on_all_ranks(path: Path, world: Collectives) -> Path:
    """The path of rank 0, if those of the others lead to the same ends but for rounding (collective)."""
    if len(set(world.all_gather_object(path.digest()))) == 1:
        return path
    for end in path.ends:
        common_point(torch.from_numpy(np.array(end.theta)), world)
    found: Path = world.broadcast_object(path)
    return found


def _check_buffers(objective: Objective, point: Checkpoint, name: str) -> None:
    for buffer, value in point.buffers.items():
        known = objective.buffers.get(buffer)
        if known is not None and tuple(np.shape(value)) != tuple(known.shape):
            raise InputError(
                f"the objective and {name} are of different models: buffer {buffer!r} has shape {tuple(known.shape)} "
                f"in the objective, but {tuple(np.shape(value))} in {name}"
            )
