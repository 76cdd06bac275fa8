"""The diagonal metric of an adaptive optimizer: what it divides its step by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError

# Class → what it keeps of the squared gradients. Subclasses count as what they derive from.
SECOND_MOMENTS = {
    "SGD": None,
    "Adam": "exp_avg_sq",
    "AdamW": "exp_avg_sq",
    "NAdam": "exp_avg_sq",
    "RMSprop": "square_avg",
    "Adagrad": "sum",
}
BIAS_CORRECTED = ("Adam", "AdamW", "NAdam")


def kind_of(optimizer: Any) -> str:
    """Which of the known optimizers this is.

    Raises
    ------
    InputError
        If it is none of them; the message lists them.
    """
    names = [base.__name__ for base in type(optimizer).__mro__]
    return checked_kind(next((name for name in names if name in SECOND_MOMENTS), names[0]))


def checked_kind(name: str) -> str:
    """The name, if it is one of a known optimizer.

    Raises
    ------
    InputError
        If it is none of them; the message lists them.
    """
    if name not in SECOND_MOMENTS:
        raise InputError(f"the step of {name} is not known; known are {', '.join(SECOND_MOMENTS)}")
    return name


@dataclass(frozen=True)
class Move:
    """How an optimizer moves one parameter.

    Attributes
    ----------
    group : dict
        Its parameter group.
    step : int or None
        Steps done with it, where the optimizer counts them.
    divisor : (size,) float64 tensor
        What its step is divided by, without the learning rate; infinite if it has never been moved.
    """

    group: Mapping[str, Any]
    step: int | None
    divisor: Tensor

    @property
    def rate(self) -> float:
        """Learning rate."""
        return float(self.group["lr"])


def groups_of(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> list[dict[str, Any]]:
    """The group of every parameter.

    Raises
    ------
    InputError
        If the optimizer is of another kind or does not move one of them.
    """
    kind = kind_of(optimizer)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    lacking = [name for name, parameter in parameters.items() if id(parameter) not in groups]
    if lacking:
        raise InputError(
            f"the {kind} does not move the parameter {lacking[0]!r}: was it built for another copy of the model? "
            "Choose the parameters that it moves with Objective(..., parameters=)"
        )
    return [groups[id(parameter)] for parameter in parameters.values()]


def moves_of(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> list[Move]:
    """How a torch optimizer moves each parameter, as it is now.

    The divisor is ``sqrt(v / (1 - β₂ᵗ)) + eps`` for Adam, AdamW and NAdam (with the maximum of v under ``amsgrad``),
    ``sqrt(v) + eps`` for RMSprop and Adagrad (v minus the squared mean gradient if centred), 1 for SGD.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    parameters : dict
        Name → the live parameter, in the order of theta.

    Raises
    ------
    InputError
        If the optimizer is of another kind, does not move one of them, or has not moved anything yet.
    """
    kind, groups = kind_of(optimizer), groups_of(optimizer, parameters)
    moved = any(float(state.get("step", 0)) >= 1 for state in optimizer.state.values())
    if SECOND_MOMENTS[kind] is not None and not moved:
        raise InputError(
            f"the {kind} has not moved the parameter {next(iter(parameters), '')!r} yet: let it do a step first"
        )
    return [
        _move(kind, group, optimizer.state.get(parameter, {}), parameter)
        for group, parameter in zip(groups, parameters.values(), strict=True)
    ]


def optimizer_metric(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> Tensor:
    """What a torch optimizer divides the step of each parameter by, ``(n,)`` float64.

    The divisor of :func:`moves_of` times the first positive learning rate over that of the parameter's own group;
    infinite where nothing moves: at a learning rate of 0, and for a parameter that never had a gradient.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    parameters : dict
        Name → the live parameter, in the order of theta.

    Raises
    ------
    InputError
        If the optimizer is of another kind, does not move one of them, or has not moved anything yet.
    """
    moves = moves_of(optimizer, parameters)
    first = first_moving(optimizer, moves).rate
    return torch.cat([(first / move.rate if move.rate else inf) * move.divisor for move in moves])


def first_moving(optimizer: Any, moves: list[Move]) -> Move:
    """The first with a positive learning rate, which the others are measured by.

    Raises
    ------
    InputError
        If there is none.
    """
    for move in moves:
        if move.rate > 0:
            return move
    raise InputError(f"the {kind_of(optimizer)} has a learning rate of 0 everywhere: nothing moves")


def recorded_metric(facts: Mapping[str, Any], second_moment: Any, step: int, n: int) -> Tensor:
    """What a recorded optimizer divided its step by, ``(n,)`` float64.

    Parameters
    ----------
    facts : dict
        "class" and "defaults" of the optimizer, as a recorded run keeps them.
    second_moment : (n,) array or None
    step : int
        Steps done.
    n : int

    Raises
    ------
    InputError
        If the optimizer is of another kind, or what its metric is made of was not recorded.
    """
    kind = checked_kind(str(facts.get("class", "an unknown optimizer")))
    options = facts.get("defaults", {})
    if facts.get("groups"):
        raise InputError(
            f"the parameter groups of the {kind} have different options, and which parameter is in which is not "
            "recorded: take the live optimizer, Preconditioned.from_optimizer"
        )
    if SECOND_MOMENTS[kind] is None:
        return torch.ones(n, dtype=torch.float64)
    kept = (
        second_moment is not None and kind != "Adagrad" and not options.get("amsgrad") and not options.get("centered")
    )
    if not kept:
        raise InputError(
            f"the checkpoint does not hold what the {kind} divides by: record the run with its optimizer, at a step "
            "after the first; of Adagrad, amsgrad and centred RMSprop it is not recorded, use the live optimizer"
        )
    values = torch.as_tensor(second_moment).double()
    return _of_second_moment(kind, options, values, step)


def _move(kind: str, group: Mapping[str, Any], state: Mapping[str, Any], parameter: nn.Parameter) -> Move:
    key = SECOND_MOMENTS[kind]
    if key is None:
        return Move(group, None, torch.ones(parameter.numel(), dtype=torch.float64, device=parameter.device))
    step = float(state.get("step", 0))
    if key not in state or step < 1:
        # It has had no gradient, where others have.
        never = torch.full((parameter.numel(),), inf, dtype=torch.float64, device=parameter.device)
        return Move(group, None, never)
    values = state["max_exp_avg_sq" if group.get("amsgrad") else key].detach().double()
    if group.get("centered"):
        values = values - state["grad_avg"].detach().double() ** 2
    return Move(group, int(step), _of_second_moment(kind, group, values, step).reshape(-1))


def _of_second_moment(kind: str, options: Mapping[str, Any], values: Tensor, step: float) -> Tensor:
    if kind in BIAS_CORRECTED:
        values = values / (1 - float(options["betas"][1]) ** step)
    return values.clamp(min=0).sqrt() + float(options["eps"])
