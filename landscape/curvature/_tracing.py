"""The product of one micro-batch's Hessian with a vector as a graph of tensor operations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape._data import Batch
from landscape.objective import Objective

VALUES = "its operations depend on the values that it meets (a branch, a mask that selects)"


class UntraceableError(Exception):
    """A network that no single graph can stand for, or of which a derivative is missing."""


def point_tensors(objective: Objective) -> list[Tensor]:
    """What the graph of :func:`trace` takes for a point: theta, then frozen parameters and buffers."""
    return [objective.theta.detach(), *objective.fixed.values(), *objective.buffers.values()]


def batch_tensors(batch: Batch, denominator: float, objective: Objective) -> list[Tensor]:
    """What it takes for a micro-batch: its tensors and its denominator."""
    share = torch.tensor(denominator, dtype=objective.dtype, device=objective.device)
    return [*(leaf for leaf in tree_flatten(batch)[0] if isinstance(leaf, Tensor)), share]


def trace(
    objective: Objective, batch: Batch, denominator: float, precision: torch.dtype | None = None
) -> fx.GraphModule:
    """Trace forward mode over the reverse-mode gradient of one micro-batch.

    Theta, buffers and the batch are inputs, so that the graph serves all micro-batches of the same shapes and all
    points of the same network. Convolutions take in the eval-mode batch norms that follow them, and on the CPU images
    are laid out with their channels last, which its kernels prefer; both change nothing but rounding.

    Parameters
    ----------
    objective : Objective
    batch : Batch
        An example, on the device.
    denominator : float
    precision : torch.dtype, optional
        Of matrix products and convolutions, as autocast chooses them; default: that of theta.

    Returns
    -------
    fx.GraphModule
        Of :func:`point_tensors`, :func:`batch_tensors` and a vector ``(n,)``; its result is ``(n,)``.

    Raises
    ------
    UntraceableError
        If the operations depend on values (branches, masks that select rows), or one has no forward derivative.
    """
    from torch.fx.experimental.proxy_tensor import make_fx, py_sym_types

    leaves, tree = tree_flatten(batch)
    point, data = point_tensors(objective), batch_tensors(batch, denominator, objective)
    fixed, buffers = list(objective.fixed), list(objective.buffers)
    layout = torch.channels_last if objective.device.type == "cpu" else torch.preserve_format

    def product(point: list[Tensor], data: list[Tensor], vector: Tensor) -> Tensor:
        theta, others = point[0], point[1:]
        here = copy.copy(objective)
        here.fixed = dict(zip(fixed, others[: len(fixed)], strict=True))
        here.buffers = dict(zip(buffers, others[len(fixed) :], strict=True))
        given = iter(data[:-1])
        inputs = tree_unflatten([next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves], tree)

        def numerator(variables: dict[str, Tensor]) -> Tensor:
            with _autocast(objective, precision), _CheaperForms(layout):
                return here.numerator(variables, inputs, data[-1])  # type: ignore[arg-type]

        at, along = here.variables(theta), here.variables(vector)
        products = torch.func.jvp(torch.func.grad(numerator), (at,), (along,))[1]
        return torch.cat([products[name].reshape(-1) for name in here.names])

    try:
        graph = make_fx(torch.func.functionalize(product), tracing_mode="fake", _allow_non_fake_inputs=True)(
            point, data, torch.zeros_like(point[0])
        )
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        raise UntraceableError(_reason(error)) from error
    if any(isinstance(node.meta.get("val"), py_sym_types) for node in graph.graph.nodes):
        raise UntraceableError(VALUES)
    graph.graph.set_codegen(fx.graph.CodeGen())
    graph.recompile()
    return graph


def _autocast(objective: Objective, precision: torch.dtype | None) -> AbstractContextManager[Any]:
    if precision is None:
        return nullcontext()
    # The cache would hand tensors of one pass to another.
    return torch.autocast(objective.device.type, dtype=precision, cache_enabled=False)


def _reason(error: Exception) -> str:
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    if isinstance(error, (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode)):
        return VALUES
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class _CheaperForms(TorchFunctionMode):
    """Replaces functions by the same functions in other words, of which derivatives are cheaper or exist at all.

    * A convolution followed by an eval-mode batch norm is one convolution with scaled weights: then no tensor of the
      size of an activation belongs to the norm, in the forward pass or in a derivative.
    * Attention does not look for rows that are masked as a whole where none can be.
    * The mean squared error is written out, as torch's own has no forward derivative (pytorch#123996).
    """

    def __init__(self, layout: torch.memory_format) -> None:
        super().__init__()
        self.layout = layout
        self.convolutions: dict[int, tuple[Tensor, tuple[Any, ...], dict[str, Any]]] = {}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.conv2d:
            args = (*(value.contiguous(memory_format=self.layout) for value in args[:2]), *args[2:])
            result = function(*args, **kwargs)
            self.convolutions[id(result)] = (result, args, kwargs)
            return result
        if function is functional.batch_norm:
            folded = self._folded(*args, **kwargs)
            if folded is not None:
                return folded
        if function is functional.scaled_dot_product_attention and len(args) == 3 and not _others(kwargs):
            return _attention(args, kwargs.get("is_causal", False), kwargs.get("scale"))
        if function is functional.mse_loss and set(kwargs) <= {"reduction"} and args[0].shape == args[1].shape:
            squares = (args[0] - args[1]).square()
            return {"mean": squares.mean, "sum": squares.sum}.get(kwargs.get("reduction", "mean"), lambda: squares)()
        return function(*args, **kwargs)

    def _folded(
        self,
        x: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor | None:
        known = self.convolutions.get(id(x))
        if known is None or training or mean is None or variance is None:
            return None
        _, (data, kernel, *rest), kwargs = known
        names = ("bias", "stride", "padding", "dilation", "groups")
        options = {**dict(zip(names, rest, strict=False)), **kwargs}
        scale = torch.rsqrt(variance + eps)
        if weight is not None:
            scale = scale * weight
        old = options.pop("bias", None)
        shift = -mean if old is None else old - mean
        shift = shift * scale if bias is None else shift * scale + bias
        return torch.conv2d(data, kernel * scale.view(-1, 1, 1, 1), shift, **options)


def _others(options: dict[str, Any]) -> list[str]:
    """Options of attention, other than a causal mask and a scale, that are not at their defaults."""
    return [name for name, value in options.items() if name not in ("is_causal", "scale") and value not in (None, 0.0)]


def _attention(given: Sequence[Tensor], is_causal: bool, scale: float | None) -> Tensor:
    query, key, value = given
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    return scores.softmax(-1) @ value
