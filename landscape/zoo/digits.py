"""Digit classifiers of about 2500 parameters, whose exact spectra take seconds: perceptron, convolutional, residual."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from landscape.objective import Objective
from landscape.parallel import ProcessGrid
from landscape.zoo import models, readers
from landscape.zoo.reference import trained_objective

# 1797 samples in 16 micro-batches of 113 (the last of 102): balanced on 1, 2, 4, 8 and 16 ranks.
MICRO_BATCH = 113


def _tensors(image_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Images scaled to [0, 1], float32 ``(1797, *image_shape)``, and labels, int64 ``(1797,)``."""
    images, labels = readers.digits()
    inputs = torch.from_numpy(images).to(torch.float32).div(16).reshape(-1, *image_shape)
    return inputs, torch.from_numpy(labels).to(torch.int64)


def _objective(model: nn.Module, image_shape: tuple[int, ...], **options: Any) -> Objective:
    return trained_objective(model, cross_entropy, *_tensors(image_shape), **options)


def digits_mlp(
    *,
    activation: str = "relu",
    epochs: int = 30,
    seed: int = 0,
    weight_decay: float = 0.0,
    dtype: str = "float32",
    micro_batch: int | None = MICRO_BATCH,
    samples: int | None = None,
    device: Any = None,
    grid: ProcessGrid | None = None,
) -> Objective:
    """Cross-entropy of a 64-28-16-10 perceptron on the 1797 digits; n = 2454.

    Collective: on several ranks all must call it; rank 0 trains.

    Parameters
    ----------
    activation : str
        One of ``landscape.zoo.models.ACTIVATIONS``.
    epochs : int
        Of training; 0 gives the untrained net. Default 30: more than 97 % of the training data right.
    seed : int
        Of the initial parameters, the order of the samples and the subset.
    weight_decay : float
        Adds ½·weight_decay·‖theta‖², in training and in the objective.
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
        If an argument has no meaning; the message says which.
    """
    return _objective(
        models.mlp((64, 28, 16, 10), activation, seed),
        (64,),
        lr=0.05,
        epochs=epochs,
        seed=seed,
        weight_decay=weight_decay,
        dtype=dtype,
        micro_batch=micro_batch,
        samples=samples,
        device=device,
        grid=grid,
    )


def digits_cnn(
    *,
    activation: str = "relu",
    epochs: int = 6,
    seed: int = 0,
    weight_decay: float = 0.0,
    dtype: str = "float32",
    micro_batch: int | None = MICRO_BATCH,
    samples: int | None = None,
    device: Any = None,
    grid: ProcessGrid | None = None,
) -> Objective:
    """Cross-entropy of three convolutions with batch norm on the 1797 digits; n = 2770.

    Collective: on several ranks all must call it; rank 0 trains.

    Parameters
    ----------
    activation, epochs, seed, weight_decay, dtype, micro_batch, samples, device, grid
        As in `digits_mlp`; 6 epochs reach more than 97 %.

    Returns
    -------
    Objective

    Raises
    ------
    InputError
        If an argument has no meaning; the message says which.
    """
    return _objective(
        models.convolutional(activation, seed=seed),
        (1, 8, 8),
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


def digits_resnet(
    *,
    activation: str = "relu",
    epochs: int = 8,
    seed: int = 0,
    weight_decay: float = 0.0,
    dtype: str = "float32",
    micro_batch: int | None = MICRO_BATCH,
    samples: int | None = None,
    device: Any = None,
    grid: ProcessGrid | None = None,
) -> Objective:
    """Cross-entropy of a residual net of two blocks with batch norm on the 1797 digits; n = 2546.

    Collective: on several ranks all must call it; rank 0 trains.

    Parameters
    ----------
    activation, epochs, seed, weight_decay, dtype, micro_batch, samples, device, grid
        As in `digits_mlp`; 8 epochs reach more than 97 %.

    Returns
    -------
    Objective

    Raises
    ------
    InputError
        If an argument has no meaning; the message says which.
    """
    return _objective(
        models.residual(activation, seed=seed),
        (1, 8, 8),
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
