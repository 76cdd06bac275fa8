"""Loss, metrics and whatever else is asked for, at any point in parameter space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from landscape._batch_norm import mode_in
from landscape._evaluation import Evaluator
from landscape._quantities import Quantities
from landscape._statistics import Statistics, check_batches
from landscape.errors import InputError
from landscape.geometry.layout import layout_of
from landscape.objective import Objective

if TYPE_CHECKING:
    from landscape._data_parts import PartLosses
    from landscape._evaluation import Watch

# Before the names of what is computed with test data.
TEST = "test_"


class PointValues:
    """Loss, metrics and whatever else is asked for, at any point, by this rank alone (collective to build).

    Parameters
    ----------
    objective : Objective
    quantities : sequence of str
        Of :data:`landscape._quantities.QUANTITIES`.
    test : Objective, optional
    batchnorm : str

    Raises
    ------
    InputError
        If something does not fit together; the same on all ranks.
    """

    def __init__(
        self,
        objective: Objective,
        quantities: Sequence[str] = (),
        test: Objective | None = None,
        batchnorm: str = "eval",
    ) -> None:
        self.objective, self.test = objective, test
        self.batchnorm = mode_in(objective._network.module, batchnorm)
        self._quantities = Quantities(objective, quantities)
        self._check(quantities)
        self.columns = [*objective.metrics]
        if test is not None:
            self.columns += [f"{TEST}{name}" for name in ("loss", *test.metrics)]
        self.columns += self._quantities.names
        twice = [name for name in self.columns if self.columns.count(name) > 1]
        if twice:
            raise InputError(f"two quantities would be called {twice[0]!r}: give the metric another name")
        batch = self.batchnorm == "batch"
        self._statistics = Statistics(objective) if self.batchnorm == "recompute" else None
        self.fast = Evaluator(objective, batch_statistics=batch)
        self._of_test = None if test is None else Evaluator(test, batch_statistics=batch)

    @property
    def width(self) -> int:
        """Numbers per point: the loss, and one per column."""
        return 1 + len(self.columns)

    def values(self, theta: Tensor, buffers: Mapping[str, Tensor]) -> list[float]:
        """Everything that is asked for, with these statistics."""
        return self._completed(self.fast.evaluate(theta, buffers), theta, buffers)

    def values_and_parts(
        self, theta: Tensor, buffers: Mapping[str, Tensor], parts: PartLosses, watch: Watch | None = None
    ) -> tuple[list[float], list[float]]:
        """As :meth:`values`, and the losses of the parts of the data; someone may watch the pass over the data."""
        found, each = parts.at(theta, buffers, watch)
        return self._completed(found, theta, buffers), each

    def true(self, evaluator: Evaluator, point: Any) -> list[float]:
        """Loss and metrics at a point itself, with its own buffers; NaN for the rest."""
        objective = self.objective
        values = getattr(point, "theta", point)
        theta = torch.as_tensor(values).detach().to(device=objective.device, dtype=objective.dtype)
        places = layout_of(objective, objective.n).places_of(
            layout_of(point, len(theta)), "the objective", "a checkpoint"
        )
        if places is not None:
            theta = theta[torch.from_numpy(places).to(theta.device)]
        buffers = getattr(point, "buffers", None)
        own = {
            name: torch.as_tensor(value).to(objective.buffers[name])
            for name, value in (buffers.items() if isinstance(buffers, Mapping) else ())
            if name in objective.buffers
        }
        return self.padded(evaluator.evaluate(theta, own))

    def statistics(self, theta: Tensor, buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        """Batch-norm statistics at a point, in the mode that was chosen: those given, or those of the data there."""
        if self._statistics is None or not bool(torch.isfinite(theta).all()):
            return buffers
        return self._statistics.at(theta, buffers)

    def describe(self) -> dict[str, Any]:
        """What identifies these values, for provenance and for resuming (collective)."""
        options: dict[str, Any] = {"batchnorm": self.batchnorm, "quantities": self._quantities.names}
        if self.test is not None:
            there = self.test.describe()
            options["test"] = {name: there[name] for name in ("data_sha256", "samples", "micro_batches", "loss")}
            options["test"]["metrics"] = list(self.test.metrics)
        return {**self.objective.describe(), "metrics": list(self.objective.metrics), **options}

    def padded(self, found: list[float]) -> list[float]:
        """Loss and metrics with NaN for what else is computed."""
        return found + [math.nan] * (self.width - len(found))

    def agree_on_arithmetic(self, *points: Tensor) -> None:
        """Merge micro-batches only where that is right at these points, and on all ranks alike (collective)."""
        for one in (self.fast, self._of_test):
            if one is None or self.batchnorm == "batch":
                continue
            merged = all(one.check(theta) for theta in points)
            found = self.objective.grid.world.all_gather_object((merged, one.separated, one.layout))
            layouts = {layout for _, _, layout in found}
            names = set().union(*(separated for _, separated, _ in found))
            one.separate(names, all(each for each, _, _ in found) and len(layouts) == 1)

    def _completed(self, found: list[float], theta: Tensor, buffers: Mapping[str, Tensor]) -> list[float]:
        if self._of_test is not None:
            found = found + self._of_test.evaluate(theta, buffers)
        return found + self._quantities.at(theta, buffers)

    def _check(self, quantities: Sequence[str]) -> None:
        objective, test = self.objective, self.test
        if self.batchnorm == "batch":
            if quantities:
                raise InputError(
                    f"{', '.join(quantities)} need a loss that is a mean over samples, which it is not with the "
                    "statistics of micro-batches: use batchnorm='eval' or 'recompute'"
                )
            for one in (objective, *([test] if test is not None else [])):
                check_batches(one)
        if test is None:
            return
        if not isinstance(test, Objective):
            raise InputError(f"test must be a landscape.Objective of the same model, not {type(test).__name__}")
        layout_of(objective, objective.n).places_of(layout_of(test, test.n), "the objective", "the test objective")
        if objective.names != test.names:
            raise InputError("the test objective has the parameters in another order: build both from the same model")
