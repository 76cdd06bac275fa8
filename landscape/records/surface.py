"""Loss and metrics on a grid of a plane, with the runs that are drawn on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from landscape.records.record import Array, Record


@dataclass(frozen=True)
class PathOnSurface:
    """One recorded run, projected onto a plane.

    Attributes
    ----------
    name : str
    steps : (t,) int64
    coordinates : (t, 2) float64
        Of the orthogonal projections onto the plane.
    loss : (t,) float64
        At the checkpoints themselves, with their own buffers: the true loss.
    projected_loss : (t,) float64
        At their projections, with the buffers of the plane's origin: the height of the surface there.
    distance : (t,) float64
        From the plane, in parameter space.
    cosine : (t,) float64
        Between the steps before and after each checkpoint; NaN at the ends.
    threshold : (t,) float64
        Largest sharpness at which the recorded optimizer is stable; NaN where no threshold is right.
    sha256 : str
        Of its checkpoints, which tells runs of the same name apart; "" if it is not known.
    """

    name: str
    steps: NDArray[np.int64]
    coordinates: Array
    loss: Array
    projected_loss: Array
    distance: Array
    cosine: Array = field(default_factory=lambda: np.zeros(0))
    threshold: Array = field(default_factory=lambda: np.zeros(0))
    sha256: str = ""


@dataclass(frozen=True)
class Surface(Record):
    """Loss (and metrics) at ``origin + x · directions[0] + y · directions[1]``.

    A point where the loss is NaN or infinite is a hole: it stays as it is, here and in figures.

    Attributes
    ----------
    x, y : (nx,), (ny,) float64
        Coordinates in the unit of ``unit``, ascending.
    loss : (ny, nx) float64
    metrics : dict of (ny, nx) float64
        Of the objective, such as "accuracy"; and what was asked for beside it: "gradient_norm", "lambda_max",
        "test_loss", "test_accuracy".
    evaluated : (ny, nx) bool
        Where the loss was computed; elsewhere it was interpolated. Default: everywhere.
    loss_error : (ny, nx) float64
        Estimated error of an interpolated loss, 0 where it was computed.
    model : (ny, nx) float64
        Loss of the quadratic model at the origin, from gradient and eigenpairs; (0, 0) if there is none.
    plane : str
        How the directions were chosen: "pca", "eigenvectors", "random" or "points".
    axes : (2,) text
        Their names, such as "pca_1".
    axis_sources : (2,) text
        Where each of them comes from, such as "eigenvector 1 of the Hessian, λ = 12.3, residual 1e-06"; "" if unknown.
    unit : str
        What 1 means on the axes.
    explained_variance, explained_variance_null : (2,) float64
        Share of the runs' variance along each axis, and what random walks of the same step lengths would give; NaN for
        planes of another kind.
    curvature : (2,) float64
        Second derivative of the loss along each axis where it is known (eigenvector planes), else NaN.
    anchor_names : (a,) text
        Points that the plane was made of, the origin first.
    anchor_coordinates : (a, 2) float64
    anchor_loss : (a,) float64
        At the anchors.
    path_names : (r,) text
        Recorded runs.
    path_run, path_step : (t,) int64
        Of each checkpoint of all runs: which run, and its step.
    path_coordinates : (t, 2) float64
    path_loss, path_projected_loss, path_recorded_loss : (t,) float64
        True loss, loss at the projection, and what the recorder was told.
    path_distance : (t,) float64
        Distance of each checkpoint from the plane.
    path_cosine : (t,) float64
        Cosine between the steps to a checkpoint and from it, NaN at the ends of a run.
    path_threshold : (t,) float64
        Largest sharpness at which the optimizer as recorded there is stable, NaN where no threshold is right.
    n : int
        Number of parameters.
    parameters : str
        Which parameters the directions were restricted to, as they were chosen; "" means all.
    batchnorm : str
        What batch norm used: "eval" means the statistics of the origin, "recompute" those of the data at each point,
        "batch" those of each micro-batch, "none" that there are none.
    theta_sha256 : str
        Digest of the origin.
    evaluations : int
        Points at which the loss was computed, the runs' among them.
    seconds : float
    provenance : dict

    Examples
    --------
    >>> bowl = Surface(x=np.array([-1.0, 0, 1]), y=np.array([0.0, 1]), loss=np.array([[1.0, 0, 1], [2, 1, 2]]))
    >>> bowl.lowest
    (0.0, 0.0, 0.0)
    """

    figure: ClassVar[str] = "contour"

    x: Array
    y: Array
    loss: Array
    metrics: Mapping[str, Array] = field(default_factory=dict)
    plane: str = "points"
    axes: NDArray[Any] = field(default_factory=lambda: np.array(["direction_1", "direction_2"]))
    unit: str = "distance in parameter space"
    explained_variance: Array = field(default_factory=lambda: np.full(2, np.nan))
    explained_variance_null: Array = field(default_factory=lambda: np.full(2, np.nan))
    curvature: Array = field(default_factory=lambda: np.full(2, np.nan))
    axis_sources: NDArray[Any] = field(default_factory=lambda: np.array(["", ""]))
    evaluated: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))
    loss_error: Array = field(default_factory=lambda: np.zeros((0, 0)))
    model: Array = field(default_factory=lambda: np.zeros((0, 0)))
    anchor_names: NDArray[Any] = field(default_factory=lambda: np.zeros(0, "U1"))
    anchor_coordinates: Array = field(default_factory=lambda: np.zeros((0, 2)))
    anchor_loss: Array = field(default_factory=lambda: np.zeros(0))
    path_names: NDArray[Any] = field(default_factory=lambda: np.zeros(0, "U1"))
    path_run: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    path_step: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    path_coordinates: Array = field(default_factory=lambda: np.zeros((0, 2)))
    path_loss: Array = field(default_factory=lambda: np.zeros(0))
    path_projected_loss: Array = field(default_factory=lambda: np.zeros(0))
    path_recorded_loss: Array = field(default_factory=lambda: np.zeros(0))
    path_distance: Array = field(default_factory=lambda: np.zeros(0))
    path_cosine: Array = field(default_factory=lambda: np.zeros(0))
    path_threshold: Array = field(default_factory=lambda: np.zeros(0))
    n: int = 0
    parameters: str = ""
    batchnorm: str = "eval"
    theta_sha256: str = ""
    evaluations: int = 0
    seconds: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Files of earlier versions, and makers of small examples, leave these out.
        for name, shape, value in (
            ("evaluated", self.loss.shape, True),
            ("loss_error", self.loss.shape, 0.0),
            ("path_cosine", self.path_step.shape, np.nan),
            ("path_threshold", self.path_step.shape, np.nan),
        ):
            if getattr(self, name).size == 0:
                object.__setattr__(self, name, np.full(shape, value))

    @property
    def model_error(self) -> Array:
        """The loss minus that of the quadratic model, ``(ny, nx)``; NaN where the loss was not computed."""
        if self.model.size == 0:
            return np.full(self.loss.shape, np.nan)
        return np.where(self.evaluated, self.loss - self.model, np.nan)

    @property
    def paths(self) -> tuple[PathOnSurface, ...]:
        """The runs, one by one."""
        found = []
        digests = self.provenance.get("configuration", {}).get("runs", ())
        if len(digests) != len(self.path_names):
            digests = [""] * len(self.path_names)
        for index, name in enumerate(self.path_names):
            mine = self.path_run == index
            found.append(
                PathOnSurface(
                    str(name),
                    self.path_step[mine],
                    self.path_coordinates[mine],
                    self.path_loss[mine],
                    self.path_projected_loss[mine],
                    self.path_distance[mine],
                    self.path_cosine[mine],
                    self.path_threshold[mine],
                    str(digests[index]),
                )
            )
        return tuple(found)

    @property
    def lowest_is_on_the_edge(self) -> bool:
        """Whether the lowest grid point is on the border, so that lower ones may lie outside."""
        x, y, _ = self.lowest
        return x in (self.x[0], self.x[-1]) or y in (self.y[0], self.y[-1])

    @property
    def holes(self) -> int:
        """Number of grid points without a finite loss."""
        return int((~np.isfinite(self.loss)).sum())

    @property
    def lowest(self) -> tuple[float, float, float]:
        """x, y and loss of the lowest grid point that was computed; NaN if there is no finite one."""
        known = np.isfinite(self.loss) & self.evaluated
        if not known.any():
            return float("nan"), float("nan"), float("nan")
        row, column = np.unravel_index(np.argmin(np.where(known, self.loss, np.inf)), self.loss.shape)
        return float(self.x[column]), float(self.y[row]), float(self.loss[row, column])
