"""Which layer of a network a way to compute products does not support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape._data import Batch
from landscape.objective import Objective


def forward_over_reverse_fails(function: Callable[..., Tensor], state: Any) -> bool:
    """Whether the gradient of a function has no forward derivative."""
    try:
        torch.func.jvp(torch.func.grad(function), (state,), (state,))
    except Exception:
        return True
    return False


def forward_fails(function: Callable[..., Tensor], state: Any) -> bool:
    """Whether a function has no forward derivative."""
    try:
        torch.func.jvp(function, (state,), (state,))
    except Exception:
        return True
    return False


def double_backward_fails(function: Callable[..., Tensor], state: dict[str, Tensor]) -> bool:
    """Whether the gradient of a function has no gradient."""
    leaves = {name: value.detach().requires_grad_(True) for name, value in state.items()}
    try:
        value = function(leaves)
        slopes = torch.autograd.grad(
            value, list(leaves.values()), create_graph=True, allow_unused=True, materialize_grads=True
        )
        if is_cut([value, *slopes]):
            return True
        inner = torch.stack([slope.square().sum() for slope in slopes]).sum()
        if inner.requires_grad:
            inner.backward()  # visits what leads nowhere, too
    except Exception:
        return True
    return False


def another_product(objective: Objective, batch: Batch, besides: str) -> str:
    """Name a way to compute products that works on a micro-batch, for advice where one does not.

    Parameters
    ----------
    objective : Objective
    batch : Batch
        On the device.
    besides : str
        The one that does not.
    """

    def numerator(variables: dict[str, Tensor]) -> Tensor:
        return objective.numerator(variables, batch, 1.0)

    at = {name: value.detach() for name, value in objective.variables().items()}
    with objective.scope():
        for name, fails in (
            ("double_backward", double_backward_fails),
            ("forward_over_reverse", forward_over_reverse_fails),
        ):
            if name != besides and not fails(numerator, at):
                return name
    return "finite_difference"


def unsupported(objective: Objective, batch: Batch, fails: Callable[..., bool]) -> str:
    """The first layer of which a derivative is missing, by name and kind, or what is left if it is none of them.

    Parameters
    ----------
    objective : Objective
    batch : Batch
        An example, on the device.
    fails : callable
        One of the tests of this module.
    """
    model = objective.model()
    calls: list[tuple[str, nn.Module, tuple[Any, ...]]] = []

    def remember(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, arguments: calls.append((name, module, arguments))

    hooks = [
        module.register_forward_pre_hook(remember(name))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    with objective.scope():
        with torch.no_grad():
            objective.batch_loss(model, batch)
        for hook in hooks:
            hook.remove()
        for name, module, arguments in calls:
            floats = [value for value in arguments if isinstance(value, Tensor) and value.is_floating_point()]
            state = {f"input {place}": value for place, value in enumerate(floats)}
            state |= {key: value.detach() for key, value in module.named_parameters()}
            if state and fails(_squares(module, arguments), state):
                return f"layer {name or 'model'} ({type(module).__name__})"
    return "the loss, or an operation outside of the layers"


def _squares(module: nn.Module, arguments: tuple[Any, ...]) -> Callable[[dict[str, Tensor]], Tensor]:
    """The squared norm of a layer's output as a function of its inputs and parameters."""

    def function(state: dict[str, Tensor]) -> Tensor:
        given = iter([value for key, value in state.items() if key.startswith("input ")])
        inputs = tuple(
            next(given) if isinstance(value, Tensor) and value.is_floating_point() else value for value in arguments
        )
        parameters = {key: value for key, value in state.items() if not key.startswith("input ")}
        outputs = torch.func.functional_call(module, parameters, inputs)
        outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
        return torch.stack([value.square().sum() for value in outputs if isinstance(value, Tensor)]).sum()

    return function


def is_cut(results: Sequence[Tensor]) -> bool:
    """Whether a graph holds something that is differentiable once.

    Its backward pass leaves a node that only raises an error, and from which nothing leads on, so that no derivative
    ever visits it; where it depends on nothing but what the forward pass has saved, not even that.
    """
    seen, waiting = set(), [result.grad_fn for result in results]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error" or _is_differentiable_once(node):
            return True
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return False


def _is_differentiable_once(node: Any) -> bool:
    """Whether the node of a function of the user has a backward pass that torch has wrapped as such."""
    function = getattr(node, "_forward_cls", None)
    return any(
        getattr(getattr(function, name, None), "__globals__", None) is vars(torch.autograd.function)
        and hasattr(getattr(function, name), "__wrapped__")
        for name in ("backward", "vjp")
    )
