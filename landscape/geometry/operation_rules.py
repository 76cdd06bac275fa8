"""The labels of axes that come out of an operation of a traced network."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx

from landscape.geometry import axis_rules, layer_rules
from landscape.geometry.axis_labels import closed
from landscape.geometry.axis_terms import free_leaves, mark_used
from landscape.geometry.operation_call import Call, Rules, flat, tree_of

RULES = Rules({**layer_rules.RULES, **axis_rules.RULES})
# Where an operation adds up along an axis: which argument, which axis of it. What enters there is what neurons say.
CONTRACTED = {
    "mm": (("self", 1), ("mat2", 0)),
    "addmm": (("mat1", 1), ("mat2", 0)),
    "bmm": (("self", 2), ("mat2", 1)),
    "baddbmm": (("batch1", 2), ("batch2", 1)),
    "linear": (("input", -1),),
    "convolution": (("input", 1),),
}


def call_of(node: fx.Node, labels: dict[Any, Any]) -> Call:
    """Return the call that a node stands for, with the defaults of what is not given."""
    operation = cast(torch._ops.OpOverload, node.target)
    schema = operation._schema
    given = dict(zip((one.name for one in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
    defaults = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    name = schema.name.partition("::")[2].removesuffix("_")  # in place: the result is used from then on
    return Call(name, {**defaults, **given}, labels, node.meta.get("val"), operation.tags)


def labels_after(call: Call) -> Any:
    """Labels of the results of an operation, or None if nothing is known about it.

    What is not known may still be applied to axes whose order is fixed.
    """
    function = RULES.get(call.name)
    if function is None and torch.Tag.pointwise in call.tags:
        function = layer_rules.elementwise
    if function is None and layer_rules.SPATIAL.search(call.name):
        function = layer_rules.spatial
    if function is not None:
        result = function(call)
        for which, axis in CONTRACTED.get(call.name, ()):
            mark_used([call.terms(which)[axis]])
        mark_used(flat(result))
        for node in call.nodes():  # they have become more special
            closed(flat(call.labels[node]))
        return result
    if any(free_leaves(term) for node in call.nodes() for term in flat(call.labels[node])):
        return None
    return tree_of(call.value)


def summed_over(call: Call) -> list[fx.Node]:
    """Return the tensors of a product that adds up over a space whose order is free."""
    return [
        call.arguments[which]
        for which, axis in CONTRACTED.get(call.name, ())
        if isinstance(call.value, Tensor) and free_leaves(call.terms(which)[axis])
    ]
