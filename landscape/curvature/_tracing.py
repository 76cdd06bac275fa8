"""The product of one micro-batch's Hessian with a vector as a graph of tensor operations."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape._data import Batch
from landscape.curvature._cheaper_forms import CheaperForms
from landscape.curvature._splitting import Split, split
from landscape.objective import Objective

VALUES = "its operations depend on the values that it meets (a branch, a mask that selects)"
RANDOM = "it draws random numbers, which a replay would draw anew"


class UntraceableError(Exception):
    """A network that no single graph can stand for, or of which a derivative is missing."""


def point_tensors(objective: Objective) -> list[Tensor]:
    """What the graph of :func:`trace` takes for a point: theta, then frozen parameters and buffers."""
    return [objective.theta.detach(), *objective.fixed.values(), *objective.buffers.values()]


def batch_tensors(batch: Batch, denominator: float, objective: Objective) -> list[Tensor]:
    """What it takes for a micro-batch: its tensors and its denominator."""
    share = torch.tensor(denominator, dtype=objective.dtype, device=objective.device)
    return [*(leaf for leaf in tree_flatten(batch)[0] if isinstance(leaf, Tensor)), share]


def traced(objective: Objective, batch: Batch, denominator: float, precision: torch.dtype | None = None) -> Split:
    """The two parts of :func:`trace`.

    Raises
    ------
    UntraceableError
        Whatever stops the trace, in the network or in the rewriting of its graph: there are other ways to a product.
    """
    try:
        return split(trace(objective, batch, denominator, precision))
    except UntraceableError:
        raise
    except Exception as error:
        raise UntraceableError(_reason(error)) from error


def trace(
    objective: Objective, batch: Batch, denominator: float, precision: torch.dtype | None = None
) -> fx.GraphModule:
    """Trace forward mode over the reverse-mode gradient of one micro-batch.

    Theta, buffers and the batch are inputs, so that the graph serves all micro-batches of the same shapes and all
    points of the same network. Some functions are computed in other words (:class:`CheaperForms`), and on the CPU
    images are laid out with their channels last, which its kernels prefer; both change nothing but rounding.

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
        If operations depend on values (branches, masks that select rows) or draw random numbers. Whatever else stops
        the trace is raised as it is, such as the RuntimeError that an operation has no forward derivative.
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
            with _autocast(objective, precision), CheaperForms(layout):
                return here.numerator(variables, inputs, data[-1])  # type: ignore[arg-type]

        at, along = here.variables(theta), here.variables(vector)
        products = torch.func.jvp(torch.func.grad(numerator), (at,), (along,))[1]
        return torch.cat([products[name].reshape(-1) for name in here.names])

    graph = make_fx(torch.func.functionalize(product), tracing_mode="fake", _allow_non_fake_inputs=True)(
        point, data, torch.zeros_like(point[0])
    )
    for node in graph.graph.nodes:
        if isinstance(node.meta.get("val"), py_sym_types):
            raise UntraceableError(VALUES)
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise UntraceableError(RANDOM)
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
    return f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
