"""What the operators have in common that look at the network's output or at single samples."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from landscape._data import Batch
from landscape.curvature.operator import Operator, need_outputs
from landscape.objective import Objective


class OfOutputs(Operator):
    """An operator that needs ``loss(output, target)``: ``fn(model, batch)`` hides outputs and samples.

    Parameters
    ----------
    objective : Objective

    Raises
    ------
    InputError
        If the loss is ``fn(model, batch)``.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        need_outputs(objective, type(self).__name__)

    def _losses(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """Every sample's share of the numerator of one micro-batch, ``(samples,)``, as a function of theta."""

        def losses(theta: Tensor) -> Tensor:
            return self.objective.per_sample(self.objective.output(self.objective.variables(theta), batch[0]), batch)

        return losses
