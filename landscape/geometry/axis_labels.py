"""What the indices of an axis of a tensor stand for, and what that becomes when two axes must agree.

An axis is labelled by a term: units of a *space*, whose order is free, numbers whose order is *fixed*, one number again
and again (*uniform*), terms one after the other (a *sum*: concatenation) or one inside the other (a *product*:
``index = outer * size + inner``). Spaces are variables: two axes that meet in an addition or a product of matrices are
made equal by splitting and binding spaces, as types are unified in a compiler. Whatever two terms cannot agree on is
fixed, so that what is left is always permitted, if perhaps not everything that is.

A space may depend on others, its parents: then every unit of the parent has a space of its own there, permuted by
itself, as each head of attention orders its features. Where a parent is fixed, the units are told apart: query, key and
value in one matrix become three *members* with nothing in common.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from landscape.geometry.axis_terms import (
    Fixed,
    Product,
    Space,
    Sum,
    Term,
    Uniform,
    found,
    leaves,
    mark_used,
    member,
    multiplied,
    ordered,
    resolved,
    summed,
)


def fix(term: Term) -> Term:
    """Give every order in a term a meaning; returns the term."""
    for leaf in list(leaves(term)):
        for one in leaf.members:
            fix(one)
        if leaf.fixed:
            continue
        leaf.fixed = True
        for child in list(leaf.children):
            if child.bound is None and not child.fixed and child.over is None:
                child.tell_apart(leaf)
    return resolved(term)


def unified(first: Term, second: Term) -> Term:
    """Make two terms of the same size stand for the same, and return it."""
    a, b = resolved(first), resolved(second)
    if a.size != b.size:
        raise ValueError(f"axes of {a.size} and {b.size} cannot agree")
    if a == b or isinstance(b, Uniform):
        return a
    if isinstance(a, Uniform):
        return b
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Space) and one.over is not None:
            return _members_unified(one, one.over, other)
    if isinstance(a, Fixed) or isinstance(b, Fixed):
        return ordered(fix(b if isinstance(a, Fixed) else a))
    if isinstance(a, Space) and isinstance(b, Space):
        return _spaces_unified(a, b)
    if isinstance(a, Space) or isinstance(b, Space):
        return bound(a, b) if isinstance(a, Space) else bound(b, a)  # type: ignore[arg-type]
    if isinstance(a, Sum) or isinstance(b, Sum):
        return _sums_unified(a, b)
    return _products_unified(a, b)  # the only kinds that are left


def bound(space: Space, term: Term) -> Term:
    """Let a space be what a term says; returns the term."""
    term = resolved(_instantiated(resolved(term)))
    if term is space:
        return term
    inside = list(leaves(term))
    above = [ancestor for leaf in inside for ancestor in found(leaf.parents)]
    if space in inside or space in above or space.fixed:
        fix(space)
        return fix(term)
    if isinstance(term, Space):
        term.children += space.children
    else:
        for child in list(space.children):
            orphaned(child, space)
    space.bound = term
    if space.used:
        mark_used([term])
    return resolved(term)


def orphaned(child: Space, parent: Space) -> None:
    """Give a space one order for all units of a parent."""
    if child.bound is not None or child.fixed:
        return
    if child.over is parent:
        first, *others = child.members
        child.over, child.members = None, []
        together: Term = first
        for other in others:
            together = unified(together, other)
        child.bound = resolved(together)
        return
    if child.over is None:
        bound(child, Space(child.size, [one for one in found(child.parents) if one is not parent], child.used))


def closed(terms: Sequence[Term]) -> list[Term]:
    """Return the labels of a tensor's axes, where no space depends on one that the tensor does not have."""
    while True:
        there = dict.fromkeys(leaf for term in terms for leaf in leaves(term))
        lost = None
        for leaf in there:
            if leaf.fixed:
                continue
            needed = [leaf.over] if leaf.over is not None else found(leaf.parents)
            lost = next(((leaf, one) for one in needed if one is not None and one not in there), None)
            if lost is not None:
                break
        if lost is None:
            return [resolved(term) for term in terms]
        orphaned(*lost)


