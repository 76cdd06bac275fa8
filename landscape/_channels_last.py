"""Convolutional networks on the CPU, evaluated with the channels of a pixel side by side.

oneDNN convolves this layout as it is, without copies to a layout of its own, and every other operation of torch takes
it, too. Networks that leave the blocked layout between convolutions, such as those with shortcuts that are cut out and
padded (ResNet-20), are faster this way. Eval-mode batch norm is folded into the convolution before it, and rectifiers
and sums write to their input where nobody else needs it. The results are the same but for rounding.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from landscape._blocked import SUMS, Convolution, Input, can_be_blocked, last_uses, norm_after

_RECTIFIERS = {torch.relu, functional.relu}
Values = dict[fx.Node, Any]


class ChannelsLastNetwork:
    """A module as a list of steps on tensors of the channels-last layout; made by :meth:`of`.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    graph : fx.GraphModule
        Its forward pass.
    """

    layout: ClassVar[str] = "channels last"

    def __init__(self, module: nn.Module, graph: fx.GraphModule) -> None:
        self._module = module
        self._modules = dict(graph.named_modules())
        self._graph = graph
        self._nodes = list(graph.graph.nodes)
        self._last_use = last_uses(self._nodes)
        self._convolutions: dict[fx.Node, Convolution] = {}
        self._folded: dict[fx.Node, fx.Node] = {}
        for node in self._nodes:
            inner = self._modules.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(inner, nn.Conv2d) and can_be_blocked(inner):
                norm = norm_after(node, self._modules)
                self._convolutions[node] = Convolution(inner, None if norm is None else norm[1])
                if norm is not None:
                    self._folded[norm[0]] = node

    @classmethod
    def of(cls, module: nn.Module, example: Tensor) -> ChannelsLastNetwork | None:
        """The network of a module, or None if it cannot be traced or run.

        Parameters
        ----------
        module : nn.Module
            One of which there is a :class:`BlockedNetwork`.
        example : Tensor
            An input.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network = cls(module, fx.symbolic_trace(module))
            network.prepare()
            network(network.convert(example))
        except Exception:  # the user's code on another memory format: torch's own layout remains
            return None
        return network

    def prepare(self) -> None:
        """Take over the parameters and buffers that the module holds now."""
        for convolution in self._convolutions.values():
            convolution.fold()
            if convolution.weight is not None:
                convolution.weight = convolution.weight.contiguous(memory_format=torch.channels_last)

    def convert(self, data: Tensor) -> Input:
        """An input in this layout; worth keeping if the input is fixed."""
        there = data.contiguous(memory_format=torch.channels_last) if data.dim() == 4 else data
        return Input(data, there, 0.0)

    def __call__(self, data: Input) -> Any:
        """Output of the module."""
        values: Values = {}
        for number, node in enumerate(self._nodes):
            if node.op == "output":
                return fx.node.map_arg(node.args[0], lambda one: values[one])
            values[node] = data.blocked if node.op == "placeholder" else self._step(node, values)
            for done in self._last_use[number]:
                values.pop(done, None)
        raise RuntimeError("a graph without an output")

    def _step(self, node: fx.Node, values: Values) -> Any:
        if node in self._convolutions:
            return self._convolutions[node](values[node.all_input_nodes[0]])
        if node in self._folded:
            return values[node.all_input_nodes[0]]
        if self._rectifies(node) and self._is_ours(node.all_input_nodes[0]):
            return torch.relu_(values[node.all_input_nodes[0]])
        if node.op == "call_function" and node.target in SUMS and len(node.all_input_nodes) == len(node.args) == 2:
            return self._sum(node, values)
        arguments: Any = fx.node.map_arg(node.args, lambda one: values[one])
        options: Any = fx.node.map_arg(node.kwargs, lambda one: values[one])
        if node.op == "call_module":
            return self._modules[str(node.target)](*arguments, **options)
        if node.op == "call_function":
            return node.target(*arguments, **options)  # type: ignore[operator]
        if node.op == "call_method":
            return getattr(arguments[0], str(node.target))(*arguments[1:], **options)
        raise RuntimeError(f"unknown operation {node.op}")

    def _sum(self, node: fx.Node, values: Values) -> Any:
        first, second = node.all_input_nodes
        one, other = values[first], values[second]
        function: Any = node.target
        alike = isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape and not node.kwargs
        if alike and one.dtype == other.dtype:
            if self._is_ours(first):
                return one.add_(other)
            if self._is_ours(second):
                return other.add_(one)
        return function(one, other, **node.kwargs)

    def _rectifies(self, node: fx.Node) -> bool:
        if len(node.all_input_nodes) != 1 or len(node.args) != 1 or set(node.kwargs) - {"inplace"}:
            return False
        if node.op == "call_module":
            return type(self._modules[str(node.target)]) is nn.ReLU
        return node.op == "call_function" and node.target in _RECTIFIERS

    def _is_ours(self, node: fx.Node) -> bool:
        """Whether a value was made here, is no view of another one, and has one reader."""
        fresh = node in self._convolutions or node in self._folded
        return len(node.users) == 1 and (fresh or (node.op == "call_function" and node.target in SUMS))
