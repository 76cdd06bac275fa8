"""Which rows, columns, norms and heads of a network belong together: the permutations that leave its function as it is.

The network is traced by torch.fx on one batch, down to the operations of ATen, without computing anything. Every axis
of every parameter starts as a space of its own; along the trace, axes that meet must agree (:mod:`.axis_labels`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from landscape._network import Network, unwrap
from landscape.errors import InputError
from landscape.geometry.axis_labels import closed, fix, orphaned
from landscape.geometry.axis_terms import Fixed, Product, Space, Sum, Term, found, free_leaves, leaves, resolved
from landscape.geometry.network_trace import WITHOUT, NetworkTrace, traced
from landscape.geometry.operation_call import flat, tree_of
from landscape.geometry.operation_rules import call_of, labels_after, summed_over


@dataclass(frozen=True)
class Loop:
    """How one factor of an index runs.

    Attributes
    ----------
    space : str
        Whose units it counts; "" if their order is fixed.
    size, stride : int
    """

    space: str
    size: int
    stride: int


@dataclass(frozen=True)
class Segment:
    """Indices of an axis that are permuted: ``offset + Σ stride · i`` over all values of all loops.

    Channels that are flattened with 7×7 pixels behind each are ``(Loop("channels", 32, 49), Loop("", 49, 1))``.

    Attributes
    ----------
    offset : int
    loops : tuple of Loop
        The outermost first.
    """

    offset: int
    loops: tuple[Loop, ...]

    @property
    def spaces(self) -> tuple[str, ...]:
        """The spaces whose units it is made of."""
        return tuple(loop.space for loop in self.loops if loop.space)

    def spaces_by_loop(self) -> list[str]:
        """Return the space of each loop, "" where the order is fixed."""
        return [loop.space for loop in self.loops]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of its loops."""
        return tuple(loop.size for loop in self.loops)

    def positions(self) -> NDArray[np.int64]:
        """Return the indices, one axis for each loop."""
        result = np.full(self.sizes, self.offset, np.int64)
        for place, loop in enumerate(self.loops):
            shape = [-1 if other == place else 1 for other in range(len(self.loops))]
            result += (loop.stride * np.arange(loop.size)).reshape(shape)
        return result


Axes = tuple[tuple[Segment, ...], ...]


