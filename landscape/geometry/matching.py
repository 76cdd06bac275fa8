"""Which permutation of one network's units makes them most like another one's.

Both ways maximize a sum of inner products over the spaces of a coupling graph: of the weights (Ainsworth, Hayase,
Srinivasa, ICLR 2023, section 3.2), by coordinate descent, one assignment problem for each space while the others stay;
or of what the units say about the data (their section 3.1, with correlations as Li et al., ICLR 2016, use them), where
each space has a problem of its own. Differences from the paper: any order of any network's spaces comes from its graph;
units inside of others (features inside of heads) are matched with them, the best order inside for each pair; a step
that would make the sum smaller, which is possible where a space meets itself in one matrix, is not taken; and one
descent starts from an order that does not depend on how the units happen to lie (numbers along spaces that have not
been matched are sorted first), without which a permuted transformer of 24 units is not always found again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.geometry.coupling import Axes, CouplingGraph, Segment
from landscape.geometry.permuting import Permutations, composed, permute, random_permutations

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# More sweeps than any network has needed (30), so that a cycle of rounding errors ends.
MOST_SWEEPS = 200
# Relative to the sum: a smaller gain is rounding.
LEAST_GAIN = 1e-12


@dataclass(frozen=True)
class Matching:
    """What coordinate descent has found.

    Attributes
    ----------
    permutations : dict of (width,) or (blocks, width) int64
        Of every space.
    before, value : float
        The sum of inner products in the order that was there, and in the one that was found.
    sweeps : int
        Over all spaces, the last one without a change.
    """

    permutations: dict[str, Indices]
    before: float
    value: float
    sweeps: int


def matched_weights(
    graph: CouplingGraph,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    *,
    restarts: int,
    seed: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> Matching:
    """The best of several descents.

    The first one starts where the second network is, so that what is near stays near, and another one from what numbers
    say whatever their order is, which finds a permuted network. The others start anywhere.

    Parameters
    ----------
    graph : CouplingGraph
    first, second : dict of tensors
        Parameters of both networks, those that count.
    restarts, seed : int
    progress : callable, optional
        ``progress(done, total, text)`` after each descent.

    Returns
    -------
    Matching
    """
    found: list[Matching] = []
    for start in range(restarts):
        origin = random_permutations(graph, seed, 2 * start) if start else {}
        found.append(_Descent(graph, first, second, origin).run(seed, 2 * start + 1))
        if not start:
            found.append(_Descent(graph, first, second, origin).run(seed, 2 * start + 1, guess=True))
        if progress is not None:
            progress(start + 1, restarts, f"similarity {max(one.value for one in found):.6g}")
    return max(found, key=lambda one: one.value)


class _Descent:
    """One descent: the second network in the order that has been reached."""

    def __init__(
        self, graph: CouplingGraph, first: Mapping[str, Tensor], second: Mapping[str, Tensor], origin: Permutations
    ) -> None:
        self.graph = graph
        members = graph.members()
        self.names = [name for name in first if any(name in there for there in members.values())]
        self.first = {name: first[name].double() for name in self.names}
        self.axes = {name: graph.axes_of(name) for name in self.names}
        self.second = {name: permute(second[name].double(), self.axes[name], graph, origin) for name in self.names}
        self.members = {space: [name for name in there if name in self.first] for space, there in members.items()}
        self.permutations: dict[str, Indices] = composed(graph, {}, origin)
        self.before = sum(float((self.first[name] * second[name].double()).sum()) for name in self.names)
        self.scale = sum(float(self.first[name].norm() * self.second[name].norm()) for name in self.names)

    def run(self, seed: int, stream: int, guess: bool = False) -> Matching:
        """Go on until a sweep changes nothing.

        Parameters
        ----------
        seed, stream : int
            Of the order in which spaces are visited.
        guess : bool
            Match each space by what is known so far in a first sweep.
        """
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, stream]))
        alone = [name for name, units in self.graph.spaces.items() if not units.within]
        sweeps, changed = 0, True
        known: list[str] = []
        for place in generator.permutation(len(alone)) if guess else ():
            self._improve(alone[place], known)
            known += [alone[place], *self.graph.inside(alone[place])]
        while changed and sweeps < MOST_SWEEPS:
            changes = [self._improve(alone[place]) for place in generator.permutation(len(alone))]
            changed = any(changes)
            sweeps += 1
        return Matching(self.permutations, self.before, self._value(), sweeps)

    def _value(self) -> float:
        return sum(float((self.first[name] * self.second[name]).sum()) for name in self.names)

    def _improve(self, space: str, known: Collection[str] | None = None) -> bool:
        """Put one space, and what is inside of it, into the best order for the order of the others, if it is known."""
        inside = self.graph.inside(space)
        width = self.graph.spaces[space].width
        alone = torch.zeros(width, width, dtype=torch.float64)
        pairs: dict[str, Tensor] = {}
        for name in self.members[space]:
            mine, theirs = self.first[name], self.second[name]
            for wanted in spans(self.axes[name], space, inside):
                one, two = (unfolded(tensor, self.axes[name], wanted, known) for tensor in (mine, theirs))
                if one.dim() == 2:
                    alone += one @ two.T
                else:
                    child = wanted[-1].space
                    pairs[child] = pairs.get(child, torch.zeros(1)) + torch.einsum("hdr,ger->hgde", one, two)
        step = best_order(space, alone.numpy(), {name: one.numpy() for name, one in pairs.items()})
        if known is not None:
            return self._take(step, upwards=False)
        changes = [self._take(step), *(self._improve_inside(space, name) for name in inside)]
        return any(changes)

    def _improve_inside(self, space: str, inner: str) -> bool:
        """Put what is inside of each unit into the best order, by all tensors that hold it."""
        units = self.graph.spaces[inner]
        each = torch.zeros(units.blocks, units.width, units.width, dtype=torch.float64)
        for name in self.members[inner]:
            for wanted in spans(self.axes[name], space, [inner]):
                if len(wanted) == 2:
                    one, two = (unfolded(side[name], self.axes[name], wanted) for side in (self.first, self.second))
                    each += one @ two.transpose(1, 2)
        return self._take({inner: np.stack([assigned(one) for one in each.numpy()])})

    def _take(self, step: dict[str, Indices], upwards: bool = True) -> bool:
        """Take a step, by default if it is one upwards."""
        names = {name for part in step for name in self.members[part]}
        moved = {name: permute(self.second[name], self.axes[name], self.graph, step) for name in names}
        gain = sum(float((self.first[name] * (moved[name] - self.second[name])).sum()) for name in names)
        if upwards and not gain > LEAST_GAIN * self.scale:
            return False
        self.second.update(moved)
        self.permutations = composed(self.graph, self.permutations, step)
        return True


def best_order(space: str, alone: Array, pairs: Mapping[str, Array]) -> dict[str, Indices]:
    """Order of a space and of what is inside of it that makes the sum of similarities largest.

    Parameters
    ----------
    space : str
    alone : (width, width) array
        Similarity of each unit of the first network with each one of the second.
    pairs : dict of (width, width, m, m) arrays
        For each space inside, the similarities of what is inside of each pair of units.

    Returns
    -------
    dict of (width,) and (width, m) int64

    Examples
    --------
    >>> {name: order.tolist() for name, order in best_order("a", np.array([[0, 1.0], [1, 0]]), {}).items()}
    {'a': [1, 0]}
    """
    total = np.array(alone, float)
    inner = {name: np.zeros(each.shape[:3], np.int64) for name, each in pairs.items()}
    for name, each in pairs.items():
        for unit, other in np.ndindex(each.shape[:2]):
            columns = inner[name][unit, other] = assigned(each[unit, other])
            total[unit, other] += each[unit, other][np.arange(len(columns)), columns].sum()
    order = assigned(total)
    return {space: order, **{name: table[np.arange(len(order)), order] for name, table in inner.items()}}


def assigned(similarity: Array) -> Indices:
    """Return the column of each row that makes the sum of similarities largest, each column once.

    Examples
    --------
    >>> assigned(np.array([[0, 1.0], [1, 5]])).tolist()
    [0, 1]
    """
    from scipy.optimize import linear_sum_assignment

    return np.asarray(linear_sum_assignment(similarity, maximize=True)[1], np.int64)


@dataclass(frozen=True)
class Span:
    """Where units of a space are found in a tensor."""

    axis: int
    segment: Segment
    space: str


def spans(axes: Axes, space: str, inside: Sequence[str]) -> list[tuple[Span, ...]]:
    """Return where the units of a space are in a tensor: alone, or with those inside of them.

    Parameters
    ----------
    axes : tuple of tuples of Segment
    space : str
    inside : sequence of str
        The spaces inside of it.
    """
    everywhere = [
        Span(axis, segment, one) for axis, there in enumerate(axes) for segment in there for one in segment.spaces
    ]
    inner = [span for span in everywhere if span.space in inside]
    result: list[tuple[Span, ...]] = []
    for span in everywhere:
        if span.space != space:
            continue
        here = [one for one in inner if one.segment is span.segment]
        beside = [one for one in inner if space not in one.segment.spaces and one.axis != span.axis]
        # Where two spaces inside meet, only one can be matched with the blocks; both are matched inside of them later.
        both = here or [one for one in beside if one.space == beside[0].space]
        result += [(span, one) for one in both] or [(span,)]
    return result


def unfolded(tensor: Tensor, axes: Axes, wanted: Sequence[Span], known: Collection[str] | None = None) -> Tensor:
    """Return the numbers of some units with an axis for each space, and all others behind: ``(width, …, rest)``.

    Parameters
    ----------
    tensor : Tensor
    axes : tuple of tuples of Segment
    wanted : sequence of Span
        At most one segment of each axis.
    known : collection of str, optional
        Spaces whose order is the same in both networks; along the others numbers are sorted, which any order leaves
        alike. Default: all.
    """

    def role(names: Sequence[str]) -> str:
        return "" if known is None or set(names) <= {"", *known} else "unknown"

    roles = [role([name for segment in segments for name in segment.spaces]) for segments in axes]
    for axis in sorted({span.axis for span in wanted}, reverse=True):
        segment = next(span.segment for span in wanted if span.axis == axis)
        positions = torch.from_numpy(segment.positions().reshape(-1)).to(tensor.device)
        tensor = tensor.index_select(axis, positions).unflatten(axis, segment.sizes)
        here = [span.space for span in wanted if span.axis == axis]
        roles[axis : axis + 1] = [name if name in here else role([name]) for name in segment.spaces_by_loop()]
    front = [roles.index(span.space) for span in wanted]
    rest, unknown = ([place for place, one in enumerate(roles) if one == kind] for kind in ("", "unknown"))
    shape = [tensor.shape[place] for place in front]
    tensor = tensor.permute(*front, *rest, *unknown)
    if unknown:
        tensor = tensor.reshape(*shape, -1, math.prod(tensor.shape[len(front) + len(rest) :])).sort(dim=-1).values
    return tensor.reshape(*shape, -1)
