"""Watch the stability of a training from inside its own loop, within a fixed share of its time."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape._arguments import check_whole
from landscape._network import unwrap
from landscape.errors import InputError, LandscapeError
from landscape.krylov import Lanczos, gaussian
from landscape.objective import Objective
from landscape.optim.metric import kind_of
from landscape.parallel import ProcessGrid
from landscape.parallel.rows import RowPartition
from landscape.records import Stability
from landscape.stability import OptimizerView, check_view, optimizer_view

# A product takes about as long as so many steps of the training, until it has been measured.
PRODUCT_IN_STEPS = 4.0
# The next piece may take as long as the slowest of so many; an interruption is forgotten after as many.
PIECES = 40
# What the next step of the training loses by a piece, in its caches, as a share of the piece: 7 % measured.
AFTERMATH = 0.1
# Of a warm start: part of it is random, so that another direction that has become the sharpest can be found.
RANDOM_PART = 0.1
# Products before the residual counts: that of the old eigenvector is small at once, whatever has become of the others.
# Eigenvalue 10 overtaken by 10.5 to 30, n = 3000 and 200 000, narrow and heavy bulks: 8 products find the new one in
# all 16 cases, 6 in 15, 2 in none.
LEAST = 8
ROW = ("step", "sharpness", "residual", "threshold", "gradient_share", "learning_rate", "loss", "products", "seconds")


class StabilityMonitor:
    """Measures the sharpness that an optimizer meets while it trains, beside its threshold.

    Call :meth:`step` after ``optimizer.step()``. A measurement works on a copy of the parameters and is spread over the
    following steps, one product at a time. It starts from the last eigenvector and a random part, and takes eight
    products or more, whatever the residual, so that a direction that has meanwhile become the sharpest is found.

    With ``every="auto"`` a product is begun only if the slowest of late still fits into the budget. So, by its own
    clock, the time of the measurements is at most this share of that of the training, from when the first product has
    been paid off, and but for a product that takes longer than any of the forty pieces before it, until that is paid
    off. It is the time in the calls of :meth:`step`, on a GPU until it has finished, and a tenth more for the caches
    that the next step finds cold; building the monitor is not in it.

    A training is never stopped: where there is nothing to measure, such as a loss that is NaN, this is said once in a
    warning, and measuring is tried again.

    Parameters
    ----------
    model : nn.Module
        The one that is trained; it is never changed.
    optimizer : torch.optim.Optimizer
        SGD, Adam, AdamW, NAdam, RMSprop or Adagrad.
    objective : Objective
        Of this model on fixed data, for instance a thousand samples; it is moved to the present parameters. The
        curvature is that of the network in evaluation mode.
    every : int or "auto"
        Steps between the beginnings of measurements; "auto" measures as often as the budget allows. A number is kept
        whatever it costs.
    overhead : float
        With "auto": largest time of the measurements as a share of that of the training. Default 0.05.
    tol : float
        Wanted residual relative to the sharpness. Default 0.05: an eigenvalue is then within 5 %, and within a percent
        if the next one is a quarter below.
    most_products : int
        Of one measurement. Default 30.

    Attributes
    ----------
    rows : list of dict
        One for each measurement: step, sharpness, residual, threshold, gradient_share, learning_rate, loss, products,
        seconds.

    Raises
    ------
    InputError
        If an argument is out of range, or the optimizer is of another kind, maximizes, or moves other parameters.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> model = torch.nn.Linear(3, 1)
    >>> data = torch.eye(3), torch.zeros(3, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> monitor = StabilityMonitor.of(model, torch.nn.MSELoss(), data, optimizer, every=1)
    >>> for _ in range(3):
    ...     loss = torch.nn.functional.mse_loss(model(data[0]), data[1])
    ...     optimizer.zero_grad(), loss.backward(), optimizer.step()  # doctest: +ELLIPSIS
    ...     monitor.step(loss)
    (None, None, None)
    (None, None, None)
    (None, None, None)
    >>> [(row["step"], round(row["sharpness"], 1), row["threshold"]) for row in monitor.rows]
    [(1, 2.7, 20.0), (2, 2.7, 20.0), (3, 2.7, 20.0)]
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        objective: Objective,
        *,
        every: int | str = "auto",
        overhead: float = 0.05,
        tol: float = 0.05,
        most_products: int = 30,
    ) -> None:
        if not isinstance(objective, Objective):
            raise InputError(f"objective must be a landscape.Objective, not {type(objective).__name__}")
        try:
            check_whole("every", 1 if every == "auto" else every, 1)
        except InputError as error:
            raise InputError(f'every must be "auto" or a whole number of at least 1, not {every!r}') from error
        for name, value in (("overhead", overhead), ("tol", tol)):
            if not 0 < value < 1:
                raise InputError(f"{name} must lie between 0 and 1, not {value}")
        check_whole("most_products", most_products, 1)
        self.kind = kind_of(optimizer)
        check_view(optimizer, model, objective)
        self.model, self.optimizer = unwrap(model), optimizer
        # On this rank alone: a training has its own way to use others, and steps must not wait for each other here.
        self.objective = objective.on(objective.grid.alone())
        self.every, self.share, self.tol, self.most = every, overhead, tol, most_products
        self.rows: list[dict[str, float]] = []
        self.steps = 0
        self.rule, self.operator = "", "hessian"
        self.refusals: list[str] = []
        self._work: Iterator[None] | None = None
        self._vector: Tensor | None = None
        self._pieces: deque[float] = deque(maxlen=PIECES)  # seconds of the pieces of late
        # In calls of step, with the aftermath; in measurements; in waiting for what the training has given to a GPU.
        self._spent = self._working = self._waited = 0.0
        self._started = time.perf_counter()

    @classmethod
    def of(cls, model: nn.Module, loss: Any, data: Any, optimizer: Any, **options: Any) -> StabilityMonitor:
        """Watch the loss of a model on fixed data.

        Parameters
        ----------
        model, loss, data
            As for :class:`~landscape.Objective`; of the data, a batch as large as a few of the training's is enough.
        optimizer, **options
            As of the class.
        """
        training = model.training
        model.eval()
        try:
            objective = Objective(model, loss, data, grid=ProcessGrid.serial())
        finally:
            model.train(training)
        return cls(model, optimizer, objective, **options)

    @property
    def overhead(self) -> float:
        """Time of the measurements over that of the training so far."""
        training = time.perf_counter() - self._started - self._spent
        return self._spent / training if training > 0 else 0.0

    def step(self, loss: Any = None) -> None:
        """Tell that the optimizer has done a step, and measure a little if there is time.

        Parameters
        ----------
        loss : float or tensor, optional
            Of the step, for the record; a tensor is read only when a measurement begins.
        """
        started, waited, working = time.perf_counter(), self._waited, self._working
        self.steps += 1
        if isinstance(self.every, int):
            if self.steps % self.every == 0 and self._moves():
                self._work = self._measure(loss)
                while self._work is not None:
                    self._advance()
        elif self._affordable() and (self._work is not None or self._moves()):
            if self._work is None:
                self._work = self._measure(loss)
            self._advance()
        # Looking at the clock counts too: a step of a small network takes a millisecond.
        self._spent += self._since(started, waited, working)

    def finish(self) -> None:
        """Complete a measurement that has begun, whatever it costs."""
        started, waited, working = time.perf_counter(), self._waited, self._working
        while self._work is not None:
            self._advance()
        self._spent += self._since(started, waited, working)

    def record(self) -> Stability:
        """The measurements so far, to be saved and drawn."""
        columns = {name: np.array([row[name] for row in self.rows], float) for name in ROW}
        return Stability(
            steps=columns["step"].astype(np.int64),
            sharpness=columns["sharpness"],
            residuals=columns["residual"],
            threshold=columns["threshold"],
            gradient_share=columns["gradient_share"],
            learning_rates=columns["learning_rate"],
            losses=columns["loss"],
            optimizer=self.kind,
            operator=self.operator,
            rule=self.rule,
            overhead=self.overhead,
            products=int(columns["products"].sum()),
            seconds=self._spent,
            provenance={"samples": self.objective.samples, "every": self.every, "tol": self.tol}
            | ({"refused": len(self.refusals), "refusal": self.refusals[-1]} if self.refusals else {}),
        )

    def _moves(self) -> bool:
        """Whether there is anything to measure: not in a warm-up that begins with a learning rate of 0."""
        return any(float(group["lr"]) > 0 for group in self.optimizer.param_groups)

    def _affordable(self) -> bool:
        """Whether one more product keeps the measurements within their share of the time."""
        training = time.perf_counter() - self._started - self._spent
        # Before a product there are the copy and the gradient.
        guess = PRODUCT_IN_STEPS * training / self.steps if len(self._pieces) < 3 else 0.0
        cost = max(guess, *self._pieces, 0.0)
        # The aftermath is still to come, in the time of the training.
        return self._spent + cost <= self.share * (training - AFTERMATH * cost)

    def _since(self, started: float, waited: float, working: float) -> float:
        """What the measurements have cost since then."""
        aftermath = AFTERMATH * (self._working - working)
        return time.perf_counter() - started - (self._waited - waited) + aftermath

    def _advance(self) -> None:
        """One piece of the measurement, timed."""
        before = time.perf_counter()
        self._synchronize()
        started = time.perf_counter()
        self._waited += started - before
        try:
            if self._work is not None and next(self._work, StopIteration) is StopIteration:
                self._work = None
        except LandscapeError as refusal:
            self._work = None
            if not self.refusals:
                warnings.warn(
                    f"no sharpness at step {self.steps}: {refusal}. The training goes on, and measuring is tried again",
                    stacklevel=3,
                )
            self.refusals.append(str(refusal))
        self._synchronize()
        seconds = time.perf_counter() - started
        self._working += seconds
        self._pieces.append((1 + AFTERMATH) * seconds)

    def _synchronize(self) -> None:
        if self.objective.device.type == "cuda":
            torch.cuda.synchronize(self.objective.device)

    def _measure(self, loss: Any) -> Iterator[None]:
        """One measurement at the present parameters, in pieces of about one product."""
        step, before = self.steps, self._working
        told = math.nan if loss is None else float(loss.detach() if isinstance(loss, Tensor) else loss)
        rate = float(self.optimizer.param_groups[0]["lr"])
        with torch.no_grad():
            state = dict(self.model.named_parameters())
            theta = torch.cat([state[name].detach().reshape(-1) for name in self.objective.names])
            here = self.objective.at(theta, {**dict(self.model.named_buffers())})
            # Theta moves from one measurement to the next: a timing or a trace would never pay.
            view = optimizer_view(here, self.optimizer, self.model, product="double_backward")
        yield None
        gradient = view.gradient()
        yield None
        sharpest = yield from self._sharpest(view)
        value, vector, residual, products = sharpest
        self._vector, self.rule, self.operator = vector, view.threshold.rule, view.operator.name
        length = float(gradient.double() @ gradient.double())
        along = float(gradient.double() @ vector.double()) ** 2
        self.rows.append(
            {
                "step": step,
                "sharpness": value,
                "residual": residual,
                "threshold": view.threshold.value,
                "gradient_share": along / length if length else math.nan,
                "learning_rate": rate,
                "loss": told,
                "products": products,
                "seconds": self._working - before,
            }
        )

    def _sharpest(self, view: OptimizerView) -> Any:
        """The largest eigenvalue with its vector, residual and number of products; pauses after each product."""
        from scipy.linalg import eigh_tridiagonal

        operator = view.operator
        rows = RowPartition(operator.n, operator.grid.data)
        random = gaussian(rows, 0, len(self.rows), operator.dtype, operator.device)
        start = random / sqrt(rows.dot(random, random))
        if self._vector is not None:
            start = self._vector + RANDOM_PART * start
        lanczos = Lanczos(lambda shard: operator.apply_rows(shard, rows), rows, start)
        value, residual, weights = math.nan, math.inf, np.ones(1)
        while lanczos.steps < min(self.most, operator.n) and not lanczos.exhausted:
            lanczos.step()
            values, vectors = eigh_tridiagonal(np.array(lanczos.alpha), np.array(lanczos.beta[:-1]))
            value, weights = float(values[-1]), vectors[:, -1]
            residual = abs(lanczos.beta[-1] * weights[-1])
            if lanczos.steps >= LEAST and residual <= self.tol * abs(value):
                break
            yield None
        vector = lanczos.basis.combine(torch.from_numpy(weights)[:, None])[:, 0]
        return value, vector, residual, lanczos.steps
