"""An operator in the metric of an adaptive optimizer."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from landscape._data import Batch
from landscape._network import Selection, unwrap
from landscape.curvature.blocks import blocks_of
from landscape.curvature.derived import Derived
from landscape.curvature.operator import Operator
from landscape.errors import InputError
from landscape.optim.metric import optimizer_metric, recorded_metric


class Preconditioned(Derived):
    """``P^-½ A P^-½`` with a diagonal P: the curvature that an optimizer with steps ``-lr P⁻¹ m`` meets.

    It has the eigenvalues of ``P⁻¹A``, and is symmetric (Cohen et al., Adaptive gradient methods at the edge of
    stability, 2022). An eigenvector u of it is the direction ``P^-½ u`` in parameter space.

    Parameters
    ----------
    operator : Operator
    diagonal : (n,) tensor or array
        P, positive; infinite where the optimizer does not move a parameter.

    Attributes
    ----------
    diagonal : (n,) tensor
    scale : (n,) tensor
        ``P^-½``.

    Raises
    ------
    InputError
        If the shape does not fit or a value is not positive.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> ls.Preconditioned(ls.Hessian(objective), [1.0, 1.0, 4.0]) @ torch.tensor([0.0, 0.0, 1.0])
    tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, operator: Operator, diagonal: Any) -> None:
        super().__init__([operator])
        values = torch.as_tensor(diagonal).detach().to(device=operator.device, dtype=torch.float64)
        if values.shape != (operator.n,):
            raise InputError(
                f"the diagonal has shape {tuple(values.shape)}, but {operator.name} has n = {operator.n}: give one "
                "number for each parameter"
            )
        wrong = int((~(values > 0)).sum())
        if wrong:
            raise InputError(
                f"the diagonal of a preconditioner must be positive, but {wrong} of its {operator.n} numbers are not"
            )
        self.diagonal = values.to(operator.dtype)
        # From float64: where P is infinite, nothing moves and nothing curves.
        self.scale = values.rsqrt().to(operator.dtype)
        self.operator_name = operator.name

    @classmethod
    def from_optimizer(cls, operator: Operator, optimizer: Any, model: nn.Module) -> Self:
        """In the metric of a torch optimizer as it is now.

        Parameters
        ----------
        operator : Operator
            At the parameters that the optimizer has reached.
        optimizer : torch.optim.Optimizer
            Adam, AdamW, NAdam, RMSprop, Adagrad, or SGD, whose metric is the identity. Where learning rates differ
            between parameter groups, their ratios to the first positive one are part of P, which is infinite where
            nothing moves: at a learning rate of 0, and for a parameter that never had a gradient.
        model : nn.Module
            Whose parameters it moves: they are found by their names.

        Raises
        ------
        InputError
            If the optimizer is of another kind, has not done a step, or does not move a parameter of the operator.
        """
        parameters = dict(unwrap(model).named_parameters())
        names = operator.objective.names
        lacking = [name for name in names if name not in parameters]
        if lacking:
            raise InputError(f"the model has no parameter {lacking[0]!r}, which the operator has: give the same model")
        return cls(operator, optimizer_metric(optimizer, {name: parameters[name] for name in names}))

    @classmethod
    def from_checkpoint(cls, operator: Operator, checkpoint: Any, optimizer: Mapping[str, Any]) -> Self:
        """In the metric of a recorded checkpoint.

        Parameters
        ----------
        operator : Operator
            At the checkpoint, of an objective with the same parameters.
        checkpoint : Checkpoint
            With its second moment, as ``run[-1]`` of a run that was recorded with its optimizer.
        optimizer : dict
            ``run.optimizer``.

        Raises
        ------
        InputError
            If the optimizer is of another kind or the checkpoint does not hold what its metric is made of.
        """
        objective = operator.objective
        if checkpoint.names and tuple(checkpoint.names) != tuple(objective.names):
            raise InputError(
                f"the checkpoint has the parameters {', '.join(checkpoint.names)}, the operator "
                f"{', '.join(objective.names)}: build the objective of the recorded parameters, and restrict it later"
            )
        return cls(operator, recorded_metric(optimizer, checkpoint.second_moment, checkpoint.step, operator.n))

    @property
    def name(self) -> str:  # type: ignore[override]
        """Such as "preconditioned hessian"."""
        return f"preconditioned {self.operator_name}"

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of one micro-batch's products, ``(n,)``."""
        return self.scale * self.parts[0].batch_product(batch, denominator, self.scale * vector)

    def restricted(self, parameters: Selection) -> Operator:
        """The diagonal block of some parameters, with their part of P."""
        part = self.parts[0].restricted(parameters)
        places = {block.name: block.places[0] for block in blocks_of(self.objective, "parameter")}
        other = copy.copy(self)
        other.parts, other.products, other.seconds = (part,), 0, 0.0
        for name in ("diagonal", "scale"):
            whole: Tensor = getattr(self, name)
            setattr(other, name, torch.cat([whole[places[each]] for each in part.objective.names]))
        return other

    def _products(self, vectors: Tensor) -> Tensor:
        return self.scale * self.parts[0].apply_block(self.scale * vectors)

    def describe(self) -> dict[str, Any]:
        """What identifies the operator."""
        digest = hashlib.sha256(self.diagonal.cpu().numpy().tobytes()).hexdigest()
        return {**super().describe(), "diagonal_sha256": digest}
