"""Terms for what the indices of an axis stand for; see :mod:`.axis_labels`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias


@dataclass(frozen=True)
class Fixed:
    """Numbers in an order that means something."""

    size: int


@dataclass(frozen=True)
class Uniform:
    """The same number everywhere: any order is as good."""

    size: int


@dataclass(frozen=True)
class Sum:
    """Terms one after the other."""

    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Their sizes together."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True)
class Product:
    """Terms one inside the other, the outermost first."""

    factors: tuple[Term, ...]

    @property
    def size(self) -> int:
        """The product of their sizes."""
        return prod(factor.size for factor in self.factors)


class Space:
    """Units whose order is free.

    Parameters
    ----------
    size : int
    parents : sequence of Space
        Every combination of their units has a space of its own here.

    Attributes
    ----------
    bound : Term or None
        What this space has been found to be.
    fixed : bool
        Its order means something after all; such a space is kept while others depend on it.
    over, members : Space or None, list of Space
        The fixed parent, and the spaces of its units.
    used : bool
        Some operation has met it; what no operation meets stays as it is.
    """

    def __init__(self, size: int, parents: Sequence[Space] = (), used: bool = False) -> None:
        self.size, self.used = size, used
        self.parents = tuple(parents)
        self.bound: Term | None = None
        self.fixed = False
        self.over: Space | None = None
        self.members: list[Space] = []
        self.children: list[Space] = []
        for parent in self.parents:
            parent.children.append(self)
        for parent in self.parents:
            if parent.fixed and self.over is None:
                self.tell_apart(parent)

    def tell_apart(self, parent: Space) -> None:
        """Become one space for each unit of a parent that is fixed."""
        self.over = parent
        for index in range(parent.size):
            others = [member(other, parent, index) for other in found(self.parents) if other is not parent]
            self.members.append(Space(self.size, [one for one in others if isinstance(one, Space)], self.used))


Term: TypeAlias = Fixed | Uniform | Sum | Product | Space


def found(parents: Sequence[Space]) -> tuple[Space, ...]:
    """Return the spaces that some parents have become, without those that are none any more."""
    ends = (_followed(parent) for parent in parents)
    return tuple(dict.fromkeys(one for one in ends if isinstance(one, Space)))


def resolved(term: Term) -> Term:
    """Return a term with everything put in that is known by now, in its shortest form."""
    if isinstance(term, Space):
        end = _followed(term)
        if not isinstance(end, Space):
            return resolved(end)
        return Fixed(end.size) if end.size == 1 or (end.fixed and not end.children) else end
    if isinstance(term, Sum):
        return summed([resolved(part) for part in term.parts])
    if isinstance(term, Product):
        return multiplied([resolved(factor) for factor in term.factors])
    return term


def summed(terms: Sequence[Term]) -> Term:
    """Return terms one after the other as one."""
    flat: list[Term] = []
    for term in terms:
        for part in term.parts if isinstance(term, Sum) else (term,):
            if flat and isinstance(part, Fixed) and isinstance(flat[-1], Fixed):
                part = Fixed(flat.pop().size + part.size)  # not what is uniform: two such numbers may differ
            if part.size:
                flat.append(part)
    if not flat:
        return Fixed(0)
    return flat[0] if len(flat) == 1 else Sum(tuple(flat))


def multiplied(terms: Sequence[Term]) -> Term:
    """Return terms one inside the other as one."""
    flat: list[Term] = []
    for term in terms:
        for factor in term.factors if isinstance(term, Product) else (term,):
            if factor.size == 1:
                continue
            if flat and isinstance(factor, Fixed | Uniform) and type(flat[-1]) is type(factor):
                factor = type(factor)(flat.pop().size * factor.size)
            flat.append(factor)
    for place, factor in enumerate(flat):
        rest = flat[place + 1 :]
        if isinstance(factor, Space) and factor.fixed and any(_depends(one, factor) for one in rest):
            inner = [multiplied([member(one, factor, index) for one in rest]) for index in range(factor.size)]
            return multiplied([*flat[:place], summed([resolved(one) for one in inner])])
    if not flat:
        return Fixed(1)
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def leaves(term: Term) -> Iterator[Space]:
    """Yield the spaces of a term, those of the members of a space that is told apart only through itself."""
    term = resolved(term)
    if isinstance(term, Space):
        yield term
    for part in getattr(term, "parts", getattr(term, "factors", ())):
        yield from leaves(part)


def free_leaves(term: Term) -> list[Space]:
    """Return the spaces of a term whose order is free, members for those that are told apart."""
    result: list[Space] = []
    for leaf in leaves(term):
        if leaf.members:
            result += [one for member in leaf.members for one in free_leaves(member)]
        elif not leaf.fixed:
            result.append(leaf)
    return result


def mark_used(terms: Sequence[Term]) -> None:
    """Remember that an operation has met these terms."""
    for term in terms:
        for leaf in leaves(term):
            leaf.used = True
            mark_used(leaf.members)


def ordered(term: Term) -> Term:
    """Return a term in which nothing is uniform: such numbers have an order from now on."""
    term = resolved(term)
    if isinstance(term, Uniform):
        return Fixed(term.size)
    if isinstance(term, Sum):
        return summed([ordered(part) for part in term.parts])
    if isinstance(term, Product):
        return multiplied([ordered(factor) for factor in term.factors])
    return term


def _followed(term: Term) -> Term:
    while isinstance(term, Space) and term.bound is not None:
        term = term.bound
    return term


def member(term: Term, parent: Space, index: int) -> Term:
    """Return what a term is for one unit of a parent that is fixed."""
    term = resolved(term)
    if isinstance(term, Space):
        return resolved(term.members[index]) if term.over is parent else term
    if isinstance(term, Sum):
        return summed([member(part, parent, index) for part in term.parts])
    if isinstance(term, Product):
        return multiplied([member(factor, parent, index) for factor in term.factors])
    return term


def _depends(term: Term, parent: Space) -> bool:
    return any(leaf.over is parent for leaf in leaves(term))
