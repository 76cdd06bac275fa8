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

from landscape._data import Batch
from landscape._network import unwrap
from landscape.curvature import Hessian, Operator, Preconditioned
from landscape.curvature._gradient_graph import Refusal
from landscape.curvature.shifted import Shifted
from landscape.errors import InputError
from landscape.objective import Objective
from landscape.optim.metric import Move, checked_kind, first_moving, groups_of, kind_of, moves_of
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
    decay : float or (n,) tensor
        Weight decay of the function that the objective does not hold; negative where it holds too much.
    """

    operator: Operator
    scale: Tensor | None
    threshold: Threshold
    decay: float | Tensor

    def gradient(self) -> Tensor:
        """Gradient of that function in the same metric, ``(n,)`` (collective)."""
        objective = self.operator.objective
        gradient = objective.gradient() + self.decay * objective.theta
        return gradient if self.scale is None else self.scale * gradient


def optimizer_view(objective: Objective, optimizer: Any, model: nn.Module, *, product: str = "auto") -> OptimizerView:
    """What a live optimizer sees at the objective's parameters (collective).

    Groups may differ in everything. A step is unstable where ``H x = diag(P τ) x`` has a solution, with the threshold τ
    of each parameter's own options; so P holds the ratios of the thresholds to the one that is named.

    Parameters
    ----------
    objective : Objective
        At the parameters that the optimizer has reached. If it has weight decay and the optimizer has, too, it is the
        optimizer's: it is replaced by what each group adds to the loss, which with decoupled weight decay is nothing.
    optimizer : torch.optim.Optimizer
        SGD, Adam, AdamW, NAdam, RMSprop or Adagrad.
    model : nn.Module
        Whose parameters it moves.
    product : str
        Of the :class:`~landscape.Hessian`.

    Returns
    -------
    OptimizerView
        Its threshold is that of the first group with a positive learning rate. Parameters that do not move are left
        out: those with a learning rate of 0, and those that never had a gradient.

    Raises
    ------
    InputError
        If the optimizer is of another kind, has not done a step, maximizes, moves other parameters, or nothing.
    """
    kind = kind_of(optimizer)
    moves = moves_of(optimizer, _live(objective, model))
    first = first_moving(optimizer, moves)
    step = max((move.step for move in moves if move.step), default=None)
    thresholds = _thresholds(kind, moves, step)
    threshold = threshold_of(kind, first.group, step)
    moving = [one for one in thresholds if one is not None]
    decays = _missing_decay(objective, [one or threshold for one in thresholds], moving)
    decay: float | Tensor = decays[0]
    if len(set(decays)) > 1:
        parts = [torch.full_like(move.divisor, decay) for decay, move in zip(decays, moves, strict=True)]
        decay = torch.cat(parts).to(device=objective.device, dtype=objective.dtype)
    hessian = _with_decay(objective, decay, product)
    factors = [math.inf if one is None else one.value / threshold.value for one in thresholds]
    if not threshold.adaptive and all(factor == 1 for factor in factors):
        return OptimizerView(hessian, None, threshold, decay)
    diagonal = torch.cat([factor * move.divisor for factor, move in zip(factors, moves, strict=True)])
    operator = Preconditioned(hessian, diagonal)
    return OptimizerView(operator, operator.scale, threshold, decay)


def check_view(optimizer: Any, model: nn.Module, objective: Objective) -> None:
    """Refuse before the first step what :func:`optimizer_view` would refuse at every step.

    Raises
    ------
    InputError
        If the optimizer is of another kind, maximizes, or moves other parameters.
    """
    for group in groups_of(optimizer, _live(objective, model)):
        if float(group["lr"]) > 0:
            threshold_of(kind_of(optimizer), group, 1)


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
    objective = objective.at(checkpoint)
    decay = _missing_decay(objective, [threshold], [threshold])[0]
    hessian = _with_decay(objective, decay)
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
    found: dict[int, float] = {}
    with objective.scope():
        for index, batch in enumerate(islice(_passes(objective, size, seed), batches)):
            if index % ranks.size == ranks.rank:
                found[index] = _curvature_along_gradient(objective, model, batch)
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


def _curvature_along_gradient(objective: Objective, model: nn.Module, batch: Batch) -> float:
    parameters = [value for value in model.parameters() if value.requires_grad]
    loss = objective.batch_loss(model, batch)
    slopes = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True)
    refusal = Refusal.of_layers(objective, batch)
    refusal.refuse_cut([loss, *slopes])
    fixed = [slope.detach() for slope in slopes]
    length = sum(float(slope.double().square().sum()) for slope in fixed)
    curved = [(slope, along) for slope, along in zip(slopes, fixed, strict=True) if slope.requires_grad]
    if length == 0 or not curved:
        return float("nan") if length == 0 else 0.0
    with refusal.naming():
        products = torch.autograd.grad(
            [slope for slope, _ in curved],
            parameters,
            [along for _, along in curved],
            allow_unused=True,
            materialize_grads=True,
        )
    along = sum(float((p.double() * g.double()).sum()) for p, g in zip(products, fixed, strict=True))
    return along / length


def _live(objective: Objective, model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the objective in the model that is trained."""
    parameters = dict(unwrap(model).named_parameters())
    lacking = [name for name in objective.names if name not in parameters]
    if lacking:
        raise InputError(f"the model has no parameter {lacking[0]!r}, which the objective has: give the same model")
    return {name: parameters[name] for name in objective.names}


def _thresholds(kind: str, moves: list[Move], step: int | None) -> list[Threshold | None]:
    """Of each parameter's own options and steps; None where nothing moves."""
    known: dict[tuple[int, int | None], Threshold] = {}
    found: list[Threshold | None] = []
    for move in moves:
        key = id(move.group), move.step or step
        if move.rate and key not in known:
            known[key] = threshold_of(kind, move.group, key[1])
        found.append(known[key] if move.rate else None)
    return found


def _missing_decay(objective: Objective, thresholds: list[Threshold], moving: list[Threshold]) -> list[float]:
    """Weight decay that each parameter has in the function that is descended, beyond what the objective holds."""
    if not any(one.weight_decay or one.decoupled for one in moving):
        return [0.0] * len(thresholds)
    return [one.weight_decay - objective.weight_decay for one in thresholds]


def _with_decay(objective: Objective, decay: float | Tensor, product: str = "auto") -> Operator:
    """The Hessian of the function that the optimizer descends."""
    hessian = Hessian(objective, product)
    if isinstance(decay, Tensor):
        return Shifted(hessian, decay)
    return hessian + decay if decay else hessian
