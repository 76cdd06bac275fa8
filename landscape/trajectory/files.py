"""A recorded run on disk: an index file and a folder of immutable segments, or everything in one packed file.

::

    run.h5                                 names, shapes, optimizer, provenance, whether the recording ended
    run.h5.segments/segment-000000.h5 …    consecutive checkpoints: theta (t,n), steps (t,), losses (t,), …

A segment has its name only when it is whole on the disk, so a kill loses at most the checkpoints that were waiting for
the next one. Every row carries checksums: parts of a long run are read, and checked, without the rest.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import InputError
from landscape.records import Checkpoint
from landscape.store.hdf5 import FORMAT, Arrays, Groups, write_file
from landscape.store.rows import TRAJECTORY, TRAJECTORY_SEGMENT, read_layout

# One row each, short: read when a run is opened. `losses` may be NaN.
FACTS = ("steps", "losses", "learning_rates", "theta_sha256", "has_momentum", "has_second_moment")
# Of an optimizer: the step of the first checkpoint at which other options than the learning rate were changed.
CHANGED_AT = "changed_at"
VECTORS = ("theta", "momentum", "second_moment")
BUFFERS = "buffers/"
CHECKSUMS = "checksums/"


@dataclass(frozen=True)
class Header:
    """What a recorded run says of itself once.

    Attributes
    ----------
    name : str
        Label; empty if none was given.
    names, shapes : tuples
        Of the parameters that theta is made of.
    every : int
        Which optimizer steps were kept.
    optimizer : dict
        "class", "defaults" and, if there are several, "groups"; "changed_at" if others than learning rates changed.
    provenance : dict
    complete : bool
        Whether the recording came to its end.
    checkpoints : int
        How many there are, once it is complete.
    """

    name: str
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    every: int = 1
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False
    checkpoints: int = 0

    @property
    def n(self) -> int:
        """Number of parameters."""
        return sum(int(np.prod(shape, dtype=np.int64)) for shape in self.shapes)

    def content(self) -> tuple[Groups, Arrays]:
        """What the index file holds."""
        root = {
            "name": self.name,
            "n": self.n,
            "shapes": [list(shape) for shape in self.shapes],
            "every": self.every,
            "complete": self.complete,
            "checkpoints": self.checkpoints,
        }
        groups: Groups = {"": root, "optimizer": dict(self.optimizer), "provenance": dict(self.provenance)}
        return groups, {"names": np.array(self.names, str)}


def is_trajectory(path: str | os.PathLike[str]) -> bool:
    """Whether a file is the index of a recorded run, or a packed run; false for missing, damaged and foreign files."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return bool(file.attrs.get("format") == FORMAT and file.attrs.get("kind") == TRAJECTORY)
    except (OSError, RuntimeError, ValueError):
        return False


def write_header(path: Path, header: Header) -> None:
    """Write the index file, in one step."""
    groups, arrays = header.content()
    write_file(path, TRAJECTORY, groups, arrays)


def read_header(path: Path) -> tuple[Header, bool]:
    """Read an index file, and say whether the checkpoints are in it too.

    Raises
    ------
    InputError
        The file is missing, damaged, or no recorded run.
    """
    layout = read_layout(path, {TRAJECTORY, TRAJECTORY_SEGMENT}, ["names"])
    if layout.kind == TRAJECTORY_SEGMENT:
        whole = path.parent.with_suffix("") if path.parent.suffix == ".segments" else "the file beside its folder"
        raise InputError(f"{path} is a piece of a recorded run; open {whole}")
    values = layout.groups.get("", {})
    try:
        header = Header(
            name=str(values["name"]),
            names=tuple(str(name) for name in layout.read["names"]),
            shapes=tuple(tuple(int(size) for size in shape) for shape in values["shapes"]),
            every=int(values["every"]),
            optimizer=layout.groups.get("optimizer", {}),
            provenance=layout.groups.get("provenance", {}),
            complete=bool(values["complete"]),
            checkpoints=int(values["checkpoints"]),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} is a recorded run without {error}: another version wrote it") from error
    return header, "theta" in layout.arrays


def segments_folder(path: Path) -> Path:
    """Where the segments of a run lie."""
    return path.with_name(f"{path.name}.segments")


def segment_path(path: Path, index: int) -> Path:
    """One segment of a run."""
    return segments_folder(path) / f"segment-{index:06d}.h5"


def segment_paths(path: Path) -> list[Path]:
    """List the segments of a run in order.

    Raises
    ------
    InputError
        One is missing between two others.
    """
    folder = segments_folder(path)
    found = sorted(folder.glob("segment-*.h5")) if folder.is_dir() else []
    for index, segment in enumerate(found):
        if segment != segment_path(path, index):
            raise InputError(f"{segment_path(path, index)} is missing: copy the whole folder {folder} again")
    return found


