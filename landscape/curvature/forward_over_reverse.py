"""Hessian-vector products as the directional derivative of the gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape._data import Batch
from landscape._out_of_memory import is_out_of_memory
from landscape.curvature._layers import another_product, forward_over_reverse_fails, unsupported
from landscape.errors import InputError
from landscape.objective import Objective


class ForwardOverReverse:
    """Forward mode over the reverse-mode gradient.

    Keeps no graph of the gradient, so it needs the least memory; every layer must have a forward derivative.

    Parameters
    ----------
    objective : Objective
    budget : float
        Not used.
    """

    def __init__(self, objective: Objective, budget: float = 0.0) -> None:
        self.objective = objective

    def products(self, index: int | None, batch: Batch, denominator: float, vectors: Tensor) -> Tensor:
        """Sum of one micro-batch's Hessian times each vector, ``(k, n)``.

        Raises
        ------
        InputError
            If a layer or the loss has no forward derivative (torch's mean squared error had none when this was
            written).
        """
        objective = self.objective

        # By parameter and not by theta as a whole: torch cannot accumulate the symbolic zeros of forward mode into a
        # split.
        def numerator(variables: dict[str, Tensor]) -> Tensor:
            return objective.numerator(variables, batch, denominator)

        at = objective.variables(objective.theta.detach())
        results = []
        for vector in vectors:
            try:
                products = torch.func.jvp(torch.func.grad(numerator), (at,), (objective.variables(vector),))[1]
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                where = unsupported(objective, batch, forward_over_reverse_fails)
                raise InputError(
                    f"the gradient of {where} has no forward derivative in this version of torch; use "
                    f'product="{another_product(objective, batch, "forward_over_reverse")}" '
                    f"({str(error).splitlines()[0]})"
                ) from error
            results.append(torch.cat([products[name].reshape(-1) for name in objective.names]))
        return torch.stack(results)
