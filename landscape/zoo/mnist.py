"""A perceptron on MNIST: ten times the parameters and data of the digits."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from landscape.objective import Objective
from landscape.parallel import ProcessGrid
from landscape.zoo import models, readers
from landscape.zoo.reference import trained_objective


def mnist_mlp(
    *,
    folder: str | os.PathLike[str] | None = None,
    split: str = "test",
    activation: str = "relu",
    epochs: int = 5,
    seed: int = 0,
    weight_decay: float = 0.0,
    dtype: str = "float32",
    micro_batch: int | None = 625,
    samples: int | None = None,
    device: Any = None,
    grid: ProcessGrid | None = None,
) -> Objective:
    """Cross-entropy of a 784-32-10 perceptron on MNIST; n = 25 450.

    Collective: on several ranks all must call it; rank 0 trains, on the same images that the objective has.

    Parameters
    ----------
    folder : path, optional
        Where the IDX files are. Default: ``mnist`` inside ``LANDSCAPE_DATA``.
    split : {"test", "train"}
        10 000 or 60 000 images. Default test: enough for a reference, at a sixth of the cost.
    activation, epochs, seed, weight_decay, dtype, micro_batch, samples, device, grid
        As in `landscape.zoo.digits.digits_mlp`; micro-batches of 625 make 16 of the test images.

    Returns
    -------
    Objective

    Raises
    ------
    InputError
        If the files are missing or damaged, or an argument has no meaning.
    """
    images, labels = readers.mnist(folder, split)
    return trained_objective(
        models.mlp((784, 32, 10), activation, seed),
        cross_entropy,
        torch.from_numpy(images).to(torch.float32).div(255).flatten(1),
        torch.from_numpy(labels).to(torch.int64),
        lr=0.1,
        epochs=epochs,
        seed=seed,
        weight_decay=weight_decay,
        dtype=dtype,
        micro_batch=micro_batch,
        samples=samples,
        device=device,
        grid=grid,
    )
