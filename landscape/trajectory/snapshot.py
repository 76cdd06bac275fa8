"""One checkpoint of a model and its optimizer, copied to the host without touching either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape._network import point_digest
from landscape.errors import InputError
from landscape.records import Checkpoint
from landscape.trajectory.files import Header
from landscape.trajectory.optimizer_facts import MOMENTUM, SECOND_MOMENT, learning_rate, optimizer_state


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What theta is made of: the parameters that require gradients.

    Raises
    ------
    InputError
        There are none, or one has no values yet, or is not real.
    """
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not trained:
        raise InputError("nothing is trainable: no parameter requires gradients")
    for name, value in trained.items():
        if nn.parameter.is_lazy(value):
            raise InputError(f"{name} has no values yet: run one batch through the model before recording it")
        if not value.dtype.is_floating_point:
            raise InputError(f"{name} is {value.dtype}, but parameters must be real numbers")
    return trained


@torch.no_grad()
def snapshot(model: nn.Module, header: Header, optimizer: Any, with_state: bool) -> tuple[Checkpoint, str]:
    """The model and the optimizer as they are now.

    Returns
    -------
    checkpoint : Checkpoint
        Its arrays share no memory with the model.
    digest : str
        That of an Objective of this model.

    Raises
    ------
    InputError
        A parameter has another shape than `header` says, or is gone.
    """
    parameters = dict(model.named_parameters())
    for name, shape in zip(header.names, header.shapes, strict=True):
        found = tuple(parameters[name].shape) if name in parameters else None
        if found != shape:
            what = "is gone" if found is None else f"has shape {found} now"
            raise InputError(f"the model changed while it was recorded: {name}, of shape {shape}, {what}")
    trained = [parameters.pop(name) for name in header.names]
    buffers = dict(model.named_buffers())
    dtype = joint_dtype(trained)
    theta = flattened(trained, dtype)
    moments: dict[str, NDArray[Any] | None] = {}
    for label, keys in {"momentum": MOMENTUM, "second_moment": SECOND_MOMENT}.items():
        state = optimizer_state(optimizer, trained, keys) if with_state else None
        moments[label] = None if state is None else flattened(state, dtype).numpy()
    checkpoint = Checkpoint(
        theta=theta.numpy(),
        buffers={name: on_host(value) for name, value in buffers.items()},
        names=header.names,
        shapes=header.shapes,
        learning_rate=learning_rate(optimizer),
        momentum=moments["momentum"],
        second_moment=moments["second_moment"],
    )
    return checkpoint, point_digest(theta, {**parameters, **buffers})


def joint_dtype(values: Sequence[Tensor]) -> torch.dtype:
    """float64 if any of them is, else float32, which holds half precision exactly."""
    return torch.float64 if any(value.dtype == torch.float64 for value in values) else torch.float32


def flattened(values: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Tensors of any device one after another in a new vector on the host, without a second copy on the device."""
    result = torch.empty(sum(value.numel() for value in values), dtype=dtype)
    for part, value in zip(result.split([value.numel() for value in values]), values, strict=True):
        part.copy_(value.detach().reshape(-1))
    return result


def on_host(value: Tensor) -> NDArray[Any]:
    """A copy of a tensor; NumPy has no bfloat16, so that becomes float32."""
    value = value.detach()
    return np.array(value.to("cpu", torch.float32 if value.dtype == torch.bfloat16 else value.dtype).numpy())


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Whatever is done inside, the random state and the modes of the modules are afterwards as before."""
    modes = [(module, module.training) for module in model.modules()]
    devices = sorted({value.device.index or 0 for value in model.parameters() if value.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for module, training in modes:
            module.training = training
