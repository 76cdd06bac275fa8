"""A minimum on the command line: a file of parameters, or a checkpoint of a recorded run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from landscape.cli.job import file_digest
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.objective import Objective
    from landscape.trajectory import Trajectory


@dataclass(frozen=True)
class Minimum:
    """One point between which and others something is looked at.

    Attributes
    ----------
    path : Path
        ``.pt``, ``.safetensors``, or a recorded run.
    index : int
        Which checkpoint of a recorded run.

    Examples
    --------
    >>> Minimum.read("run.h5@3")
    Minimum(path=PosixPath('run.h5'), index=3)
    """

    path: Path
    index: int = -1

    @classmethod
    def read(cls, text: str) -> Self:
        """From ``FILE`` or ``RUN.h5@INDEX``."""
        found = re.fullmatch(r"(.+\.h5)@(-?\d+)", text)
        return cls(Path(found[1]), int(found[2])) if found else cls(Path(text))

    @property
    def recorded(self) -> bool:
        """Whether the file is a recorded run."""
        return self.path.suffix == ".h5"

    def digest(self) -> str:
        """What identifies its numbers.

        Raises
        ------
        InputError
            The file cannot be read, or has no such checkpoint.
        """
        return str(self._run().digests[self.index]) if self.recorded else file_digest(self.path, "minimum")

    def point(self, objective: Objective) -> Any:
        """Parameters and buffers.

        Raises
        ------
        InputError
            The file cannot be read, or is of another model.
        """
        if self.recorded:
            return self._run()[self.index]
        from landscape.checkpoint_files import read_checkpoint

        try:
            return objective.at(read_checkpoint(self.path, objective.names))
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error

    def _run(self) -> Trajectory:
        from landscape.trajectory import Trajectory

        run = Trajectory(self.path)
        if not -len(run) <= self.index < len(run):
            raise InputError(
                f"{self.path}@{self.index}: the run has {len(run)} checkpoints, 0 to {len(run) - 1} (or -1, the last)"
            )
        return run


def names_of(minima: Sequence[Minimum]) -> tuple[str, ...]:
    """What the minima are called in figures: their files, as short as they can be told apart.

    Examples
    --------
    >>> names_of([Minimum(Path("a/sgd.h5")), Minimum(Path("b/adam.pt"))])
    ('sgd', 'adam')
    >>> names_of([Minimum(Path("a/run.h5"), 0), Minimum(Path("a/run.h5"))])
    ('run@0', 'run@-1')
    >>> names_of([Minimum(Path("a/run.h5")), Minimum(Path("b/run.h5"))])
    ('a/run', 'b/run')
    """
    for name in (_stem, _stem_and_index, _whole):
        found = tuple(map(name, minima))
        if len(set(found)) == len(found):
            break
    return found


def _stem(minimum: Minimum) -> str:
    return minimum.path.stem


def _stem_and_index(minimum: Minimum) -> str:
    return f"{minimum.path.stem}@{minimum.index}" if minimum.recorded else minimum.path.stem


def _whole(minimum: Minimum) -> str:
    name = str(minimum.path.with_suffix(""))
    return name if minimum.index == -1 else f"{name}@{minimum.index}"
