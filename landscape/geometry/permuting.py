"""Permutations of the spaces of a coupling graph, and what they do to parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.geometry.coupling import Axes, CouplingGraph, Segment, Units

Indices = NDArray[np.int64]
Permutations = Mapping[str, Indices]


def identity(units: Units) -> Indices:
    """Return the permutation that changes nothing: ``(width,)``, or ``(blocks, width)`` inside of another space."""
    order = np.arange(units.width)
    return np.tile(order, (units.blocks, 1)) if units.within else order


def random_permutations(graph: CouplingGraph, seed: int, stream: int = 0) -> dict[str, Indices]:
    """Return a permutation of every space by chance.

    Parameters
    ----------
    graph : CouplingGraph
    seed, stream : int

    Returns
    -------
    dict of (width,) or (blocks, width) int64

    Examples
    --------
    >>> graph = CouplingGraph.of(torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.Linear(9, 1)), torch.zeros(2, 2))
    >>> sorted(random_permutations(graph, 0)["0.weight[0]"].tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, stream]))
    return {name: generator.permuted(identity(units), axis=-1) for name, units in graph.spaces.items()}


def composed(graph: CouplingGraph, first: Permutations, second: Permutations) -> dict[str, Indices]:
    """Return the permutations that do the same as some, and then others; what is left out stays."""
    result = {}
    for name, units in graph.spaces.items():
        order = np.array(first.get(name, identity(units)))
        if units.within and units.within in second:
            order = order[second[units.within]]
        if name in second:
            order = np.take_along_axis(order, second[name], axis=-1)
        result[name] = order
    return result


def permute(tensor: Tensor, axes: Axes, graph: CouplingGraph, permutations: Permutations) -> Tensor:
    """Return a tensor with its axes in another order: ``new[i] = old[permutation[i]]`` for each space.

    Units inside of others move with them; their own permutation belongs to the place where they arrive.

    Parameters
    ----------
    tensor : Tensor
    axes : tuple of tuples of Segment
        Of each of its axes.
    graph : CouplingGraph
    permutations : dict of (width,) or (blocks, width) int64
        Spaces that are left out keep their order.
    """
    later: list[tuple[int, int, Segment]] = []
    for axis, segments in enumerate(axes):
        if not any(name in permutations for segment in segments for name in segment.spaces):
            continue
        order = np.arange(tensor.shape[axis])
        for segment in segments:
            outside = _outside(segment, axes, axis, graph, permutations)
            if outside is None:
                order[segment.positions()] = _sources(segment, graph, permutations)
            else:
                later.append((axis, outside, segment))
        tensor = tensor.index_select(axis, _on(order, tensor))
    for axis, outside, segment in later:
        table = _sources_of_blocks(
            segment, axes[outside], tensor.shape[axis], tensor.shape[outside], graph, permutations
        )
        shape = [tensor.shape[place] if place in (axis, outside) else 1 for place in range(tensor.dim())]
        tensor = torch.take_along_dim(tensor, _on(table if outside < axis else table.T, tensor).reshape(shape), axis)
    return tensor


def permuted_state(state: Mapping[str, Any], graph: CouplingGraph, permutations: Permutations) -> dict[str, Tensor]:
    """Return parameters and buffers by name, those that the graph knows permuted."""
    return {
        name: permute(torch.as_tensor(value), graph.axes_of(name), graph, permutations)
        if name in graph.shapes
        else torch.as_tensor(value)
        for name, value in state.items()
    }


def _on(order: Indices, tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(order)).to(tensor.device)


def _sources(segment: Segment, graph: CouplingGraph, permutations: Permutations) -> Indices:
    """Where the numbers of a segment come from, one axis for each loop."""
    result = np.full(segment.sizes, segment.offset, np.int64)
    for place, loop in enumerate(segment.loops):
        shape = [-1 if other == place else 1 for other in range(len(segment.loops))]
        order = np.arange(loop.size)
        above = graph.spaces[loop.space].within if loop.space else ""
        if loop.space in permutations:
            order = permutations[loop.space]
        if order.ndim == 2:
            around = segment.spaces_by_loop().index(above)
            result += loop.stride * _spread(order, around, place, len(segment.loops))
        else:
            result += (loop.stride * order).reshape(shape)
    return result


def _spread(table: Indices, around: int, place: int, count: int) -> Indices:
    """A table (blocks, width) along the two loops of a segment that it belongs to."""
    shape = [1] * count
    shape[around], shape[place] = table.shape
    return (table if around < place else table.T).reshape(shape)


def _outside(segment: Segment, axes: Axes, axis: int, graph: CouplingGraph, permutations: Permutations) -> int | None:
    """The axis where the blocks of a segment are told apart, if that is another one and matters."""
    for name in segment.spaces:
        above = graph.spaces[name].within
        if name in permutations and above and above not in segment.spaces:
            return next(
                other
                for other, segments in enumerate(axes)
                if other != axis and any(above in one.spaces for one in segments)
            )
    return None


def _sources_of_blocks(
    segment: Segment,
    around: Sequence[Segment],
    size: int,
    length: int,
    graph: CouplingGraph,
    permutations: Permutations,
) -> Indices:
    """Where the numbers of an axis come from for each index of another one, which says the block; (length, size)."""
    name = next(one for one in segment.spaces if graph.spaces[one].within)
    above = graph.spaces[name].within
    table = np.tile(np.arange(size), (length, 1))
    for other in around:
        if above not in other.spaces:
            continue
        rows = np.moveaxis(other.positions(), other.spaces_by_loop().index(above), 0)
        for unit, there in enumerate(rows):
            order = {**permutations, name: permutations[name][unit]}
            columns = segment.positions().reshape(-1)
            table[np.ix_(there.reshape(-1), columns)] = _sources(segment, graph, order).reshape(-1)
    return table
