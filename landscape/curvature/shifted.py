"""An operator plus a diagonal matrix, such as weight decay that differs between parameters."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from landscape._data import Batch
from landscape._network import Selection
from landscape.curvature.blocks import blocks_of
from landscape.curvature.derived import Derived
from landscape.curvature.operator import Operator
from landscape.errors import InputError


class Shifted(Derived):
    """``A + diag(d)``.

    Parameters
    ----------
    operator : Operator
    diagonal : (n,) tensor or array
        d, in units of the operator.

    Raises
    ------
    InputError
        If the shape does not fit or a value is not finite.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> Shifted(ls.Hessian(objective), [0.5, 0.5, 0.0]) @ torch.tensor([1.0, 0.0, 0.0])
    tensor([1.5000, 0.0000, 1.0000])
    """

    def __init__(self, operator: Operator, diagonal: Any) -> None:
        super().__init__([operator])
        self.diagonal = torch.as_tensor(diagonal).detach().to(device=operator.device, dtype=operator.dtype)
        if self.diagonal.shape != (operator.n,) or not bool(torch.isfinite(self.diagonal).all()):
            raise InputError(
                f"a diagonal with shape {tuple(self.diagonal.shape)} cannot be added to {operator.name}: give "
                f"{operator.n} finite numbers, one for each parameter"
            )

    @property
    def name(self) -> str:  # type: ignore[override]
        """Such as "hessian + diagonal"."""
        return f"{self.parts[0].name} + diagonal"

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of one micro-batch's products, without the diagonal."""
        return self.parts[0].batch_product(batch, denominator, vector)

    def restricted(self, parameters: Selection) -> Operator:
        """The diagonal block of some parameters, with their part of d."""
        part = self.parts[0].restricted(parameters)
        places = {block.name: block.places[0] for block in blocks_of(self.objective, "parameter")}
        return Shifted(part, torch.cat([self.diagonal[places[each]] for each in part.objective.names]))

    def _products(self, vectors: Tensor) -> Tensor:
        return self.parts[0].apply_block(vectors) + self.diagonal * vectors

    def describe(self) -> dict[str, Any]:
        """What identifies the operator."""
        digest = hashlib.sha256(self.diagonal.cpu().numpy().tobytes()).hexdigest()
        return {**super().describe(), "added_sha256": digest}
