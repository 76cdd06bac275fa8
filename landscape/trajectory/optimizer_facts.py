"""What an optimizer says of itself: its class and hyper-parameters, and its state as vectors in the order of theta."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError

# Names of the per-parameter state in torch's optimizers and in ours, the first that there is.
MOMENTUM = ("momentum_buffer", "exp_avg", "momentum")
SECOND_MOMENT = ("exp_avg_sq", "square_avg", "second_moment")
# Options that are known at every checkpoint, or that say only how they are scheduled.
SCHEDULED = ("lr", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum")


def optimizer_facts(optimizer: Any) -> dict[str, Any]:
    """Class and hyper-parameters as plain values.

    Returns
    -------
    dict
        "class", "defaults" (those of the first parameter group) and, if they differ between groups, "groups".
    """
    if optimizer is None:
        return {}
    groups = [_plain({key: value for key, value in group.items() if key != "params"}) for group in _groups(optimizer)]
    facts = {"class": type(optimizer).__name__, "defaults": _plain(getattr(optimizer, "defaults", {})) | groups[0]}
    return facts | ({"groups": groups} if any(group != groups[0] for group in groups) else {})


def differ(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether options that both facts of an optimizer hold have other values, the learning rate aside."""
    old, new = before.get("defaults", {}), now.get("defaults", {})
    return any(old[name] != new[name] for name in set(old) & set(new) - set(SCHEDULED))


def check_optimizer(optimizer: Any, parameters: Sequence[nn.Parameter]) -> None:
    """Refuse what is no optimizer, and one that moves other parameters than the model's.

    Raises
    ------
    InputError
    """
    if optimizer is None:
        return
    mine = {id(parameter) for parameter in parameters}
    moved = [parameter for group in _groups(optimizer) for parameter in group["params"]]
    if not any(id(parameter) in mine for parameter in moved):
        raise InputError(
            f"the {type(optimizer).__name__} moves none of the model's trainable parameters: was it built for another "
            "copy of the model?"
        )


def learning_rate(optimizer: Any) -> float:
    """Of the first parameter group, NaN if there is none."""
    rate = math.nan if optimizer is None else _groups(optimizer)[0].get("lr", math.nan)
    return float(rate) if isinstance(rate, (int, float, Tensor)) else math.nan


def optimizer_state(optimizer: Any, parameters: Sequence[nn.Parameter], keys: Sequence[str]) -> list[Tensor] | None:
    """One quantity that the optimizer keeps for every parameter.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer or None
    parameters : sequence of parameters
        What theta is made of.
    keys : sequence of str
        Names under which optimizers keep it.

    Returns
    -------
    list of tensors of the shapes of the parameters, zero where it has none yet; None if no parameter has any
    """
    state = getattr(optimizer, "state", {})
    found = [_of_parameter(state.get(parameter, {}), parameter, keys) for parameter in parameters]
    if all(value is None for value in found):
        return None
    return [
        torch.zeros_like(parameter) if value is None else value
        for value, parameter in zip(found, parameters, strict=True)
    ]


def _of_parameter(state: Mapping[str, Any], parameter: nn.Parameter, keys: Sequence[str]) -> Tensor | None:
    values = [state[key] for key in keys if isinstance(state.get(key), Tensor)]
    return values[0] if values and values[0].shape == parameter.shape else None


def _groups(optimizer: Any) -> list[dict[str, Any]]:
    groups = getattr(optimizer, "param_groups", None)
    if not groups:
        raise InputError(f"optimizer must be a torch.optim.Optimizer or None, not {type(optimizer).__name__}")
    return list(groups)


def _plain(value: Any) -> Any:
    """Numbers, text, lists and dictionaries as they are; a tensor as its number; everything else by its name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return getattr(value, "__name__", type(value).__name__)
