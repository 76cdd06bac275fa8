"""Consecutive checkpoints that lie in one file, read a few rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from landscape.errors import InputError
from landscape.store.hdf5 import Arrays
from landscape.store.rows import TRAJECTORY, TRAJECTORY_SEGMENT, read_layout, read_rows
from landscape.trajectory.files import CHECKSUMS, FACTS, Header, check_rows, segment_paths, segments_folder

KINDS = {TRAJECTORY, TRAJECTORY_SEGMENT}
FACTS_READ = (*FACTS, f"{CHECKSUMS}facts")
# A packed run is read in pieces of about this size, which is also the default size of a segment.
PIECE_BYTES = 2**25


class Part(Protocol):
    """Consecutive checkpoints of a run."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def start(self) -> int:
        """Number of the first in the run."""
        ...

    @property
    def facts(self) -> Arrays:
        """Steps, losses, learning rates and digests."""
        ...

    def __len__(self) -> int: ...

    def theta(self) -> np.ndarray:
        """Parameters of all its checkpoints, (t, n)."""
        ...

    def rows(self, first: int, stop: int) -> Arrays:
        """Everything about some of its checkpoints, counted from its first."""
        ...


@dataclass(frozen=True)
class FilePart:
    """Rows of a segment, or of a packed run.

    Attributes
    ----------
    path : Path
    start : int
        Number of its first checkpoint in the run.
    offset : int
        Row of this checkpoint in the file.
    facts : dict of arrays
        Steps, losses, learning rates and digests.
    names : tuple of str
        All arrays of the file that have rows.
    """

    path: Path
    start: int
    offset: int
    facts: Arrays
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.facts["steps"])

    def theta(self) -> np.ndarray:
        """Parameters of all its checkpoints, (t, n)."""
        return self._read(("theta", f"{CHECKSUMS}theta"), 0, len(self))["theta"]

    def rows(self, first: int, stop: int) -> Arrays:
        """Everything about some of its checkpoints, counted from its first."""
        return self._read(self.names, first, stop)

    def _read(self, names: tuple[str, ...], first: int, stop: int) -> Arrays:
        arrays = read_rows(self.path, KINDS, names, slice(self.offset + first, self.offset + stop))
        check_rows(self.path, arrays)
        return arrays


def parts_of(path: Path, header: Header, packed: bool) -> list[FilePart]:
    """The parts of a recorded run, up to the last finished one.

    Raises
    ------
    InputError
        A part is missing, damaged, or of another run; only the last one of an unfinished run may be.
    """
    if packed:
        return _pieces(path, header)
    paths = segment_paths(path)
    parts: list[FilePart] = []
    for index, segment in enumerate(paths):
        try:
            parts.append(_part(segment, header, sum(map(len, parts[-1:])) + (parts[-1].start if parts else 0)))
        except InputError:
            if header.complete or index < len(paths) - 1:
                raise
    folder = segments_folder(path)
    if not parts:
        raise InputError(
            f"{path} has no checkpoints: the segments in {folder} are missing; copy this folder along with the file, "
            "or record the run again"
        )
    found = parts[-1].start + len(parts[-1])
    if header.complete and found != header.checkpoints:
        raise InputError(
            f"{path} is a run of {header.checkpoints} checkpoints, but {folder} holds {found}: copy the whole folder "
            "again"
        )
    return parts


def _part(path: Path, header: Header, start: int) -> FilePart:
    layout = read_layout(path, KINDS, FACTS_READ)
    arrays, facts = layout.arrays, _facts(path, layout.read)
    shape = arrays["theta"][0] if "theta" in arrays else ()
    if len(shape) != 2 or shape[1] != header.n:
        raise InputError(
            f"{path} has theta of shape {shape}, but the run has {header.n} parameters: it is of another run"
        )
    return FilePart(path, start, 0, facts, tuple(arrays))


def _pieces(path: Path, header: Header) -> list[FilePart]:
    layout = read_layout(path, KINDS, FACTS_READ)
    facts = _facts(path, layout.read)
    total = len(facts["steps"])
    arrays = {name: what for name, what in layout.arrays.items() if name != "names"}
    bytes_per_row = sum(
        int(np.prod(shape[1:], dtype=np.int64)) * (64 if dtype == "text" else np.dtype(dtype).itemsize)
        for shape, dtype in arrays.values()
    )
    rows = max(PIECE_BYTES // max(bytes_per_row, 1), 1)
    return [
        FilePart(
            path, start, start, {name: array[start : start + rows] for name, array in facts.items()}, tuple(arrays)
        )
        for start in range(0, total, rows)
    ]


def _facts(path: Path, read: Arrays) -> Arrays:
    facts = dict(read)
    check_rows(path, facts)
    missing = [name for name in FACTS if name not in facts]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: another version wrote it")
    return {name: facts[name] for name in FACTS}
