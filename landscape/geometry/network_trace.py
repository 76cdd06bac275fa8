"""A network as a graph of operations, by torch.fx, with the modules that they are in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape._network import Network
from landscape.errors import InputError

WITHOUT = "leave the alignment out (align=False)"


@dataclass(frozen=True)
class NetworkTrace:
    """The graph of a network.

    Attributes
    ----------
    graph : fx.GraphModule
        Of parameters and buffers, then the tensors of a batch, one after the other.
    names : tuple of str
        Of the parameters and buffers.
    starts : tuple of (int, str)
        From which node on the operations are in which module.
    """

    graph: fx.GraphModule
    names: tuple[str, ...]
    starts: tuple[tuple[int, str], ...]

    def module_at(self, number: int) -> str:
        """Name and type of the module that a node is in."""
        before = [module for start, module in self.starts if start <= number]
        return (before[-1] if before else "") or "the function that calls the network"


def traced(
    network: Network, state: Mapping[str, Tensor], batch: Any, call: Callable[[nn.Module, Any], Any] | None
) -> NetworkTrace:
    """Trace a network down to the operations of ATen, without computing anything.

    Parameters
    ----------
    network : Network
    state : dict of tensors
        Parameters and buffers.
    batch : tree of tensors
    call : callable, optional
        ``call(module, batch)``; default: the module is called with the batch.

    Raises
    ------
    InputError
        If something stops the trace; the message says in which module.
    """
    from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx

    leaves, tree = tree_flatten(batch)
    module = network.module
    names = list(state)
    where: list[tuple[int, str]] = []
    stack: list[str] = []

    def note() -> None:
        mode = get_proxy_mode()
        if mode is not None:
            where.append((len(mode.tracer.graph.nodes), stack[-1] if stack else ""))

    def enter(name: str) -> Callable[..., None]:
        def hook(inner: nn.Module, _: Any) -> None:
            stack.append(f"{name or 'the network itself'} ({type(inner).__name__})")
            note()

        return hook

    def leave(*_: Any) -> None:
        stack.pop()
        note()

    def run(values: list[Tensor], tensors: list[Tensor]) -> Any:
        given = iter(tensors)
        data = tree_unflatten([next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves], tree)
        return called(module, dict(zip(names, values, strict=True)), data, call)

    hooks = [inner.register_forward_pre_hook(enter(name)) for name, inner in module.named_modules()]
    hooks += [inner.register_forward_hook(leave) for inner in module.modules()]
    try:
        with network.scope(), torch.no_grad():
            graph = make_fx(torch.func.functionalize(run), tracing_mode="fake", _allow_non_fake_inputs=True)(
                list(state.values()), [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            )
    except Exception as error:  # the user's code on tensors without values
        place = f" in {stack[-1]}" if stack else ""
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else ""
        raise InputError(
            f"the network cannot be traced{place}, so that it is not known which of its neurons belong together "
            f"({type(error).__name__}: {reason}). A branch on values, or code that leaves torch, stops a trace: write "
            f"it without, or {WITHOUT}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    graph.graph.set_codegen(fx.graph.CodeGen())  # tensors one after the other instead of two lists
    graph.recompile()
    return NetworkTrace(graph, tuple(names), tuple(where))


class Called(nn.Module):
    """A module in the hands of a function, so that functional_call can replace its parameters.

    Parameters
    ----------
    module : nn.Module
    call : callable
        ``call(module, data)``.
    """

    def __init__(self, module: nn.Module, call: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, data: Any) -> list[Any]:
        """What the function returns, and all that the module has put out meanwhile."""
        outputs: list[Any] = []
        hook = self.module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        try:
            return [self.call(self.module, data), outputs]
        finally:
            hook.remove()


def called(
    module: nn.Module, state: Mapping[str, Tensor], data: Any, call: Callable[[nn.Module, Any], Any] | None
) -> Any:
    """Return the output of a module with other parameters and buffers, or what a function makes of it, and the output.

    Parameters
    ----------
    module : nn.Module
    state : dict of tensors
    data : tree of tensors
    call : callable, optional
        ``call(module, data)``; default: the module is called with the data.
    """
    if call is None:
        return torch.func.functional_call(module, dict(state), (data,))
    named = {f"module.{name}": value for name, value in state.items()}
    return torch.func.functional_call(Called(module, call), named, (data,))
