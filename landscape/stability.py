"""Is a training at the edge of stability? Curvature in the metric of its optimizer, beside what it bears."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape.curvature import Hessian, Operator, Preconditioned
from landscape.errors import InputError
from landscape.objective import Objective
from landscape.optim.metric import checked_kind, kind_of
from landscape.optim.stability import Threshold, threshold_of
from landscape.records import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OptimizerView:
    """The function that an optimizer descends, as it sees it.

    Attributes
    ----------
    operator : Operator
        The Hessian with the optimizer's coupled weight decay, in its metric where that is not the identity.
    scale : (n,) tensor or None
        ``P^-½`` of that metric.
    threshold : Threshold
    decay : float
        Weight decay of the optimizer that the objective does not hold.
    """

    operator: Operator
    scale: Tensor | None
    threshold: Threshold
    decay: float

    def gradient(self) -> Tensor:
        """Gradient of that function in the same metric, ``(n,)`` (collective)."""
        objective = self.operator.objective
        gradient = objective.gradient() + self.decay * objective.theta
        return gradient if self.scale is None else self.scale * gradient


def optimizer_view(objective: Objective, optimizer: Any, model: nn.Module, *, product: str = "auto") -> OptimizerView:
    """What a live optimizer sees at the objective's parameters (collective).

    Parameters
    ----------
    objective : Objective
        At the parameters that the optimizer has reached. If it has weight decay, it is the optimizer's.
    optimizer : torch.optim.Optimizer
        SGD, Adam, AdamW, NAdam, RMSprop or Adagrad.
    model : nn.Module
        Whose parameters it moves.
    product : str
        Of the :class:`~landscape.Hessian`.

    Returns
    -------
    OptimizerView

    Raises
    ------
    InputError
        If the optimizer is of another kind, has not done a step, or moves other parameters; if its groups differ in
        more than the learning rate.
    """
    kind = kind_of(optimizer)
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    keys = ("betas", "momentum", "nesterov", "dampening", "weight_decay")
    if any(group.get(key) != groups[0].get(key) for group in groups for key in keys):
        raise InputError(
            f"the parameter groups of the {kind} differ in {', '.join(keys)}: no one threshold holds for all; restrict "
            "the objective to the parameters of one group, Objective(..., parameters=)"
        )
    steps = [float(state["step"]) for state in optimizer.state.values() if "step" in state]
    threshold = threshold_of(kind, groups[0], int(max(steps)) if steps else None)
    hessian, decay = _with_decay(objective, threshold, product)
    if not threshold.adaptive and len({float(group["lr"]) for group in groups}) == 1:
        return OptimizerView(hessian, None, threshold, decay)
    operator = Preconditioned.from_optimizer(hessian, optimizer, model)
    return OptimizerView(operator, operator.scale, threshold, decay)


def recorded_view(objective: Objective, checkpoint: Any, optimizer: Mapping[str, Any]) -> OptimizerView:
    """What a recorded optimizer saw at a checkpoint (collective).

    Parameters
    ----------
    objective : Objective
        Of the recorded parameters; it is moved to the checkpoint.
    checkpoint : Checkpoint
        Such as ``run[-1]``.
    optimizer : dict
        ``run.optimizer``.

    Returns
    -------
    OptimizerView

    Raises
    ------
    InputError
        As for :func:`optimizer_view`, and if the checkpoint does not hold what the metric is made of.

    Examples
    --------
    >>> view = recorded_view(objective, run[-1], run.optimizer)                            # doctest: +SKIP
    >>> ls.eigenpairs(view.operator, k=1).values[0] / view.threshold.value                 # doctest: +SKIP
    """
    kind = checked_kind(str(optimizer.get("class", "an unknown optimizer")))
    options = dict(optimizer.get("defaults", {}))
    if math.isfinite(checkpoint.learning_rate):
        options["lr"] = checkpoint.learning_rate
    threshold = threshold_of(kind, options, checkpoint.step)
    hessian, decay = _with_decay(objective.at(checkpoint), threshold)
    if not threshold.adaptive and not optimizer.get("groups"):
        return OptimizerView(hessian, None, threshold, decay)
    operator = Preconditioned.from_checkpoint(hessian, checkpoint, optimizer)
    return OptimizerView(operator, operator.scale, threshold, decay)


def gradient_shares(gradient: Any, vectors: Any) -> Array:
    """Share of the squared length of a gradient in the space of the first 1, 2, … k vectors.

    Parameters
    ----------
    gradient : (n,) tensor or array
    vectors : EigenPairs or (n, k) array
        Orthonormal columns, such as leading eigenvectors (Gur-Ari, Roberts, Dyer, Gradient descent happens in a tiny
        subspace, 2018).

    Returns
    -------
    (k,) float64, ascending, at most 1

    Raises
    ------
    InputError
        If shapes do not fit.

    Examples
    --------
    >>> gradient_shares([3.0, 4.0], [[1.0, 0.0], [0.0, 1.0]]).round(2)
    array([0.36, 1.  ])
    """
    along = torch.as_tensor(getattr(vectors, "vectors", vectors)).double().cpu()
    slope = torch.as_tensor(gradient).double().cpu()
    if along.dim() != 2 or slope.shape != along.shape[:1]:
        raise InputError(
            f"a gradient {tuple(slope.shape)} and vectors {tuple(along.shape)} do not fit: (n,) and (n, k)"
        )
    total = float(slope @ slope)
    shares = torch.cumsum((slope @ along) ** 2, 0) / (total or 1.0)
    found: Array = shares.numpy()
    return found


def batch_sharpness(objective: Objective, size: int, *, batches: int = 32, seed: int = 0) -> Estimate:
    """Expected curvature of the mini-batch loss along its own gradient, ``E[gᵦᵀHᵦgᵦ / ‖gᵦ‖²]`` (collective).

    What settles at 2/lr in stochastic gradient descent, where the largest eigenvalue of the whole Hessian stays below
    (Andreyev and Beneventano, Edge of stochastic stability, arXiv 2412.20553, 2024). Needs one gradient and one product
    per mini-batch.

    Parameters
    ----------
    objective : Objective
    size : int
        Samples in a mini-batch, that of the training.
    batches : int
        How many mini-batches are drawn, pass after pass without replacement.
    seed : int
        Of the order of the samples.

    Returns
    -------
    Estimate
        Bitwise the same on any number of ranks.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> data = torch.ones(8, 1), torch.zeros(8, 1)
    >>> line = torch.nn.Linear(1, 1)
    >>> round(ls.batch_sharpness(ls.Objective(line, torch.nn.MSELoss(), data), size=4).value, 4)
    4.0
    """
    for name, value, least in (("size", size, 1), ("batches", batches, 2), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"{name} must be at least {least}, not {value}")
    objective.grid.meet("batch_sharpness")
    ranks = objective.grid.world
    model = objective.model()
    parameters = [value for value in model.parameters() if value.requires_grad]
    found: dict[int, float] = {}
    with objective.scope():
        for index, batch in enumerate(islice(_passes(objective, size, seed), batches)):
            if index % ranks.size == ranks.rank:
                found[index] = _curvature_along_gradient(objective.batch_loss(model, batch), parameters)
    everything = {index: value for part in ranks.all_gather_object(found) for index, value in part.items()}
    # A mini-batch whose gradient vanishes has no direction.
    values = np.array([everything[index] for index in sorted(everything)])
    values = values[np.isfinite(values)]
    if len(values) < 2:
        raise InputError("the gradients of the mini-batches vanish: there is no direction to measure along")
    return Estimate(
        value=float(values.mean()),
        stderr=float(values.std(ddof=1) / math.sqrt(len(values))),
        products=len(everything),
        method="mini-batches",
        operator="hessian of mini-batches",
        n=objective.n,
        samples=len(values),
    )


def _passes(objective: Objective, size: int, seed: int) -> Any:
    epoch = 0
    while True:
        yield from objective.mini_batches(size, seed, epoch)
        epoch += 1


def _curvature_along_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> float:
    slopes = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True)
    fixed = [slope.detach() for slope in slopes]
    length = sum(float(slope.double().square().sum()) for slope in fixed)
    curved = [(slope, along) for slope, along in zip(slopes, fixed, strict=True) if slope.requires_grad]
    if length == 0 or not curved:
        return float("nan") if length == 0 else 0.0
    products = torch.autograd.grad(
        [slope for slope, _ in curved],
        parameters,
        [along for _, along in curved],
        allow_unused=True,
        materialize_grads=True,
    )
    along = sum(float((p.double() * g.double()).sum()) for p, g in zip(products, fixed, strict=True))
    return along / length


def _with_decay(objective: Objective, threshold: Threshold, product: str = "auto") -> tuple[Operator, float]:
    """The Hessian of the function that the optimizer descends, and the weight decay that was missing in it."""
    hessian = Hessian(objective, product)
    decay = threshold.weight_decay - objective.weight_decay if threshold.weight_decay else 0.0
    return (hessian + decay if decay else hessian), decay