def remove_segments(path: Path, keep: int = 0) -> None:
    """Remove the segments of a run but the first `keep`, the last first, and what a killed process left beside them.

    Raises
    ------
    InputError
        The folder holds something else, which stays.
    """
    folder = segments_folder(path)
    if not folder.is_dir():
        return
    ours = sorted(folder.glob("segment-*.h5"), reverse=True) + list(folder.glob(".segment-*.part"))
    strange = sorted(entry.name for entry in folder.iterdir() if entry not in ours)
    if strange:
        raise InputError(f"the folder {folder} is no recorded run of landscape (it holds {strange[0]}); move it away")
    first = {segment_path(path, index) for index in range(keep)}
    for leftover in ours:
        if leftover not in first:
            leftover.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def write_segment(path: Path, index: int, arrays: Arrays) -> None:
    """Write one segment; when this returns, it is on the disk."""
    write_file(segment_path(path, index), TRAJECTORY_SEGMENT, {"": {}}, arrays)


def rows_of(checkpoints: Sequence[Checkpoint], digests: Sequence[str]) -> Arrays:
    """Consecutive checkpoints as arrays with one row each, with checksums."""
    arrays: Arrays = {
        "theta": _stacked([checkpoint.theta for checkpoint in checkpoints]),
        "steps": np.array([checkpoint.step for checkpoint in checkpoints], np.int64),
        "losses": np.array([checkpoint.loss for checkpoint in checkpoints], np.float64),
        "learning_rates": np.array([checkpoint.learning_rate for checkpoint in checkpoints], np.float64),
        "theta_sha256": np.array(digests, str),
    }
    for name in ("momentum", "second_moment"):
        vectors = [getattr(checkpoint, name) for checkpoint in checkpoints]
        arrays[f"has_{name}"] = np.array([vector is not None for vector in vectors])
        if arrays[f"has_{name}"].any():
            nothing = np.zeros_like(checkpoints[0].theta)
            arrays[name] = _stacked([nothing if vector is None else vector for vector in vectors])
    for name in checkpoints[0].buffers:
        arrays[BUFFERS + name] = _stacked([checkpoint.buffers[name] for checkpoint in checkpoints])
    return arrays | checksums_of(arrays)


def checkpoint_of(arrays: Arrays, row: int, header: Header) -> Checkpoint:
    """One row of arrays as a checkpoint of its own memory."""
    moments = {
        name: arrays[name][row].copy() if bool(arrays[f"has_{name}"][row]) else None
        for name in ("momentum", "second_moment")
    }
    return Checkpoint(
        theta=arrays["theta"][row].copy(),
        buffers={
            name.removeprefix(BUFFERS): np.array(arrays[name][row]) for name in arrays if name.startswith(BUFFERS)
        },
        names=header.names,
        shapes=header.shapes,
        step=int(arrays["steps"][row]),
        loss=float(arrays["losses"][row]),
        learning_rate=float(arrays["learning_rates"][row]),
        momentum=moments["momentum"],
        second_moment=moments["second_moment"],
    )


def checksums_of(arrays: Arrays) -> Arrays:
    """CRC-32 of each row, by array; that of the buffers together, and that of all short facts together."""
    rows = range(len(next(iter(arrays.values()))))
    sums = {name: [zlib.crc32(_bytes(arrays[name][row])) for row in rows] for name in VECTORS if name in arrays}
    for label, members in _families(arrays).items():
        sums[label] = [0 for _ in rows]
        for name in members:
            sums[label] = [zlib.crc32(_bytes(arrays[name][row]), sums[label][row]) for row in rows]
    return {CHECKSUMS + name: np.array(values, np.uint32) for name, values in sums.items()}


def check_rows(path: Path, arrays: Arrays) -> None:
    """Compare arrays with their checksums, where both were read.

    Raises
    ------
    InputError
        A row is not what was written.
    """
    stored = {name: array for name, array in arrays.items() if name.startswith(CHECKSUMS)}
    content = {name: array for name, array in arrays.items() if name not in stored}
    for name, sums in checksums_of(content).items():
        if name in stored and not np.array_equal(sums, stored[name]):
            raise InputError(
                f"{path} is damaged: its {name.removeprefix(CHECKSUMS)} is not what was written; copy the "
                "run again from where it came"
            )


def _families(arrays: Arrays) -> dict[str, list[str]]:
    families = {"facts": [name for name in FACTS if name in arrays], "buffers": []}
    families["buffers"] = sorted(name for name in arrays if name.startswith(BUFFERS))
    return {label: members for label, members in families.items() if members}


def _bytes(row: Any) -> bytes | memoryview:
    return row.encode() if isinstance(row, str) else np.ascontiguousarray(row).reshape(-1).view(np.uint8).data


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
