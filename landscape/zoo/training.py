"""The plain training loop of the reference objectives: seeded, on one thread, the same bits on every start."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from landscape.parallel.threads import one_thread

Loss = Callable[[Tensor, Tensor], Tensor]


def train(
    model: nn.Module,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    lr: float,
    batch: int = 64,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> None:
    """Train a model in place by stochastic gradient descent with momentum and leave it in evaluation mode.

    The learning rate falls linearly to zero, so that the end point is not shaken by the noise of the last steps.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place.
    loss : callable
        ``(output, target)`` → mean over the batch.
    inputs : Tensor, (N, ...)
    targets : Tensor, (N, ...)
    epochs : int
        Passes over the data; 0 leaves the model as it is.
    lr : float
        First learning rate.
    batch : int
        Samples per step.
    momentum : float
        Default 0.9, the usual value since Sutskever et al. 2013.
    weight_decay : float
        Of the objective, ½·weight_decay·‖theta‖².
    seed : int
        Of the order of the samples; the global random state is neither read nor changed.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(inputs) // batch)
    done = 0
    model.train()
    with one_thread(), torch.enable_grad():
        for _ in range(epochs):
            order = torch.randperm(len(inputs), generator=generator)
            for start in range(0, len(inputs), batch):
                rows = order[start : start + batch]
                for group in optimizer.param_groups:
                    group["lr"] = lr * (1 - done / steps)
                optimizer.zero_grad()
                loss(model(inputs[rows]), targets[rows]).backward()
                optimizer.step()
                done += 1
    optimizer.zero_grad()
    model.eval()
