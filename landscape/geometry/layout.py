"""What the numbers of a flat theta belong to: names and shapes of parameters, in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError

Selection = Sequence[str] | str | Callable[[str, NDArray[Any]], bool] | None


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the parameters that a flat vector is made of.

    Attributes
    ----------
    names : tuple of str
        Empty if they are unknown.
    shapes : tuple of tuples of int
    n : int
        Length of the vector.

    Examples
    --------
    >>> layout = Layout(("weight", "bias"), ((2, 3), (2,)), 8)
    >>> {name: part for name, part in layout.parts()}
    {'weight': slice(0, 6, None), 'bias': slice(6, 8, None)}
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    n: int

    def __post_init__(self) -> None:
        if self.names and self.n != sum(map(prod, self.shapes)):
            raise InputError(
                f"the parameters' shapes add up to {sum(map(prod, self.shapes))} numbers, but theta holds {self.n}"
            )

    def parts(self) -> Iterator[tuple[str, slice]]:
        """Yield the name of each parameter and where it lies in the vector."""
        start = 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            yield name, slice(start, start + prod(shape))
            start += prod(shape)

    def places_of(self, other: Layout, mine: str, theirs: str) -> NDArray[np.int64] | None:
        """Return where the numbers of this layout lie in a vector of another one; None if at the same places.

        Parameters
        ----------
        other : Layout
        mine, theirs : str
            What the two belong to, for the message.

        Raises
        ------
        InputError
            If they are of different models: which name, which shapes.
        """
        if not (self.names and other.names):
            if self.n != other.n:
                raise InputError(f"{mine} has n = {self.n} parameters, but {theirs} has {other.n}")
            return None
        if (self.names, self.shapes) == (other.names, other.shapes):
            return None
        known = dict(zip(other.names, other.shapes, strict=True))
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name not in known:
                raise InputError(
                    f"{mine} and {theirs} are of different models: {theirs} has no parameter {name!r} {shape}"
                )
            if shape != known[name]:
                raise InputError(
                    f"{mine} and {theirs} are of different models: parameter {name!r} has shape {shape} in {mine}, but "
                    f"{known[name]} in {theirs}"
                )
        strange = [name for name in other.names if name not in set(self.names)]
        if strange:
            raise InputError(
                f"{mine} and {theirs} are of different models: {mine} has no parameter {strange[0]!r} "
                f"{known[strange[0]]}. If theta should hold fewer parameters, record a run of these alone"
            )
        where = dict(other.parts())
        return np.concatenate([np.arange(where[name].start, where[name].stop) for name in self.names])

    def selected(self, parameters: Selection, theta: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which numbers of theta belong to the chosen parameters, (n,); None if all of them.

        Parameters
        ----------
        parameters : names, regular expression or predicate(name, value)
            As for :class:`~landscape.Objective`.
        theta : (n,) array
            The values that a predicate is shown.

        Raises
        ------
        InputError
            If nothing is chosen, or a name is unknown.
        """
        if parameters is None:
            return None
        if not self.names:
            raise InputError("parameters= chooses by name, but the names of the parameters are not known here")
        chosen: list[str]
        if isinstance(parameters, str):
            try:
                chosen = [name for name in self.names if re.search(parameters, name)]
            except re.error as error:
                raise InputError(f"parameters={parameters!r} is no regular expression: {error}") from error
        elif callable(parameters):
            shape_of = dict(zip(self.names, self.shapes, strict=True))
            chosen = [name for name, part in self.parts() if parameters(name, theta[part].reshape(shape_of[name]))]
        else:
            chosen = list(parameters)
            unknown = [name for name in chosen if name not in self.names]
            if unknown:
                raise InputError(
                    f"parameters= names {unknown[0]!r}, which is not there; there is {_listed(self.names)}"
                )
        if not chosen:
            raise InputError(f"parameters={parameters!r} chooses none of {_listed(self.names)}")
        mask = np.zeros(self.n, bool)
        for name, part in self.parts():
            mask[part] = name in chosen
        return mask


def layout_of(thing: Any, n: int) -> Layout:
    """Return the layout of whatever has names and shapes: a run, a checkpoint, an objective, a plane."""
    if not hasattr(thing, "shapes"):  # a tensor has names, too, of its dimensions
        return Layout((), (), n)
    return Layout(tuple(thing.names), tuple(tuple(int(length) for length in shape) for shape in thing.shapes), n)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" … ({len(names)} of them)" if len(names) > 8 else "")
