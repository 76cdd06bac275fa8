"""The nudged elastic band: images between two minima that slide down to the path of least loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from landscape._arguments import check_positive, check_whole
from landscape._ranks import refused_together
from landscape.errors import ComputeError, InputError
from landscape.geometry.fast_relaxation import FastRelaxation
from landscape.geometry.layout import layout_of
from landscape.geometry.path import Path
from landscape.geometry.point_loss import PointLoss, done_by_first_rank, of_function, undisturbed
from landscape.geometry.products import dot, norm
from landscape.objective import Objective
from landscape.parallel.tasks import share_tasks

Array = NDArray[np.float64]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Settings:
    """What a relaxation depends on; see :meth:`PolygonalPath.elastic_band`.

    Attributes
    ----------
    spring : float or None
    tol : float
    steps : int
    climb : bool
    batchnorm : str
    """

    spring: float | None
    tol: float
    steps: int
    climb: bool
    batchnorm: str


def relaxed(start: Path, objective: Objective, settings: Settings, progress: Progress | None) -> Path:
    """The band that slides down from a chain of images (collective); see :meth:`PolygonalPath.elastic_band`.

    Parameters
    ----------
    start : PolygonalPath
        Its corners are the first images.
    objective, settings, progress
        As for :meth:`PolygonalPath.elastic_band`.
    """
    if not isinstance(objective, Objective):
        raise InputError(f"an elastic band needs the landscape.Objective of its loss, not {type(objective).__name__}")
    objective.grid.meet("PolygonalPath.elastic_band")
    world = objective.grid.world
    prepared: list[tuple[Path, PointLoss]] = []

    def prepare() -> None:
        _check(settings)
        path = start.aligned(layout_of(objective, objective.n))
        prepared.append((path, PointLoss(objective, settings.batchnorm)))

    refused_together(prepare, world)
    # Ends that differ by rounding between ranks are those of the first one everywhere.
    record = world.broadcast_object(prepared[0][0].record())
    path, walker = Path.of(record), prepared[0][1]
    images, highest, force = _slide(path, walker, settings, progress)
    converged = force <= settings.tol
    words = (
        f"nudged elastic band of {len(images) - 2} images from {path.names[0]} to {path.names[1]}, "
        f"{'relaxed' if converged else 'not relaxed'} in {len(highest) - 1} steps"
    )
    configuration = {
        **of_function(objective),
        "path": "band",
        "controls": len(images) - 2,
        **asdict(settings),
        "batchnorm": walker.batchnorm,
    }
    facts = {"configuration": configuration, "grid": objective.grid.describe(), "converged": converged, "force": force}
    band = replace(
        record,
        path="band",
        path_source=words,
        controls=images[1:-1],
        length=math.nan,
        fit_loss=highest,
        provenance=facts,
    )
    return Path.of(band).aligned(start.layout)


def _slide(path: Path, walker: PointLoss, settings: Settings, progress: Progress | None) -> tuple[Array, Array, float]:
    """Images, highest losses and the force that is left: tasks in rounds, and the first rank moves (collective)."""
    world = walker.objective.grid.world
    images: Array = np.stack([anchor.astype(float) for anchor in path.anchors()])
    last = len(images) - 1
    band = _Band(images, settings)
    rows = [0, last, *range(1, last)]
    while True:
        found: dict[int, tuple[float, Array]] = {}
        work = partial(_loss_and_gradient, path, walker, images)
        share_tasks(rows, work, world, found.__setitem__)
        images, moving = done_by_first_rank(partial(band.advance, found, progress), world)
        if not moving:
            return world.broadcast_object((images, np.array(band.highest), band.left))
        rows = list(range(1, last))


def _loss_and_gradient(path: Path, walker: PointLoss, images: Array, row: int) -> tuple[float, Array]:
    """Over all data at one image."""
    with undisturbed(walker.objective):
        walker.move(torch.from_numpy(images[row]), path.buffers(row / (len(images) - 1)))
        return walker.of_all()


def tangents(images: Array, losses: Array) -> Array:
    """Unit tangents at the inner images of a band (Henkelman and Jónsson, 2000).

    Towards the neighbour with the higher loss; at a maximum or minimum both directions, weighted so that one turns into
    the other without a jump.

    Parameters
    ----------
    images : (k + 2, n) float64
        With both ends.
    losses : (k + 2,) float64

    Returns
    -------
    (k, n) float64

    Examples
    --------
    >>> tangents(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0.0, 1.0, 2.0])).tolist()
    [[0.0, 1.0]]
    """
    result = np.empty((len(images) - 2, images.shape[1]))
    for row in range(1, len(images) - 1):
        forward, backward = images[row + 1] - images[row], images[row] - images[row - 1]
        before, here, after = losses[row - 1 : row + 2]
        if before < here < after:
            tangent = forward
        elif before > here > after:
            tangent = backward
        else:
            more, less = max(abs(after - here), abs(before - here)), min(abs(after - here), abs(before - here))
            if more == 0:  # flat on both sides
                more = less = 1.0
            tangent = forward * more + backward * less if after > before else forward * less + backward * more
        result[row - 1] = tangent / norm(tangent)
    return result


def evenly_spaced(images: Array) -> Array:
    """The same chain with its images at equal distances along it; the ends stay.

    Examples
    --------
    >>> evenly_spaced(np.array([[0.0], [1.0], [4.0]])).tolist()
    [[0.0], [2.0], [4.0]]
    """
    lengths = [norm(after - before) for before, after in pairwise(images)]
    reached = np.append(0.0, np.cumsum(lengths))
    result = images.copy()
    for row in range(1, len(images) - 1):
        wanted = reached[-1] * row / (len(images) - 1)
        piece = int(np.clip(np.searchsorted(reached, wanted, "right") - 1, 0, len(lengths) - 1))
        share = (wanted - reached[piece]) / lengths[piece] if lengths[piece] else 0.0
        result[row] = (1 - share) * images[piece] + share * images[piece + 1]
    return result


class _Band:
    """Images of a band with what is known at them, on the first rank."""

    def __init__(self, images: Array, settings: Settings) -> None:
        self.images, self.settings = images.copy(), settings
        self.highest: list[float] = []
        self.left, self._scale = math.nan, math.nan
        self._losses = np.full(len(images), np.nan)
        self._gradients = np.zeros_like(images)
        spacing = float(np.mean([norm(after - before) for before, after in pairwise(images)]))
        self._motion = FastRelaxation((len(images) - 2, images.shape[1]), spacing)

    def advance(self, found: dict[int, tuple[float, Array]], progress: Progress | None) -> tuple[Array, bool]:
        """Take note of losses and gradients, and move; the images, and whether they moved."""
        for row, (loss, gradient) in sorted(found.items()):
            if not (math.isfinite(loss) and np.isfinite(gradient).all()):
                raise ComputeError(
                    f"the loss became NaN or infinite at image {row} after {len(self.highest)} steps: look at the "
                    "straight line with landscape.interpolate, and begin elsewhere with start=path"
                )
            self._losses[row], self._gradients[row] = loss, gradient
        if not self.highest:
            self._scale = max(norm(one) for one in self._gradients)
        across, along = self._forces()
        self.left = max(norm(force) for force in across) / self._scale if self._scale else 0.0
        self.highest.append(float(self._losses.max()))
        if progress is not None:
            words = f"highest loss {self.highest[-1]:.4g}, force {self.left:.2g}"
            progress(len(self.highest) - 1, self.settings.steps, words)
        if self.left <= self.settings.tol or len(self.highest) > self.settings.steps:
            return self.images, False
        self.images[1:-1] += self._motion.step(across + along)
        if self.settings.spring is None:
            self._space_evenly()
        return self.images, True

    def _forces(self) -> tuple[Array, Array]:
        """Down the loss across the band, and of the springs along it: (k, n) each."""
        directions = tangents(self.images, self._losses)
        across, along = np.empty_like(directions), np.zeros_like(directions)
        top = int(np.argmax(self._losses[1:-1]))
        for row, direction in enumerate(directions):
            gradient = self._gradients[row + 1]
            slope = dot(gradient, direction)
            across[row] = slope * direction - gradient
            if self.settings.climb and row == top:
                # Up along the band, without springs (Henkelman, Uberuaga and Jónsson, 2000).
                across[row] += slope * direction
            elif self.settings.spring is not None:
                before, here, after = self.images[row : row + 3]
                along[row] = self.settings.spring * (norm(after - here) - norm(here - before)) * direction
        return across, along

    def _space_evenly(self) -> None:
        """Infinitely stiff springs (Draxler et al., 2018); the climbing image stays where it is."""
        if not self.settings.climb:
            self.images = evenly_spaced(self.images)
            return
        top = 1 + int(np.argmax(self._losses[1:-1]))
        before, after = evenly_spaced(self.images[: top + 1]), evenly_spaced(self.images[top:])
        self.images = np.concatenate([before, after[1:]])


def _check(settings: Settings) -> None:
    check_positive("tol", settings.tol)
    check_whole("steps", settings.steps, 1)
    if settings.spring is not None:
        check_positive("spring", settings.spring)
    if not isinstance(settings.climb, bool):
        raise InputError(f"climb must be True or False, not {settings.climb!r}")
