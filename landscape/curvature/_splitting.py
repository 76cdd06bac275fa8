"""A traced product in two parts: what depends on the point alone, and what depends on the vector."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from landscape.curvature._rewriting import simplify, write_in_place


@dataclass(frozen=True)
class Split:
    """The two parts of a product.

    Attributes
    ----------
    primal : fx.GraphModule
        Of the point and the batch; its results are what `tangent` needs of them.
    tangent : fx.GraphModule
        Of these results and the vector.
    """

    primal: fx.GraphModule
    tangent: fx.GraphModule


def split(module: fx.GraphModule) -> Split:
    """Split a traced product; its last input is the vector, its only result the product.

    Parameters
    ----------
    module : fx.GraphModule
        As :func:`~landscape.curvature._tracing.trace` makes it; used up.

    Returns
    -------
    Split
    """
    graph = module.graph
    simplify(graph)
    varying = _varying(graph)
    needed = _needed(graph, varying)
    primal = _part(graph, [node for node in graph.nodes if node not in varying], (), needed)
    inputs = [*needed, next(node for node in reversed(graph.nodes) if node.op == "placeholder")]
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    results = [result] if isinstance(result, fx.Node) else list(result)
    tangent = _part(graph, list(graph.nodes), inputs, results)
    parts = []
    for part in (primal, tangent):
        part.eliminate_dead_code()
        write_in_place(part)
        part.lint()
        parts.append(fx.GraphModule(module, part))
    return Split(*parts)


def _varying(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that depend on the vector."""
    found = {next(node for node in reversed(graph.nodes) if node.op == "placeholder")}
    for node in graph.nodes:
        if node.op != "output" and any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def _needed(graph: fx.Graph, varying: set[fx.Node]) -> list[fx.Node]:
    """What the varying part reads of the other; a view takes no memory but that which is viewed."""
    needed = {source: None for node in graph.nodes if node in varying for source in node.all_input_nodes}
    return [node for node in needed if node not in varying and node.op != "get_attr"]


def _part(graph: fx.Graph, nodes: Iterable[fx.Node], inputs: Iterable[fx.Node], results: Iterable[fx.Node]) -> fx.Graph:
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in inputs:
        copies[node] = part.placeholder(node.name)
        copies[node].meta = dict(node.meta)
    given = bool(copies)
    for node in nodes:
        if node.op == "output" or node in copies or (given and node.op == "placeholder"):
            continue
        if all(source in copies for source in node.all_input_nodes):
            copies[node] = part.node_copy(node, lambda source: copies[source])
    part.output(tuple(copies[node] for node in results))
    return part