@dataclass(frozen=True)
class Units:
    """A space: units of a network that may change places.

    Attributes
    ----------
    width : int
        Number of units.
    within : str
        The space inside whose units these are, each block permuted by itself; "" if they stand alone.
    blocks : int
        How many units that one has; 1 if there is none.
    members : tuple of (name, axis)
        The axes of parameters and buffers where they are found.
    """

    width: int
    within: str = ""
    blocks: int = 1
    members: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class CouplingGraph:
    """What may be permuted in a network without changing its function, and what has to be permuted together.

    Attributes
    ----------
    spaces : dict of Units
        By name: the first parameter and axis where a space is found.
    axes : dict of tuples of Segment
        By (name of a parameter or buffer, axis); axes that cannot be permuted are left out.
    shapes : dict of tuples of int
        Of parameters and buffers.
    traced : fx.GraphModule
        Of parameters and buffers in the order of ``shapes``, and the tensors of a batch.
    taps : dict
        Node of the trace → segments of each of its axes, for what enters a product that adds up over a space.

    Examples
    --------
    >>> from torch import nn
    >>> graph = CouplingGraph.of(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), torch.zeros(2, 3))
    >>> graph.spaces["0.weight[0]"].width
    5
    >>> graph.spaces["0.weight[0]"].members
    (('0.weight', 0), ('0.bias', 0), ('2.weight', 1))
    """

    spaces: Mapping[str, Units]
    axes: Mapping[tuple[str, int], tuple[Segment, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    traced: fx.GraphModule
    taps: Mapping[fx.Node, Axes] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        module: nn.Module,
        sample_batch: Any,
        *,
        call: Callable[[nn.Module, Any], Any] | None = None,
        frozen: Sequence[str] = (),
    ) -> CouplingGraph:
        """The graph of a network in evaluation mode.

        Parameters
        ----------
        module : nn.Module
            Never changed.
        sample_batch : tensor, or tree of tensors
            What the module takes; a few samples are enough, two at least.
        call : callable, optional
            ``call(module, sample_batch)`` if the module is not simply called with the batch. What the module puts out
            is not permuted in any case.
        frozen : sequence of str
            Parameters and buffers that must not be permuted.

        Raises
        ------
        InputError
            If the network cannot be traced, or uses an operation of which is not known what it does to an order: which
            module, of which type, which operation.
        """
        return cls.of_network(_network(module), sample_batch, call=call, frozen=frozen)

    @classmethod
    def of_network(
        cls,
        network: Network,
        sample_batch: Any,
        *,
        call: Callable[[nn.Module, Any], Any] | None = None,
        frozen: Sequence[str] = (),
    ) -> CouplingGraph:
        """As :meth:`of`, of the frozen copy of a network that an objective holds."""
        state = {
            **{name: value.detach() for name, value in network.module.named_parameters()},
            **{name: value.detach() for name, value in network.module.named_buffers()},
        }
        trace = traced(network, state, sample_batch, call)
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        labels, held = _labelled(trace, shapes, frozen)
        _settle(held)
        names = _Names()
        axes: dict[tuple[str, int], tuple[Segment, ...]] = {}
        for name, terms in held.items():
            for axis, term in enumerate(terms):
                segments = names.segments(term, f"{name}[{axis}]")
                if segments:
                    axes[name, axis] = segments
        taps = {node: tuple(names.segments(term, "") for term in labels[node]) for node in _taps(trace, labels)}
        return cls(names.units(axes), axes, shapes, trace.graph, {node: one for node, one in taps.items() if any(one)})

    def axes_of(self, name: str) -> Axes:
        """Segments of each axis of a parameter or buffer; empty for axes that cannot be permuted."""
        return tuple(self.axes.get((name, axis), ()) for axis in range(len(self.shapes[name])))

    def members(self) -> dict[str, list[str]]:
        """Parameters and buffers by space."""
        return {name: list(dict.fromkeys(member for member, _ in units.members)) for name, units in self.spaces.items()}

    def inside(self, space: str) -> list[str]:
        """Spaces inside the units of a space."""
        return [name for name, units in self.spaces.items() if units.within == space]


class _Names:
    """Spaces get the name of the first axis where they are found."""

    def __init__(self) -> None:
        self.named: dict[Space, str] = {}

    def segments(self, term: Term, place: str) -> tuple[Segment, ...]:
        """Of an axis; those without a free space are left out."""
        result = []
        for offset, loops in _paths(resolved(term)):
            named = tuple(Loop(self._name(one, place, offset), size, stride) for one, size, stride in loops)
            segment = Segment(offset, named)
            if segment.spaces:
                result.append(segment)
        return tuple(result)

    def units(self, axes: Mapping[tuple[str, int], tuple[Segment, ...]]) -> dict[str, Units]:
        """What is known about all spaces that parameters have."""
        members: dict[str, list[tuple[str, int]]] = {}
        for member, segments in axes.items():
            for name in dict.fromkeys(space for segment in segments for space in segment.spaces):
                members.setdefault(name, []).append(member)
        result = {}
        for space, name in self.named.items():
            above = found(space.parents)
            within = self.named[above[0]] if above else ""
            if name in members:
                result[name] = Units(space.size, within, above[0].size if above else 1, tuple(members[name]))
        return result

    def _name(self, space: Space | None, place: str, offset: int) -> str:
        if space is None or (not place and space not in self.named):
            return ""
        if space not in self.named:
            inside = " inside" if found(space.parents) else ""
            further = (f"{place}+{offset}({number}){inside}" for number in count(2))
            candidates = chain((f"{place}{inside}", f"{place}+{offset}{inside}"), further)
            taken = set(self.named.values())
            name = next(one for one in candidates if one not in taken)
            self.named[space] = name
        return self.named[space]


def _paths(term: Term) -> Iterator[tuple[int, tuple[tuple[Space | None, int, int], ...]]]:
    """Yield offset and loops (space, size, stride) of every part of a term."""
    if isinstance(term, Sum):
        start = 0
        for part in term.parts:
            for offset, loops in _paths(part):
                yield start + offset, loops
            start += part.size
    elif isinstance(term, Product):
        head, rest = term.factors[0], term.factors[1:]
        inner = Product(rest) if len(rest) > 1 else rest[0]
        for outer, around in _paths(head):
            for offset, loops in _paths(inner):
                scaled = tuple((space, size, stride * inner.size) for space, size, stride in around)
                yield outer * inner.size + offset, (*scaled, *loops)
    else:
        free = isinstance(term, Space) and not term.fixed
        yield 0, ((term if free else None, term.size, 1),)  # type: ignore[misc]


def _network(module: nn.Module) -> Network:
    module = copy.deepcopy(unwrap(module)).eval()
    return Network(module, [name for name, _ in module.named_parameters()], None)


def _labelled(
    trace: NetworkTrace, shapes: Mapping[str, tuple[int, ...]], frozen: Sequence[str]
) -> tuple[dict[Any, Any], dict[str, list[Term]]]:
    """Labels of all nodes, and those of parameters and buffers."""
    labels: dict[Any, Any] = {}
    held: dict[str, list[Term]] = {}
    nodes = list(trace.graph.graph.nodes)
    outputs = set(nodes[-1].all_input_nodes)
    for number, node in enumerate(nodes[:-1]):
        if node.op == "placeholder" and number < len(trace.names):
            name = trace.names[number]
            held[name] = [Fixed(size) if name in frozen else Space(size) for size in shapes[name]]
            labels[node] = held[name]
        elif node.op == "placeholder":
            labels[node] = tree_of(node.meta.get("val"))
        elif node.op == "get_attr":
            labels[node] = tree_of(getattr(trace.graph, str(node.target)))
        elif isinstance(node.target, torch._ops.OpOverload):
            labels[node] = _after(node, labels, trace.module_at(number))
        else:
            labels[node] = labels[node.args[0]][node.args[1]]
        if node in outputs:  # at once: a loss may go on with them
            labels[node] = [fix(term) for term in flat(labels[node])]
    return labels, held


def _after(node: Any, labels: dict[Any, Any], place: str) -> Any:
    """Labels of what an operation puts out."""
    reason = None
    try:
        result = labels_after(call_of(node, labels))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        result, reason = None, error  # a form of a known operation that its rule did not foresee
    if result is None:
        raise InputError(
            f"{place} uses the operation {node.target._schema.name}, of which is not known what it does to the order "
            f"of neurons: write it with other operations, or {WITHOUT}"
        ) from reason
    return result


def _settle(held: dict[str, list[Term]]) -> None:
    """Fix what no operation has met, and what is inside of something that is inside of something else."""
    before: Any = None
    while before != (before := {name: tuple(map(resolved, terms)) for name, terms in held.items()}):
        for terms in held.values():
            for leaf in [leaf for term in closed(terms) for leaf in leaves(term)]:
                if leaf.over is not None:  # told apart along another axis of the same parameter
                    orphaned(leaf, leaf.over)
            for leaf in [leaf for term in terms for leaf in free_leaves(term)]:
                above = found(leaf.parents)
                if not leaf.used:
                    fix(leaf)
                elif len(above) > 1:
                    fix(above[0])


def _taps(trace: NetworkTrace, labels: dict[Any, Any]) -> list[fx.Node]:
    """Nodes that depend on the data and enter a sum over a free space."""
    nodes = list(trace.graph.graph.nodes)
    depends = {node for node in nodes[len(trace.names) :] if node.op == "placeholder"}
    result: dict[fx.Node, None] = {}
    for node in nodes:
        if depends.intersection(node.all_input_nodes):
            depends.add(node)
        if isinstance(node.target, torch._ops.OpOverload):
            result |= dict.fromkeys(one for one in summed_over(call_of(node, labels)) if one in depends)
    return list(result)
