"""Batch-norm statistics of the data at a point, instead of those that training has left behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape._batch_norm import Norm, norms_of
from landscape._data import batch_size
from landscape._evaluation import Buffers, Evaluator, Group
from landscape.errors import InputError
from landscape.objective import Objective

# All data go through the network at once while the largest output of a layer stays below so many bytes: then one pass
# gives the statistics of every layer. Beyond, each layer takes a pass up to itself.
LAYER_BYTES = 2**28


class Statistics:
    """Mean and variance over all data of what enters each batch-norm layer, at any point, by this rank alone.

    Layer after layer, each with the statistics of the layers before it: what training would use with all data in one
    batch. The variance is the mean squared deviation, without a correction for the number of samples. They do not
    depend on how the data are cut but for rounding.

    Parameters
    ----------
    objective : Objective

    Raises
    ------
    InputError
        If the network uses a layer more than once, whose statistics would be those of several places.
    """

    def __init__(self, objective: Objective) -> None:
        self._evaluator = Evaluator(objective, layer_bytes=LAYER_BYTES)
        self._objective = objective
        self._norms = norms_of(self._evaluator._module)
        self._order = self._used()

    def at(self, theta: Tensor, buffers: Buffers | None = None) -> dict[str, Tensor]:
        """Buffers at a point: those given, with the statistics of the data there.

        Parameters
        ----------
        theta : (n,) tensor
        buffers : dict of tensors, optional
            Default: those of the objective.
        """
        evaluator = self._evaluator
        held = {**self._objective.buffers, **(buffers or {})}
        evaluator._theta.copy_(theta)
        with evaluator._quiet():
            if len(evaluator._groups) == 1:
                self._all_at_once(held)
            else:
                for name in self._order:
                    self._up_to(name, held)
        return held

    def _all_at_once(self, held: dict[str, Tensor]) -> None:
        def set_now(name: str, norm: Norm, x: Tensor) -> None:
            _set(norm, *_moments(x)[1:])
            _keep(name, norm, held)

        self._run(self._evaluator._groups[0], held, set_now)

    def _up_to(self, name: str, held: dict[str, Tensor]) -> None:
        """Of one layer, from all groups; those before it have theirs."""
        parts: list[tuple[int, Tensor, Tensor]] = []

        def look(here: str, norm: Norm, x: Tensor) -> None:
            if here == name:
                parts.append(_moments(x))
                raise _FarEnoughError

        for group in self._evaluator._groups:
            try:
                self._run(group, held, look)
            except _FarEnoughError:
                continue
        norm = self._norms[name]
        _set(norm, *_pooled(parts))
        _keep(name, norm, held)

    def _used(self) -> list[str]:
        """The layers in the order in which the network uses them."""
        seen: list[str] = []
        with self._evaluator._quiet():
            held = dict(self._objective.buffers)
            self._run(self._evaluator._groups[0], held, lambda name, norm, x: seen.append(name))
        twice = [name for name in seen if seen.count(name) > 1]
        if twice:
            raise InputError(
                f"batchnorm='recompute': the network uses the batch-norm layer {twice[0]!r} more than once, so that it "
                "has no statistics of its own; use batchnorm='eval'"
            )
        return seen

    def _run(self, group: Group, held: Buffers, look: object) -> None:
        """A forward pass during which something looks at the input of each batch norm."""
        evaluator, objective = self._evaluator, self._objective
        evaluator._set_buffers(held)
        handles = [
            norm.register_forward_pre_hook(_hook(name, look))  # type: ignore[arg-type]
            for name, norm in self._norms.items()
        ]
        try:
            batch = objective._on_device(group.batch)
            if objective.opaque:
                objective._loss.numerator(evaluator._module, batch, group.denominator)
            else:
                evaluator._module(batch[0])
        finally:
            for handle in handles:
                handle.remove()

    @property
    def passes(self) -> int:
        """Passes over the data per point, some of them not to the end."""
        return 1 if len(self._evaluator._groups) == 1 else len(self._order)


class _FarEnoughError(Exception):
    """The layer that was asked about has been reached."""


def check_batches(objective: Objective) -> None:
    """Refuse statistics of micro-batches that have none.

    Raises
    ------
    InputError
        If one holds a single sample.
    """
    for index, batch in enumerate(objective._batches):
        if batch_size(batch) < 2:
            raise InputError(
                f"batchnorm='batch': {objective.describe_batch(index)} has no statistics of its own; choose another "
                "micro_batch, or batchnorm='recompute'"
            )


def _hook(name: str, look: object) -> object:
    def hook(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        look(name, norm, inputs[0])  # type: ignore[operator]

    return hook


def _moments(x: Tensor) -> tuple[int, Tensor, Tensor]:
    """Count, mean and mean squared deviation of each channel, float64."""
    variance, mean = torch.var_mean(x, [axis for axis in range(x.dim()) if axis != 1], correction=0)
    return x.numel() // max(1, x.shape[1]), mean.double(), variance.double()


def _pooled(parts: list[tuple[int, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean and variance of all parts together, in their order (Chan, Golub, LeVeque, 1983)."""
    count, mean, squares = parts[0][0], parts[0][1], parts[0][2] * parts[0][0]
    for more, other, spread in parts[1:]:
        apart, total = other - mean, count + more
        mean = mean + apart * (more / total)
        squares = squares + spread * more + apart**2 * (count * more / total)
        count = total
    return mean, squares / count


def _set(norm: Norm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _keep(name: str, norm: Norm, held: dict[str, Tensor]) -> None:
    for buffer in ("running_mean", "running_var"):
        held[f"{name}.{buffer}" if name else buffer] = getattr(norm, buffer).clone()
