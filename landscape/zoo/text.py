"""A small transformer that predicts the next character of a text."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from landscape.objective import Objective
from landscape.parallel import ProcessGrid
from landscape.zoo import models, readers
from landscape.zoo.reference import trained_objective


def mean_over_tokens(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits ``(N, T, vocabulary)`` and characters ``(N, T)``, mean over N·T, in nats."""
    return cross_entropy(output.flatten(0, 1), target.flatten())


def characters(
    *,
    path: str | os.PathLike[str] | None = None,
    context: int = 32,
    windows: int | None = 1024,
    epochs: int = 20,
    seed: int = 0,
    weight_decay: float = 0.0,
    dtype: str = "float32",
    micro_batch: int | None = 64,
    samples: int | None = None,
    device: Any = None,
    grid: ProcessGrid | None = None,
) -> Objective:
    """Next-character cross-entropy of one transformer block with tied embeddings; n = 9600 for 65 characters.

    Collective: on several ranks all must call it; rank 0 trains.

    Parameters
    ----------
    path : path, optional
        A UTF-8 text. Default: ``tinyshakespeare/input.txt`` inside ``LANDSCAPE_DATA``.
    context : int
        Characters that are seen at once.
    windows : int, optional
        How many windows of the text, spread evenly; default 1024, none for all.
    epochs, seed, weight_decay, dtype, micro_batch, samples, device, grid
        As in `landscape.zoo.digits.digits_mlp`.

    Returns
    -------
    Objective

    Raises
    ------
    InputError
        If the text is missing or too short, or an argument has no meaning.
    """
    inputs, targets, vocabulary = readers.characters(path, context, windows)
    return trained_objective(
        models.seeded(lambda: models.CharacterTransformer(len(vocabulary), context), seed),
        mean_over_tokens,
        torch.from_numpy(inputs),
        torch.from_numpy(targets),
        lr=0.5,
        epochs=epochs,
        seed=seed,
        weight_decay=weight_decay,
        dtype=dtype,
        micro_batch=micro_batch,
        samples=samples,
        device=device,
        grid=grid,
    )
