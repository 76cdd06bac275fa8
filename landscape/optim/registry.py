"""Find optimizers by name: those of torch, ours, and those that installed packages register."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import nn

from landscape.errors import InputError

GROUP = "landscape.optimizers"
_TORCH = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adafactor": torch.optim.Adafactor,
    "asgd": torch.optim.ASGD,
    "lbfgs": torch.optim.LBFGS,
}
# Also entry points of this package; listed here so that they are found in a source tree that is not installed.
_OWN = {"prox_sgd": "landscape.optim.prox_sgd:ProxSGD"}
# torch's own default for SGD, 1e-3, was chosen so that there is one; 0.1 is the usual first value for a mean loss.
_DEFAULTS: dict[str, dict[str, Any]] = {"sgd": {"lr": 0.1}}


def names() -> tuple[str, ...]:
    """The names that :func:`build` knows: torch's, then ours and those of plug-in packages in alphabetical order.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> "adam" in names() and "prox_sgd" in names()
    True
    """
    return (*_TORCH, *sorted(_plugins()))


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class behind a name; upper case and dashes do not matter.

    Parameters
    ----------
    name : str

    Returns
    -------
    subclass of torch.optim.Optimizer

    Raises
    ------
    InputError
        If there is no such name (the message lists all), if two packages claim it, or if a plug-in cannot be loaded or
        is no optimizer.
    """
    wanted = _normal(name)
    if wanted in _TORCH:
        return _TORCH[wanted]
    found = _plugins().get(wanted)
    if found is None:
        raise InputError(f"unknown optimizer {name!r}; choose one of {', '.join(names())}")
    if len(found) > 1:
        owners = ", ".join(f"{entry.value} of {_owner(entry)}" for entry in found)
        raise InputError(
            f"the optimizer name {wanted!r} is claimed by several packages: {owners}; uninstall all but one"
        )
    entry = found[0]
    try:
        loaded = entry.load()
    except Exception as error:
        raise InputError(
            f"the optimizer {wanted!r} of {_owner(entry)} cannot be loaded from {entry.value}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not (inspect.isclass(loaded) and issubclass(loaded, torch.optim.Optimizer)):
        raise InputError(
            f"the optimizer {wanted!r} of {_owner(entry)} is {entry.value}, which is no subclass of "
            "torch.optim.Optimizer"
        )
    return loaded


def build(
    name: str, parameters: nn.Module | Iterable[Any], lr: float | None = None, **options: Any
) -> torch.optim.Optimizer:
    """An optimizer by its name.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    parameters : iterable of parameters or groups, or nn.Module
        Of a module the trainable parameters are taken, in the groups that the optimizer wants them in, if it has an
        opinion: ProxSGD leaves biases and normalization layers without l1.
    lr : float, optional
        Learning rate. Default: that of the class; 0.1 for sgd.
    **options
        Of the class.

    Returns
    -------
    torch.optim.Optimizer

    Raises
    ------
    InputError
        If there is no such name or option (the message lists all), or a value is refused.

    Examples
    --------
    >>> build("sgd", torch.nn.Linear(2, 1), momentum=0.9).param_groups[0]["lr"]
    0.1
    """
    kind = optimizer_class(name)
    given = {**_DEFAULTS.get(_normal(name), {}), **({} if lr is None else {"lr": lr}), **options}
    check_options(name, kind, given)
    if isinstance(parameters, nn.Module):
        parameters, given = _groups(kind, parameters, given)
    try:
        return kind(parameters, **given)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(f"{_normal(name)} refuses its options {_in_words(given)}: {error}") from error


def check_options(name: str, kind: type[torch.optim.Optimizer], given: dict[str, Any]) -> None:
    """Refuse options that the constructor does not have, and learning rates that are none.

    Raises
    ------
    InputError
        The message lists the options that there are.
    """
    accepted = dict(list(inspect.signature(kind.__init__).parameters.items())[2:])  # without self and the parameters
    open_ended = any(one.kind is one.VAR_KEYWORD for one in accepted.values())
    listed = [option for option, one in accepted.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    unknown = [option for option in given if option not in listed]
    if unknown and not open_ended:
        raise InputError(f"{_normal(name)} has no option {', '.join(unknown)}; it has {', '.join(listed) or 'none'}")
    missing = [option for option in listed if accepted[option].default is inspect.Parameter.empty]
    missing = [option for option in missing if option not in given]
    if missing:
        raise InputError(f"{_normal(name)} needs a value of {', '.join(missing)}")


def _groups(
    kind: type[torch.optim.Optimizer], model: nn.Module, given: dict[str, Any]
) -> tuple[Iterable[Any], dict[str, Any]]:
    """Parameter groups for a module, and the options that are left."""
    grouping = getattr(kind, "parameter_groups", None)
    if callable(grouping):
        groups, options = grouping(model, **given)
        return groups, options
    return [value for value in model.parameters() if value.requires_grad], given


def _plugins() -> dict[str, list[EntryPoint]]:
    """The registered classes by name; several if several packages claim one."""
    found: dict[str, list[EntryPoint]] = {name: [EntryPoint(name, value, GROUP)] for name, value in _OWN.items()}
    for entry in entry_points(group=GROUP):
        entries = found.setdefault(_normal(entry.name), [])
        # A package may be found twice, such as an installed one whose source tree is the working folder.
        if all(entry.value != known.value for known in entries):
            entries.append(entry)
    return {name: entries for name, entries in found.items() if name not in _TORCH}


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "landscape"


def _normal(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _in_words(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items()) or "(none)"