def halves(term: Term, first: int) -> tuple[Term, Term]:
    """Cut a term in two, the first part of a given size."""
    term = resolved(term)
    rest = term.size - first
    if not first or not rest:
        return (term, Fixed(0)) if first else (Fixed(0), term)
    if isinstance(term, Fixed | Uniform):
        return type(term)(first), type(term)(rest)
    if isinstance(term, Space):
        if _has_children(term) or term.fixed:
            return halves(_as_fixed(term), first)
        pair = Space(first, found(term.parents), term.used), Space(rest, found(term.parents), term.used)
        _define(term, lambda one, two: summed([one, two]), *pair)
        return pair
    if isinstance(term, Sum):
        ends = list(accumulate(part.size for part in term.parts))
        place = bisect_left(ends, first)
        left, right = halves(term.parts[place], first - (ends[place] - term.parts[place].size))
        return summed([*term.parts[:place], left]), summed([right, *term.parts[place + 1 :]])
    outer, inner = term.factors[0], multiplied(term.factors[1:])
    if isinstance(outer, Fixed):
        return halves(summed([inner] * outer.size), first)
    if first % inner.size == 0:
        left, right = halves(outer, first // inner.size)
        if isinstance(resolved(term), Product):
            return multiplied([left, inner]), multiplied([right, inner])
        return halves(term, first)
    return halves(_as_fixed(term), first)


def pair(term: Term, outer: int) -> tuple[Term, Term]:
    """Cut a term into an outer one of a given size and an inner one, which may depend on it."""
    term = resolved(term)
    inner = term.size // outer
    if outer == 1 or inner == 1:
        return (Fixed(1), term) if outer == 1 else (term, Fixed(1))
    if isinstance(term, Fixed | Uniform):
        return type(term)(outer), type(term)(inner)
    if isinstance(term, Space):
        if _has_children(term) or term.fixed:
            return pair(_as_fixed(term), outer)
        above = found(term.parents)
        around = Space(outer, above, term.used)
        inside = Space(inner, [*above, around], term.used)
        _define(term, lambda one, two: multiplied([one, two]), around, inside)
        return around, inside
    if isinstance(term, Sum):
        return _told_apart(term, outer)
    head, rest = term.factors[0], multiplied(term.factors[1:])
    if head.size == outer:
        return head, rest
    if head.size % outer == 0:
        upper, below = pair(head, outer)
        if isinstance(resolved(term), Product):
            return upper, multiplied([below, rest])
        return pair(term, outer)
    if outer % head.size == 0:
        more, below = pair(rest, outer // head.size)
        return multiplied([head, more]), below
    return pair(_as_fixed(term), outer)


def blocks(term: Term, count: int) -> tuple[Term, Term]:
    """Cut a term into blocks that stay together, and what is inside of them."""
    outer, _ = pair(term, count)
    closed([outer])  # a block that depended on what is inside would be torn
    return pair(term, count)


def _as_fixed(term: Term) -> Term:
    """Fix a term, also where others depend on it."""
    size = term.size
    fix(term)
    return Fixed(size)


def _has_children(space: Space) -> bool:
    """Whether the order of other spaces depends on the units of one."""
    return any(child.bound is None and not child.fixed for child in space.children)


def member_of(terms: Sequence[Term], key: Term, index: int) -> list[Term]:
    """Return what the labels of the other axes are for one index of an axis whose order is fixed."""
    key = resolved(key)
    if not isinstance(key, Space):
        return list(terms)
    return [member(term, key, index) for term in terms]


def stacked(axes: Sequence[Sequence[Term]]) -> tuple[Term, list[Term]]:
    """Return the labels of tensors side by side: of the axis that tells them apart, and of all their other axes.

    Parameters
    ----------
    axes : sequence of sequences of Term
        For each axis its labels in all tensors.
    """
    key = Space(len(axes[0]) if axes else 1, used=True)
    key.fixed = True
    result: list[Term] = []
    for terms in axes:
        first = resolved(terms[0])
        if all(resolved(term) == first for term in terms):
            result.append(first)
            continue
        family = Space(first.size, [key], used=True)
        for one, term in zip(family.members, terms, strict=True):
            bound(one, term)
        result.append(family)
    return key, result


def _instantiated(term: Term) -> Term:
    """With free spaces in place of what is uniform, whose order is free, too."""
    if isinstance(term, Uniform):
        return Space(term.size)
    if isinstance(term, Sum):
        return summed([_instantiated(part) for part in term.parts])
    if isinstance(term, Product):
        return multiplied([Fixed(one.size) if isinstance(one, Uniform) else _instantiated(one) for one in term.factors])
    return term


def _define(space: Space, build: Callable[[Term, Term], Term], first: Space, second: Space) -> None:
    """Let a space be made of two others, member by member where it is told apart."""
    if space.over is None:
        space.bound = build(first, second)
        return
    for index, one in enumerate(space.members):  # which may be known already
        unified(one, build(first.members[index], second.members[index]))
    space.bound = build(first, second)


def _told_apart(term: Sum, outer: int) -> tuple[Term, Term]:
    """Equal parts of a sum as the members of one space over a fixed one."""
    inner = term.size // outer
    key = Space(outer, used=True)
    key.fixed = True
    family = Space(inner, [key], used=True)
    rest: Term = term
    for one in family.members:
        part, rest = halves(rest, inner)
        bound(one, part)
    return key, family


def _members_unified(space: Space, over: Space, other: Term) -> Term:
    if isinstance(other, Space) and other.over is over:
        for one, two in zip(space.members, other.members, strict=True):
            unified(one, two)
        return space
    orphaned(space, over)
    return unified(space, other)


def _spaces_unified(a: Space, b: Space) -> Term:
    if a.fixed or b.fixed:
        fix(a)
        fix(b)
        if a.children and b.children:  # the same key from now on
            a.children += b.children
            b.bound = a
            for child in b.children:
                child.over = a if child.over is b else child.over
        return resolved(a if a.children else b)
    above, other = found(a.parents), found(b.parents)
    if above != other:
        common = Space(a.size, [one for one in above if one in other], a.used or b.used)
        bound(a, common)
        return bound(b, common)
    return bound(b, a)


def _sums_unified(a: Term, b: Term) -> Term:
    first, second = resolved(a), resolved(b)
    done: list[Term] = []
    while first.size:
        cut = min(one.parts[0].size if isinstance(one, Sum) else one.size for one in (first, second))
        (left, first), (right, second) = halves(first, cut), halves(second, cut)
        done.append(unified(left, right))
        first, second = resolved(first), resolved(second)
    return resolved(summed(done))


def _products_unified(a: Product, b: Product) -> Term:
    sizes = a.factors[0].size, b.factors[0].size
    least = min(sizes)
    if any(size % least for size in sizes):
        fix(a)
        return fix(b)
    (outer, inner), (around, inside) = pair(a, least), pair(b, least)
    above = unified(outer, around)
    return resolved(multiplied([above, unified(inner, inside)]))
