"""What the operators have in common that look at the network's output or at single samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from landscape._data import Batch
from landscape._out_of_memory import is_out_of_memory
from landscape.curvature._layers import forward_fails, unsupported
from landscape.curvature.operator import Operator, need_outputs
from landscape.errors import InputError
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

    @contextmanager
    def _forward_mode(self, batch: Batch) -> Iterator[None]:
        """Name the layer where forward derivatives, which are taken inside, are missing."""
        try:
            yield
        except RuntimeError as error:
            where = "" if is_out_of_memory(error) else unsupported(self.objective, batch, forward_fails)
            if not where.startswith("layer"):
                raise
            raise InputError(
                f"{where} has no forward derivative, which {type(self).__name__} needs "
                f"({str(error).splitlines()[0].rstrip('.')}): write it with operations that torch can differentiate; "
                'Hessian(objective, product="double_backward") does without'
            ) from error

    def _losses(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """Every sample's share of the numerator of one micro-batch, ``(samples,)``, as a function of theta."""

        def losses(theta: Tensor) -> Tensor:
            return self.objective.per_sample(self.objective.output(self.objective.variables(theta), batch[0]), batch)

        return losses
