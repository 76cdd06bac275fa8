"""Recorded runs, read from disk a segment at a time."""

from __future__ import annotations

import hashlib
import json
import operator
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.records import Checkpoint
from landscape.store.hdf5 import Arrays
from landscape.store.rows import TRAJECTORY, write_rows
from landscape.trajectory.files import Header, checkpoint_of, checksums_of, read_header
from landscape.trajectory.parts import Part, parts_of

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float64]


class Trajectory(Sequence[Checkpoint]):
    """The checkpoints of a training run.

    They stay on the disk: at most one segment is in memory at a time, however long the run is.

    Parameters
    ----------
    path : path
        What a :class:`Recorder` wrote, or a packed run. A run that was killed opens too, up to the last finished
        segment.

    Attributes
    ----------
    path : Path
    names, shapes : tuples
        Of the parameters, in the order of theta.
    optimizer : dict
        "class" and "defaults" (its hyper-parameters at the start) of the optimizer, "changed_at" (the first step with
        others, the learning rate aside) where a schedule changed them; empty if none was recorded.
    provenance : dict
    complete : bool
        Whether the recording came to its end.
    steps : (T,) int64
        Optimizer steps before each checkpoint.
    losses : (T,) float64
        As recorded, NaN where none was.
    learning_rates : (T,) float64
        NaN where unknown.
    digests : (T,) text
        SHA-256 of theta, frozen parameters and buffers: ``objective.at(run[i]).describe()["theta_sha256"]``.

    Raises
    ------
    InputError
        The file is missing, damaged or no recorded run, or its segments are missing or damaged.

    Examples
    --------
    >>> run = Trajectory("run.h5")                                                     # doctest: +SKIP
    >>> run[-1].theta.shape == (run.n,)                                                # doctest: +SKIP
    True
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        header, packed = read_header(self.path)
        self._set(header, parts_of(self.path, header, packed))

    @classmethod
    def from_checkpoints(
        cls,
        paths: Sequence[str | os.PathLike[str]],
        *,
        model: nn.Module | None = None,
        steps: Sequence[int] | None = None,
        losses: Sequence[float] | None = None,
        name: str | None = None,
    ) -> Trajectory:
        """Make a run of checkpoint files that are already there.

        Parameters
        ----------
        paths : sequence of paths
            In the order of training: ``.safetensors``, or files of ``torch.save`` that hold a state dict, alone or
            under "state_dict", "model_state_dict" or "model". Prefixes (``module.``, ``_orig_mod.``, ``model.``) that
            all names share are taken off. The files are read again when they are needed.
        model : torch.nn.Module, optional
            Its trainable parameters and their order make theta. Without it theta is made of all floating-point tensors
            in the order of the first file, but for batch-norm statistics, which are buffers.
        steps : sequence of int, optional
            Default: 0, 1, 2, …
        losses : sequence of float, optional
            Default: unknown (NaN).
        name : str, optional
            Label in figures; default: the name of the folder of the first file.

        Returns
        -------
        Trajectory

        Raises
        ------
        InputError
            A file is missing, damaged, would run code, or belongs to another model: which file, which parameter and
            which shapes.
        """
        from landscape.trajectory.checkpoints import checkpoint_parts

        run = cls.__new__(cls)
        header, parts = checkpoint_parts(paths, model, steps, losses, name)
        run.path = Path(paths[0])
        run._set(header, parts)
        return run

    def _set(self, header: Header, parts: Sequence[Part]) -> None:
        self._header = header
        self._parts = list(parts)
        self._starts = [part.start for part in parts]
        facts = {name: np.concatenate([part.facts[name] for part in parts]) for name in parts[0].facts}
        self.steps: NDArray[np.int64] = facts["steps"]
        self.losses: Array = facts["losses"]
        self.learning_rates: Array = facts["learning_rates"]
        self.digests: NDArray[Any] = facts["theta_sha256"]
        self._moments = tuple(name for name in ("momentum", "second_moment") if facts[f"has_{name}"].any())
        self.names, self.shapes = header.names, header.shapes
        self.optimizer, self.provenance = dict(header.optimizer), dict(header.provenance)
        self.complete = header.complete

    @property
    def n(self) -> int:
        """Number of parameters."""
        return self._header.n

    @property
    def name(self) -> str:
        """Label: the given name, else the optimizer's class, else the name of the file."""
        return self._header.name or str(self.optimizer.get("class", "")) or self.path.stem

    @property
    def every(self) -> int:
        """Which optimizer steps were kept: every so many."""
        return self._header.every

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that the run consists of on the disk."""
        return tuple(dict.fromkeys([self.path, *(part.path for part in self._parts)]))

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...
    @overload
    def __getitem__(self, index: slice) -> list[Checkpoint]: ...
    def __getitem__(self, index: int | slice) -> Checkpoint | list[Checkpoint]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"checkpoint {number} of a run of {len(self)}")
        number %= len(self)
        part = self._parts[bisect_right(self._starts, number) - 1]
        row = number - part.start
        return checkpoint_of(part.rows(row, row + 1), 0, self._header)

    def __iter__(self) -> Iterator[Checkpoint]:
        for part in self._parts:
            arrays = part.rows(0, len(part))
            for row in range(len(part)):
                yield checkpoint_of(arrays, row, self._header)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Stream over theta.

        Yields
        ------
        start : int
            Number of the block's first checkpoint.
        theta : (t, n) array
            Parameters of t consecutive checkpoints.
        """
        for part in self._parts:
            yield part.start, part.theta()

    def digest(self) -> str:
        """SHA-256 over all checkpoints and their steps: runs of the same content have the same digest."""
        content = [self.steps.tolist(), self.digests.tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def pack(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the whole run into one file, which opens as the run does.

        Parameters
        ----------
        path : path
            Another file than the run's own.
        overwrite : bool
            Whether an earlier file may be replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            The file exists or cannot be written, or the run is damaged.
        ComputeError
            Writing failed half-way (disk full).
        """
        path = Path(path)
        if path.exists() and path.samefile(self.path):
            raise InputError(f"{path} is the run itself: give the packed file another name")
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists; choose another name, or allow it to be overwritten")
        groups, arrays = self._header.content()
        groups[""] |= {"checkpoints": len(self)}
        write_rows(path, TRAJECTORY, groups, arrays, len(self), map(self._whole_rows, self._parts))
        return path

    def _whole_rows(self, part: Part) -> Arrays:
        """Everything about the checkpoints of a part, and zeros for what only others have."""
        arrays = part.rows(0, len(part))
        missing = {name: np.zeros_like(arrays["theta"]) for name in self._moments if name not in arrays}
        return arrays | missing | checksums_of(missing) if missing else arrays

    def __repr__(self) -> str:
        state = "" if self.complete else ", unfinished"
        return f"Trajectory({str(self.path)!r}: {self.name}, {len(self)} checkpoints of {self.n} parameters{state})"
