"""A run made of checkpoint files that training scripts have written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape._network import point_digest, unwrap
from landscape.checkpoint_files import read_checkpoint
from landscape.errors import InputError
from landscape.records import Checkpoint
from landscape.store.hdf5 import Arrays
from landscape.trajectory.files import FACTS, Header, rows_of
from landscape.trajectory.snapshot import flattened, joint_dtype, on_host, trained_parameters

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # the buffers of torch's batch norms


@dataclass(frozen=True)
class Scheme:
    """Which tensors of a file are parameters, frozen parameters and buffers.

    Attributes
    ----------
    source : str
        Where this is known from, for messages.
    names, shapes : tuples
        Of the parameters.
    dtype : torch.dtype
        Of theta.
    others : dict
        Frozen parameters and buffers → shape and, if the model is known, dtype.
    buffers : tuple of str
    constants : dict of tensors
        Buffers that no file holds.
    aliases : frozenset of str
        Further names of tied parameters.
    """

    source: str
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype
    others: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
    buffers: tuple[str, ...]
    constants: dict[str, Tensor] = field(default_factory=dict)
    aliases: frozenset[str] = frozenset()


@dataclass
class CheckpointPart:
    """One checkpoint file as a part of a run, read again whenever it is needed."""

    path: Path
    start: int
    scheme: Scheme
    step: int
    loss: float
    facts: Arrays = field(default_factory=dict)

    def __len__(self) -> int:
        return 1

    def theta(self) -> NDArray[Any]:
        """Parameters, (1, n)."""
        return self.rows(0, 1)["theta"]

    def rows(self, first: int, stop: int) -> Arrays:
        """Everything about it, in arrays with one row."""
        state = _checked(read_checkpoint(self.path, self.scheme.names), self.scheme, self.path)
        theta = flattened([state[name] for name in self.scheme.names], self.scheme.dtype)
        others = {
            name: state[name].to(dtype) for name, (_, dtype) in self.scheme.others.items()
        } | self.scheme.constants
        buffers = {name: on_host(others[name]) for name in self.scheme.buffers}
        checkpoint = Checkpoint(theta.numpy(), buffers, step=self.step, loss=self.loss)
        arrays = rows_of([checkpoint], [point_digest(theta, others)])
        return {name: array[first:stop] for name, array in arrays.items()}


def checkpoint_parts(
    paths: Sequence[str | os.PathLike[str]],
    model: nn.Module | None,
    steps: Sequence[int] | None,
    losses: Sequence[float] | None,
    name: str | None,
) -> tuple[Header, list[CheckpointPart]]:
    """What :meth:`Trajectory.from_checkpoints` is made of; every file is read and checked once."""
    if isinstance(paths, (str, os.PathLike)):
        raise InputError(f"from_checkpoints needs a list of files, not {os.fspath(paths)!r} alone")
    files = [Path(path) for path in paths]
    if not files:
        raise InputError("from_checkpoints needs at least one file")
    for given, what in ((steps, "steps"), (losses, "losses")):
        if given is not None and len(given) != len(files):
            raise InputError(f"{len(given)} {what} were given for {len(files)} files; give one for each")
    numbers = list(range(len(files))) if steps is None else [int(step) for step in steps]
    heights = [float("nan")] * len(files) if losses is None else [float(loss) for loss in losses]
    scheme = _of_file(files[0]) if model is None else _of_model(unwrap(model))
    parts = [CheckpointPart(path, at, scheme, numbers[at], heights[at]) for at, path in enumerate(files)]
    for part in parts:
        rows = part.rows(0, 1)
        part.facts = {fact: rows[fact] for fact in FACTS}
    label = files[0].absolute().parent.name if name is None else name
    header = Header(label, scheme.names, scheme.shapes, complete=True, checkpoints=len(parts))
    return header, parts


def _of_model(model: nn.Module) -> Scheme:
    parameters, trained = dict(model.named_parameters()), trained_parameters(model)
    buffers, stored = dict(model.named_buffers()), model.state_dict()
    others = {name: value for name, value in (parameters | buffers).items() if name in stored and name not in trained}
    return Scheme(
        "the model",
        tuple(trained),
        tuple(tuple(value.shape) for value in trained.values()),
        joint_dtype(list(trained.values())),
        {name: (tuple(value.shape), value.dtype) for name, value in others.items()},
        tuple(buffers),
        {name: value.detach().clone() for name, value in buffers.items() if name not in stored},
        frozenset(stored.keys() - parameters.keys() - buffers.keys()),
    )


def _of_file(path: Path) -> Scheme:
    state = read_checkpoint(path)
    tied: set[str] = set()
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, value in state.items():
        place = (value.data_ptr(), tuple(value.shape))
        if value.numel() and place in seen:  # a tied parameter has several names there, but is one parameter
            tied.add(name)
        seen.add(place)
    buffers = {
        name: value
        for name, value in state.items()
        if name not in tied and (name.rpartition(".")[2] in STATISTICS or not value.dtype.is_floating_point)
    }
    trained = {name: value for name, value in state.items() if name not in buffers and name not in tied}
    if not trained:
        raise InputError(f"{path} holds no parameters: none of its tensors is made of floating-point numbers")
    return Scheme(
        str(path),
        tuple(trained),
        tuple(tuple(value.shape) for value in trained.values()),
        joint_dtype(list(trained.values())),
        {name: (tuple(value.shape), value.dtype) for name, value in buffers.items()},
        tuple(buffers),
        aliases=frozenset(tied),
    )


def _checked(state: dict[str, Tensor], scheme: Scheme, path: Path) -> dict[str, Tensor]:
    """Refuse a file of another model, naming the first parameter that differs."""
    wanted = dict(zip(scheme.names, scheme.shapes, strict=True)) | {
        name: shape for name, (shape, _) in scheme.others.items()
    }
    other = f"{path} belongs to another model than {scheme.source}"
    if scheme.source == "the model":
        other = f"{path} belongs to another model"
    unknown = [name for name in state if name not in wanted and name not in scheme.aliases]
    for name, shape in wanted.items():
        if name not in state:
            instead = f"; it has {unknown[0]!r} of shape {tuple(state[unknown[0]].shape)} instead" if unknown else ""
            raise InputError(f"{other}: it lacks {name!r} of shape {shape}{instead}")
        if tuple(state[name].shape) != shape:
            raise InputError(
                f"{other}: {name!r} has shape {tuple(state[name].shape)} in the file, but {shape} in {scheme.source}"
            )
    if unknown:
        raise InputError(f"{other}: {scheme.source} lacks {unknown[0]!r} of shape {tuple(state[unknown[0]].shape)}")
    return state
