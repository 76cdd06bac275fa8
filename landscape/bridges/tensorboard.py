"""A hook that writes the curvature of a training to TensorBoard: sharpness, its threshold, eigenvalues, density."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor, nn

from landscape._arguments import check_whole
from landscape.bridges.measurement import Measurement
from landscape.errors import InputError
from landscape.objective import Objective
from landscape.records import EigenPairs, SpectralDensity
from landscape.render import theme
from landscape.stability_monitor import StabilityMonitor
from landscape.trajectory.optimizer_facts import learning_rate

BUCKETS = 60  # of a histogram: about what TensorBoard draws
WRITES = ("add_scalar", "add_image", "add_histogram_raw")
ROWS = ("sharpness", "threshold", "gradient_share")


class TensorBoardHook:
    """Writes the curvature of a training to a ``torch.utils.tensorboard.SummaryWriter``.

    Call :meth:`step` after ``optimizer.step()``, and :meth:`finish` at the end. Scalars: sharpness, the optimizer's
    threshold of stability and their ratio, measured by a :class:`~landscape.StabilityMonitor` within its budget; every
    ``measure_every`` steps the largest eigenvalues and, if asked for, the density as a figure with its band and as a
    histogram of all eigenvalues. The training is only read.

    Parameters
    ----------
    writer : SummaryWriter
        Or anything with its ``add_scalar``, ``add_image`` and ``add_histogram_raw``.
    model, optimizer, objective
        As for :class:`~landscape.StabilityMonitor`.
    sharpness : bool
        Whether to watch the stability; False for optimizers whose threshold is not known.
    measure_every : int, optional
        Optimizer steps between two measurements of eigenvalues and density. Default: none.
    k : int
        How many of the largest eigenvalues; 0 for none.
    density : bool
        Whether to estimate the density, too.
    tag : str
        What the names in TensorBoard begin with.
    measuring : dict, optional
        Further options of the measurement, as of :class:`~landscape.bridges.LightningRecorder`.
    **options
        Of the StabilityMonitor: every, overhead, tol, most_products.

    Attributes
    ----------
    monitor : StabilityMonitor or None
    measurement : Measurement or None

    Raises
    ------
    InputError
        The writer cannot write, an argument is out of range, or there is nothing to do.

    Examples
    --------
    >>> writer = torch.utils.tensorboard.SummaryWriter()                                # doctest: +SKIP
    >>> hook = TensorBoardHook(writer, model, optimizer, objective, measure_every=100)  # doctest: +SKIP
    >>> optimizer.step(); hook.step(loss)                                               # doctest: +SKIP
    """

    def __init__(
        self,
        writer: Any,
        model: nn.Module,
        optimizer: Any,
        objective: Objective,
        *,
        sharpness: bool = True,
        measure_every: int | None = None,
        k: int = 3,
        density: bool = False,
        tag: str = "curvature",
        measuring: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        missing = [name for name in WRITES if not callable(getattr(writer, name, None))]
        if missing:
            raise InputError(
                f"writer must be a torch.utils.tensorboard.SummaryWriter, not {type(writer).__name__}, which has no "
                f"{', '.join(missing)}"
            )
        if measure_every is not None:
            check_whole("measure_every", measure_every, 1)
        if not sharpness and (measure_every is None or options):
            words = f"{', '.join(options)} belong to the sharpness" if options else "measure_every is not given"
            raise InputError(f"sharpness is False, and {words}: there is nothing to do")
        self.writer, self.model, self.optimizer, self.tag = writer, model, optimizer, tag
        self.measure_every = measure_every
        self.monitor = StabilityMonitor(model, optimizer, objective, **options) if sharpness else None
        self.measurement = None
        if measure_every is not None:
            self.measurement = Measurement(objective, k=k, density=density, **(measuring or {}))
        self.steps = 0
        self._written = 0

    def step(self, loss: Any = None) -> None:
        """Tell that the optimizer has done a step; measure and write what is due.

        Parameters
        ----------
        loss : float or tensor, optional
            Of the step.
        """
        self.steps += 1
        if self.monitor is not None:
            self.monitor.step(loss)
            self._write_rows()
        if self.measurement is not None and self.measure_every and self.steps % self.measure_every == 0:
            told = math.nan if loss is None else float(loss.detach() if isinstance(loss, Tensor) else loss)
            rate = learning_rate(self.optimizer)
            pairs, density = self.measurement.measure(self.model, self.steps, told, rate)
            if pairs is not None:
                self._write_pairs(pairs)
            if density is not None:
                self._write_density(density)

    def finish(self) -> None:
        """Complete a measurement that has begun, and write it."""
        if self.monitor is not None:
            self.monitor.finish()
            self._write_rows()
        if callable(getattr(self.writer, "flush", None)):
            self.writer.flush()

    def _scalar(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):
            self.writer.add_scalar(f"{self.tag}/{name}", value, step)

    def _write_rows(self) -> None:
        """What the monitor has measured since."""
        if self.monitor is None:
            return
        for row in self.monitor.rows[self._written :]:
            step = int(row["step"])
            for name in ROWS:
                self._scalar(name, row[name], step)
            self._scalar("sharpness_over_threshold", row["sharpness"] / row["threshold"], step)
        self._written = len(self.monitor.rows)

    def _write_pairs(self, pairs: EigenPairs) -> None:
        for rank, (value, residual) in enumerate(zip(pairs.values, pairs.residuals, strict=True), 1):
            self._scalar(f"eigenvalue_{rank}", float(value), self.steps)
            self._scalar(f"residual_{rank}", float(residual), self.steps)

    def _write_density(self, density: SpectralDensity) -> None:
        """The figure, and the histogram of the n eigenvalues as the density has them."""
        self.writer.add_image(f"{self.tag}/density", pixels(density), self.steps, dataformats="HWC")
        nodes, counts = density.nodes, density.n * density.weights
        low, high = density.lambda_min, density.lambda_max
        margin = 0.01 * (high - low) or 0.5
        edges = np.linspace(low - margin, high + margin, BUCKETS + 1)
        self.writer.add_histogram_raw(
            f"{self.tag}/eigenvalues",
            min=low,
            max=high,
            num=density.n,
            sum=float(counts @ nodes),
            sum_squares=float(counts @ nodes**2),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=np.histogram(nodes, edges, weights=counts)[0].tolist(),
            global_step=self.steps,
        )
        for name in ("lambda_max", "lambda_min", "trace", "negative_mass", "error"):
            self._scalar(f"density/{name}", float(getattr(density, name)), self.steps)


def pixels(density: SpectralDensity) -> Any:
    """The figure of a density as an image, (h, w, 3) uint8, without touching pyplot."""
    with theme.applied():
        figure: Any = density.plot()
        figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
