"""Convolutional networks on the CPU, evaluated in the blocked memory layout of oneDNN.

In torch's own layouts each convolution copies its input to a blocked layout and its output back, and pooling runs on
one number at a time. Here the tensors stay blocked from the first convolution to the last, and eval-mode batch norm is
folded into the weights of the convolution before it. Measured on the convolutional reference net, one thread: 2.5 times
as fast as torch's own layout. The results are the same but for rounding.

A rectifier of oneDNN turns NaN into 0, so that a network that has overflown would look healthy. Therefore a bound of
all values is carried along; where it does not exclude an overflow, :class:`RangeError` asks for torch's own layout.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_ELEMENTWISE = (nn.ReLU, nn.Identity, nn.Dropout, nn.Dropout2d)
_POOLING = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
_FUNCTIONS = {torch.relu, functional.relu, functional.avg_pool2d, functional.max_pool2d, functional.adaptive_avg_pool2d}
# Far enough below the largest float32 for the rounding of sums.
LARGEST = 1e37
SUMS = {operator.add, operator.iadd, torch.add}

Values = dict[fx.Node, Any]


class RangeError(ArithmeticError):
    """Somewhere in the network a value may overflow or be NaN."""


@dataclass
class Convolution:
    """A convolution, with the batch norm that follows it folded in."""

    module: nn.Conv2d
    norm: nn.BatchNorm2d | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    gain: float = 0.0
    offset: float = 0.0

    def prepare(self) -> None:
        """Fold the weights that the modules hold now, and find out how large outputs may be."""
        self.fold()
        weight, bias = self.weight, self.bias
        if weight is None:
            raise RuntimeError("fold() gives a weight")
        # The largest output is at most gain times the largest input, plus offset.
        self.gain = float(torch.linalg.vector_norm(weight, 1, (1, 2, 3)).max())
        self.offset = 0.0 if bias is None else float(torch.linalg.vector_norm(bias, torch.inf))

    def fold(self) -> None:
        """Fold the weights that the modules hold now."""
        weight, bias = self.module.weight, self.module.bias
        norm = self.norm
        if norm is not None and norm.running_mean is not None and norm.running_var is not None:
            scale = torch.rsqrt(norm.running_var + norm.eps)
            if norm.weight is not None:
                scale = scale * norm.weight
            shift = norm.running_mean if bias is None else norm.running_mean - bias
            weight, bias = weight * scale.view(-1, 1, 1, 1), -shift * scale
            if norm.bias is not None:
                bias = bias + norm.bias
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        module = self.module
        if self.weight is None:
            raise RuntimeError("fold() comes before the first call")
        return torch.conv2d(x, self.weight, self.bias, module.stride, module.padding, module.dilation, module.groups)


class BlockedNetwork:
    """A module as a list of steps, those between convolutions in the blocked layout.

    Made by :meth:`of`. The module's parameters and buffers are read when :meth:`prepare` is called.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    graph : fx.GraphModule
        Its forward pass.
    """

    layout: ClassVar[str] = "blocked"

    def __init__(self, module: nn.Module, graph: fx.GraphModule) -> None:
        self._modules = dict(graph.named_modules())
        self._graph = graph
        self._nodes = list(graph.graph.nodes)
        self._convolutions: dict[fx.Node, Convolution] = {}
        self._folded: dict[fx.Node, fx.Node] = {}
        self._in_blocks: set[fx.Node] = set()
        self._sources = {node: tuple(node.all_input_nodes) for node in self._nodes}
        self._last_use = last_uses(self._nodes)
        for node in self._nodes:
            inner = self._module_of(node)
            if isinstance(inner, nn.Conv2d) and can_be_blocked(inner):
                norm = norm_after(node, self._modules)
                self._convolutions[node] = Convolution(inner, None if norm is None else norm[1])
                if norm is not None:
                    self._folded[norm[0]] = node
        self._module = module

    @classmethod
    def of(cls, module: nn.Module, example: Tensor) -> BlockedNetwork | None:
        """The network of a module, or None if there is no use for one: no convolution, no oneDNN, another input.

        Parameters
        ----------
        module : nn.Module
            In eval mode; float32 on the CPU.
        example : Tensor
            An input.
        """
        parameters = list(module.parameters())
        if not (torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)):
            return None
        if not isinstance(example, Tensor) or any(p.dtype != torch.float32 or not p.is_cpu for p in parameters):
            return None
        if example.dtype != torch.float32 or not any(isinstance(part, nn.Conv2d) for part in module.modules()):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network = cls(module, fx.symbolic_trace(module))
        except Exception:  # the user's code on values without numbers: anything may happen, and torch itself remains
            return None
        operations = [node.op for node in network._nodes]
        if not network._convolutions or "get_attr" in operations or operations.count("placeholder") != 1:
            return None
        try:
            network.prepare()
            network(network.convert(example), trial=True)
        except RangeError:
            return None
        except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, IndexError):
            return None
        return network

    @property
    def leaves_blocks(self) -> bool:
        """Whether something between two convolutions has no blocked version, so that tensors are copied to and fro."""
        before: set[fx.Node] = set()  # nodes from which a convolution is reached
        for node in reversed(self._nodes):
            if any(user in before or user in self._convolutions for user in node.users):
                before.add(node)
        blocked = {*self._convolutions, *self._folded, *self._in_blocks}
        return any(
            node in before and node not in blocked and any(one in blocked for one in self._sources[node])
            for node in self._nodes
        )

    def prepare(self) -> None:
        """Take over the parameters and buffers that the module holds now."""
        for convolution in self._convolutions.values():
            convolution.prepare()

    def convert(self, data: Tensor) -> Input:
        """An input in both layouts; worth keeping if the input is fixed."""
        return Input(data, data.detach().to_mkldnn(), float(data.abs().max()))

    def __call__(self, data: Input, trial: bool = False) -> Any:
        """Output of the module.

        Parameters
        ----------
        data : Input
            What :meth:`convert` made.
        trial : bool
            Find out which operations have a blocked version.

        Raises
        ------
        RangeError
            If a value may overflow or be NaN.
        """
        values: Values = {}
        bounds: dict[fx.Node, float] = {}
        for number, node in enumerate(self._nodes):
            if node.op == "output":
                return fx.node.map_arg(node.args[0], lambda one: _dense(values[one]))
            values[node] = data if node.op == "placeholder" else self._step(node, values, bounds, trial)
            for done in self._last_use[number]:
                values.pop(done, None)
        raise RuntimeError("a graph without an output")

    def _step(self, node: fx.Node, values: Values, bounds: dict[fx.Node, float], trial: bool) -> Any:
        sources = self._sources[node]
        if node in self._convolutions:
            convolution, source = self._convolutions[node], sources[0]
            bound = bounds[source] if source in bounds else _largest(values[source])
            bounds[node] = _checked(convolution.gain * bound + convolution.offset)
            return convolution(_blocked(values[source]))
        if node in self._folded:
            bounds[node] = bounds[sources[0]]
            return values[sources[0]]
        if node in self._in_blocks:
            bounds[node] = self._bound(node, bounds)
            return self._run(node, values, _as_it_is)
        if trial and self._may_stay_blocked(node, values):
            try:
                found = self._run(node, values, _as_it_is)
            except (RuntimeError, NotImplementedError):
                return self._run(node, values, _dense)
            bounds[node] = self._bound(node, bounds)
            self._in_blocks.add(node)
            return found
        return self._run(node, values, _dense)

    def _bound(self, node: fx.Node, bounds: dict[fx.Node, float]) -> float:
        """Of the absolute values after an operation on blocked tensors."""
        total = sum(bounds[one] for one in self._sources[node])  # one, or the terms of a sum
        norm = self._module_of(node)
        if not isinstance(norm, nn.BatchNorm2d):
            return _checked(total)
        if norm.running_mean is None or norm.running_var is None:
            raise RangeError
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scale = scale if norm.weight is None else scale * norm.weight
        offset = 0.0 if norm.bias is None else float(norm.bias.abs().max())
        return _checked(float(scale.abs().max()) * (total + float(norm.running_mean.abs().max())) + offset)

    def _may_stay_blocked(self, node: fx.Node, values: Values) -> bool:
        """Whether it is an operation that may exist in the blocked layout, and its inputs have that."""
        tensors = [values[one] for one in self._sources[node]]
        if not tensors or not all(map(_is_blocked, tensors)):
            return False
        if node.op == "call_module":
            return isinstance(self._module_of(node), (*_ELEMENTWISE, *_POOLING, nn.BatchNorm2d))
        if node.op != "call_function":
            return False
        if node.target in SUMS:
            return len(tensors) == len(node.args) == 2 and not node.kwargs and tensors[0].shape == tensors[1].shape
        return node.target in _FUNCTIONS

    def _run(self, node: fx.Node, values: Values, convert: Callable[[Any], Any]) -> Any:
        if node.op == "call_module" and len(self._sources[node]) == len(node.args) == 1 and not node.kwargs:
            return self._run_module(node, convert(values[self._sources[node][0]]), convert is _as_it_is)
        arguments: Any = fx.node.map_arg(node.args, lambda one: convert(values[one]))
        options: Any = fx.node.map_arg(node.kwargs, lambda one: convert(values[one]))
        if node.op == "call_module":
            return self._modules[str(node.target)](*arguments, **options)
        if node.op == "call_function":
            function: Any = torch.add if node.target in SUMS and convert is _as_it_is else node.target
            return function(*arguments, **options)
        if node.op == "call_method":
            return getattr(arguments[0], str(node.target))(*arguments[1:], **options)
        raise RuntimeError(f"unknown operation {node.op}")

    def _run_module(self, node: fx.Node, x: Any, blocked: bool) -> Any:
        inner = self._modules[str(node.target)]
        if blocked and type(inner) is nn.ReLU:
            # Without a new tensor, whose memory costs more than the operation, if nobody else needs the old one.
            return (torch.relu_ if inner.inplace or self._is_last_use(node) else torch.relu)(x)
        return inner(x)

    def _is_last_use(self, node: fx.Node) -> bool:
        """Whether the input of an operation is needed by nothing else, under any of its names."""
        source = self._sources[node][0]
        if isinstance(self._module_of(source), (nn.Identity, nn.Dropout, nn.Dropout2d)):
            return False
        return len(source.users) == 1 and source.op != "placeholder"

    def _module_of(self, node: fx.Node) -> nn.Module | None:
        return self._modules[str(node.target)] if node.op == "call_module" else None


@dataclass
class Input:
    """A network's input in both layouts, and its largest absolute value."""

    data: Tensor
    blocked: Tensor
    bound: float


