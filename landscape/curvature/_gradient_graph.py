"""Gradients with their graph, to be differentiated again, and words for a backward pass that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.curvature._keeping import memory_of
from landscape.curvature._layers import double_backward_fails, unsupported
from landscape.errors import InputError
from landscape.objective import Objective

REWRITE = "write its backward pass with operations that torch can differentiate"
# How torch says that a backward pass has no derivative.
UNSUPPORTED = ("is not implemented", "not implemented for", "once_differentiable")


def gradient_graph(
    objective: Objective,
    variables: dict[str, Tensor],
    leaves: Sequence[Tensor],
    batch: Batch,
    denominator: float,
    refusal: Refusal | None = None,
) -> tuple[tuple[Tensor, ...], int]:
    """Gradients of the numerator of one micro-batch.

    Parameters
    ----------
    objective : Objective
    variables : dict of tensors
        The parameters, made of the leaves.
    leaves : sequence of tensors
        That require gradients.
    batch, denominator
        The micro-batch.
    refusal : Refusal, optional
        To look through the graph.

    Returns
    -------
    tuple of tensors
        With their graph, if the loss depends on the leaves at all.
    int
        Bytes that the graph holds.
    """
    saved: list[Tensor] = []

    def pack(value: Tensor) -> Tensor:
        saved.append(value.detach())
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        value = objective.numerator(variables, batch, denominator)
        if not value.requires_grad:
            return tuple(torch.zeros_like(leaf) for leaf in leaves), 0
        found = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
    if refusal is not None:
        refusal.refuse_cut([value, *found])
    return found, memory_of(saved, leaves)


@dataclass(frozen=True)
class Refusal:
    """Of a backward pass that has no derivative.

    Attributes
    ----------
    where : callable
        What the backward pass belongs to; asked for only when it is needed.
    advice : str
        What to do instead.
    """

    where: Callable[[], str]
    advice: str

    @classmethod
    def of_layers(cls, objective: Objective, batch: Batch, advice: str = REWRITE) -> Refusal:
        """Names the layer of the network whose backward pass it is."""
        return cls(lambda: unsupported(objective, batch, double_backward_fails), advice)

    @classmethod
    def of_loss(cls) -> Refusal:
        """Where nothing but the loss is differentiated twice."""
        return cls(lambda: "the loss", REWRITE)

    def refuse_cut(self, results: Sequence[Tensor]) -> None:
        """Look through the graph of a function and of its gradients: what is cut off would silently be missing.

        Parameters
        ----------
        results : sequence of tensors
            The function's value, and the gradients.

        Raises
        ------
        InputError
            If something in the graph is differentiable only once.
        """
        if _is_cut(results):
            raise self._because("it is marked as differentiable once, and torch would leave it out")

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Say which layer it is where torch says that a derivative is missing."""
        try:
            yield
        except RuntimeError as error:
            if not any(words in str(error) for words in UNSUPPORTED):
                raise
            raise self._because(str(error).splitlines()[0]) from error

    def _because(self, reason: str) -> InputError:
        return InputError(f"the backward pass of {self.where()} cannot be differentiated; {self.advice} ({reason})")


def _is_cut(results: Sequence[Tensor]) -> bool:
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
