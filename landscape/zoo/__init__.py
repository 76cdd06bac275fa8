"""Small reference objectives for the demo, the tests and the benchmarks, by name."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.objective import Objective

# Name → module and function: listing the names needs no torch.
_BUILDERS = {
    "digits-mlp": ("landscape.zoo.digits", "digits_mlp"),
    "digits-cnn": ("landscape.zoo.digits", "digits_cnn"),
    "digits-resnet": ("landscape.zoo.digits", "digits_resnet"),
    "mnist-mlp": ("landscape.zoo.mnist", "mnist_mlp"),
    "characters": ("landscape.zoo.text", "characters"),
}

__all__ = ["build", "names"]


def names() -> tuple[str, ...]:
    """The names that `build` knows.

    Returns
    -------
    tuple of str
    """
    return tuple(_BUILDERS)


def build(name: str, **arguments: Any) -> Objective:
    """A trained reference objective by its name.

    Collective: on several ranks all must call it with the same arguments; rank 0 trains.

    Parameters
    ----------
    name : str
        One of `names`.
    **arguments
        Of the function behind the name, such as ``epochs=0`` for the untrained net, ``seed=1``, ``weight_decay=1e-4``.

    Returns
    -------
    landscape.Objective

    Raises
    ------
    InputError
        If there is no such name or argument; the message lists those there are.

    Examples
    --------
    >>> from landscape import zoo
    >>> zoo.build("digits-mlp", epochs=0).n
    2454
    """
    if name not in _BUILDERS:
        raise InputError(f"The zoo has no {name!r}; it has {', '.join(_BUILDERS)}.")
    module, function = _BUILDERS[name]
    builder = getattr(import_module(module), function)
    accepted = inspect.signature(builder).parameters
    unknown = [argument for argument in arguments if argument not in accepted]
    if unknown:
        raise InputError(f"{name} has no argument {', '.join(unknown)}; it has {', '.join(accepted)}.")
    objective: Objective = builder(**arguments)
    return objective
