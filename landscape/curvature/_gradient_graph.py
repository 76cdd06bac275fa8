"""Gradients with their graph, to be differentiated again, and words for a backward pass that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape._data import Batch
from landscape.curvature._keeping import memory_of
from landscape.curvature._layers import double_backward_fails, is_cut, unsupported
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
        # Not the value itself: a result that is saved by its own node would hold that node, and neither is ever freed.
        saved.append(value.detach())
        return saved[-1]

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
    advice : callable
        What to do instead; asked for only then, too.
    """

    where: Callable[[], str]
    advice: Callable[[], str]

    @classmethod
    def of_layers(cls, objective: Objective, batch: Batch, advice: Callable[[], str] = lambda: REWRITE) -> Refusal:
        """Names the layer of the network whose backward pass it is."""
        return cls(lambda: unsupported(objective, batch, double_backward_fails), advice)

    @classmethod
    def of_loss(cls) -> Refusal:
        """Where nothing but the loss is differentiated twice."""
        return cls(lambda: "the loss", lambda: REWRITE)

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
        if is_cut(results):
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
        return InputError(f"the backward pass of {self.where()} cannot be differentiated; {self.advice()} ({reason})")
