"""One operation of a traced network, and what rules about operations share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch.utils._pytree import tree_flatten

from landscape.geometry.axis_labels import closed, unified
from landscape.geometry.axis_terms import Fixed, Term, Uniform

Labels = list[Term]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One operation of a traced network.

    Attributes
    ----------
    name : str
        Of the operation, such as "addmm".
    arguments : dict
        By the names of its schema.
    labels : dict
        Of the nodes before it.
    """

    name: str
    arguments: dict[str, Any]
    labels: dict[fx.Node, Any]
    value: Any
    tags: Sequence[Any]

    def terms(self, which: str) -> Labels:
        """Labels of an argument's axes."""
        return list(self.labels[self.arguments[which]])

    def given(self, which: str) -> bool:
        """Whether an argument is a tensor."""
        return isinstance(self.arguments.get(which), fx.Node)

    def nodes(self) -> list[fx.Node]:
        """Return all tensors among the arguments."""
        return [one for one in tree_flatten(self.arguments)[0] if isinstance(one, fx.Node)]

    @property
    def shape(self) -> Shape:
        """Of the result."""
        return tuple(self.value.shape)


Rule = Callable[[Call], Any]


class Rules(dict[str, Rule]):
    """Rules by the name of an operation of ATen."""

    def of(self, *names: str) -> Callable[[Rule], Rule]:
        """Register a function for some operations."""

        def register(function: Rule) -> Rule:
            self.update(dict.fromkeys(names, function))
            return function

        return register


def tree_of(value: Any) -> Any:
    """Fixed labels for whatever came out."""
    if isinstance(value, Tensor):
        return [Fixed(size) for size in value.shape]
    return [tree_of(one) for one in value] if isinstance(value, tuple | list) else []


def flat(labels: Any) -> Labels:
    """All labels of one tensor or of several."""
    if not isinstance(labels, list):
        return [labels]
    return [term for one in labels for term in flat(one)]


def broadcast(shape: Shape, operands: Sequence[Labels]) -> Labels:
    """Labels after an operation number by number; axes of length 1 are stretched."""
    result: Labels = []
    for axis, size in enumerate(shape):
        merged: Term = Uniform(size) if size > 1 else Fixed(size)
        for terms in operands:
            place = axis - len(shape) + len(terms)
            if place >= 0 and terms[place].size == size:
                merged = unified(merged, terms[place])
        result.append(merged)
    return closed(result)