def _blocked(value: Any) -> Tensor:
    if isinstance(value, Input):
        return value.blocked
    return value if value.is_mkldnn else value.to_mkldnn()


def _largest(value: Any) -> float:
    return value.bound if isinstance(value, Input) else float(value.abs().max())


def _checked(bound: float) -> float:
    if not bound <= LARGEST:  # so written that NaN is refused
        raise RangeError
    return bound


def _dense(value: Any) -> Any:
    if isinstance(value, Input):
        return value.data
    return value.to_dense() if isinstance(value, Tensor) and value.is_mkldnn else value


def _as_it_is(value: Any) -> Any:
    return value


def _is_blocked(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_mkldnn


def norm_after(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[fx.Node, nn.BatchNorm2d] | None:
    """The batch norm that is the only user of a convolution's output."""
    users = list(node.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None
    norm = modules[str(users[0].target)]
    if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and _is_plain(norm, nn.BatchNorm2d):
        return users[0], norm
    return None


def can_be_blocked(module: nn.Conv2d) -> bool:
    """Whether it is an ordinary convolution that nothing hooks."""
    return _is_plain(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether it is torch's own class, in eval mode, whose parameters nothing computes from others (weight norm)."""
    hooked = module._forward_pre_hooks or module._forward_hooks
    return type(module) is kind and not hooked and not module.training and "weight" in module._parameters


def last_uses(nodes: list[fx.Node]) -> list[list[fx.Node]]:
    """For every node, the nodes whose values nobody needs after it."""
    result: list[list[fx.Node]] = [[] for _ in nodes]
    seen: set[fx.Node] = set()
    for number in range(len(nodes) - 1, -1, -1):
        for one in nodes[number].all_input_nodes:
            if one not in seen:
                seen.add(one)
                result[number].append(one)
    return result
