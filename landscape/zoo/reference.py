"""What all reference objectives share: a fresh model is trained on one rank and becomes an Objective on all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.objective import Objective
from landscape.parallel import ProcessGrid
from landscape.zoo.training import Loss, train


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of targets that the largest output names: ``(..., classes)`` and ``(...)`` int64 → scalar in [0, 1]."""
    return (output.argmax(-1) == target).to(torch.float64).mean()


def trained_objective(
    model: nn.Module,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    lr: float,
    seed: int,
    weight_decay: float,
    dtype: str,
    micro_batch: int | None,
    samples: int | None,
    device: Any,
    grid: ProcessGrid | None,
) -> Objective:
    """Train a fresh model on the CPU and wrap it; of several ranks only rank 0 trains, the others receive the result.

    Collective: all ranks of the grid must call it.

    Parameters
    ----------
    model, loss, inputs, targets, epochs, lr, seed, weight_decay
        As in `train`.
    dtype : {"float32", "float64"}
        Of the objective; training is float32.
    micro_batch, samples, device, grid
        As in `landscape.Objective`.

    Returns
    -------
    Objective

    Raises
    ------
    InputError
        If ``epochs`` is negative or ``dtype`` is another.
    """
    if epochs < 0:
        raise InputError(f"epochs={epochs}: 0 gives the untrained net, a positive number trains it.")
    if dtype not in ("float32", "float64"):
        raise InputError(f"dtype={dtype!r}: choose float32 or float64.")
    grid = ProcessGrid.world() if grid is None else grid
    if grid.rank == 0:
        train(model, loss, inputs, targets, epochs=epochs, lr=lr, weight_decay=weight_decay, seed=seed)
    if epochs:
        for value in model.state_dict().values():
            grid.world.broadcast(value)
    precision: torch.dtype = getattr(torch, dtype)
    if inputs.is_floating_point():
        inputs = inputs.to(precision)
    return Objective(
        model.to(precision).eval(),
        loss,
        (inputs, targets),
        weight_decay=weight_decay,
        metrics={"accuracy": accuracy},
        micro_batch=micro_batch,
        samples=samples,
        seed=seed,
        device=device,
        grid=grid,
    )
