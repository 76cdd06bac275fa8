"""Permutations that make units of two networks say the same about the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils._pytree import tree_flatten

from landscape.geometry.coupling import CouplingGraph
from landscape.geometry.matching import Matching, Span, best_order, spans, unfolded
from landscape.geometry.permuting import identity

Array = NDArray[np.float64]
State = Mapping[str, Tensor]
Key = tuple[int, tuple[Span, ...]]


def matched_activations(
    graph: CouplingGraph,
    graph_of: Callable[[Any], CouplingGraph],
    first: State,
    second: State,
    inputs: Sequence[Any],
    progress: Callable[[int, int, str], None] | None = None,
) -> Matching:
    """Match what enters each layer: correlations over all samples and places, one assignment problem for each space.

    A space that enters several layers, such as the stream of a residual network, counts in each of them.

    Parameters
    ----------
    graph : CouplingGraph
        Whose spaces are matched.
    graph_of : callable
        ``graph_of(inputs)``: the same graph, traced for inputs of another shape.
    first, second : dict of tensors
        Parameters and buffers of both networks.
    inputs : sequence of trees of tensors
        What goes into the network, batch by batch.
    progress : callable, optional
        ``progress(done, total, text)`` after each batch.

    Returns
    -------
    Matching
        Its values are sums of the correlations of matched units.
    """
    found: dict[Key, _Correlation] = {}
    traces: dict[str, CouplingGraph] = {}
    for number, one in enumerate(inputs):
        form = str([tuple(leaf.shape) for leaf in _tensors(one)])
        trace = traces[form] = traces.get(form) or graph_of(one)
        with torch.no_grad():
            for key, pair in _units(graph, trace, _heard(trace, first, one), _heard(trace, second, one)):
                found.setdefault(key, _Correlation()).add(*pair)
        if progress is not None:
            progress(number + 1, len(inputs), "activations")
    permutations = {name: identity(units) for name, units in graph.spaces.items()}
    before = value = 0.0
    for name, units in graph.spaces.items():
        if not units.within:
            alone = np.zeros((units.width, units.width))
            pairs: dict[str, Array] = {}
            for (_, wanted), correlation in found.items():
                if wanted[0].space != name:
                    continue
                if len(wanted) == 1:
                    alone += correlation.values()
                else:
                    pairs[wanted[1].space] = pairs.get(wanted[1].space, np.zeros(1)) + correlation.values()
            order = best_order(name, alone, pairs)
            before += _matched(name, alone, pairs, permutations)
            permutations |= order
            value += _matched(name, alone, pairs, order)
    return Matching(permutations, before, value, 1)


class _Correlation:
    """Correlations of the units of two networks, from sums over what they say."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: list[Any] = [0.0] * 5

    def add(self, one: Tensor, two: Tensor) -> None:
        """Add values ``(width, …, numbers)`` of both."""
        one, two = one.double(), two.double()
        self.count += one.shape[-1]
        products = one @ two.T if one.dim() == 2 else torch.einsum("hdr,ger->hgde", one, two)
        news = (one.sum(-1), two.sum(-1), one.square().sum(-1), two.square().sum(-1), products)
        self.sums = [old + new.cpu().numpy() for old, new in zip(self.sums, news, strict=True)]

    def values(self) -> Array:
        """Correlations, 0 where a unit is silent."""
        one, two, squares, others, products = (np.asarray(each) / self.count for each in self.sums)
        spread = [np.sqrt((square - mean**2).clip(min=0)) for mean, square in ((one, squares), (two, others))]
        if one.ndim == 1:
            covariance, scale = products - np.outer(one, two), np.outer(*spread)
        else:
            covariance = products - one[:, None, :, None] * two[None, :, None, :]
            scale = spread[0][:, None, :, None] * spread[1][None, :, None, :]
        largest = scale.max(initial=0)
        return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 1e-12 * largest)


def _matched(name: str, alone: Array, pairs: Mapping[str, Array], order: Mapping[str, NDArray[np.int64]]) -> float:
    """The sum of correlations that an order reaches."""
    units = np.arange(len(alone))
    value = float(alone[units, order[name]].sum())
    for inner, each in pairs.items():
        chosen = each[units, order[name]]
        value += float(np.take_along_axis(chosen, order[inner][:, :, None], axis=2).sum())
    return value


def _units(
    graph: CouplingGraph, trace: CouplingGraph, mine: Mapping[fx.Node, Tensor], theirs: Mapping[fx.Node, Tensor]
) -> Iterator[tuple[Key, tuple[Tensor, Tensor]]]:
    """Yield what the units of each space say at each place, of both networks."""
    for place, (node, axes) in enumerate(trace.taps.items()):
        for name, units in graph.spaces.items():
            if units.within:
                continue
            for wanted in spans(axes, name, graph.inside(name)):
                one, two = (unfolded(side[node], axes, wanted, known=()) for side in (mine, theirs))
                yield (place, wanted), (one, two)


def _heard(trace: CouplingGraph, state: State, inputs: Any) -> dict[fx.Node, Tensor]:
    """Values of the taps of a trace."""
    listener = _Listener(trace.traced, set(trace.taps))
    listener.run(*(state[name] for name in trace.shapes), *_tensors(inputs))
    return listener.heard


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


class _Listener(fx.Interpreter):
    """Runs a trace and keeps the values of some nodes."""

    def __init__(self, traced: fx.GraphModule, nodes: set[fx.Node]) -> None:
        super().__init__(traced)
        self.nodes = nodes
        self.heard: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Keep the value if it is asked for."""
        value = super().run_node(n)
        if n in self.nodes:
            self.heard[n] = value
        return value
