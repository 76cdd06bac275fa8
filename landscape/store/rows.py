"""Files of long arrays, read and written a few rows at a time: the checkpoints of recorded runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py

from landscape.store.configuration import plain
from landscape.store.hdf5 import (
    FORMAT,
    SCHEMA_VERSION,
    Arrays,
    Groups,
    add_array,
    datasets,
    new_file,
    opened,
    read_array,
    read_groups,
    replace_file,
    storable,
)

TRAJECTORY = "trajectory"
TRAJECTORY_SEGMENT = "trajectory_segment"


@dataclass(frozen=True)
class Layout:
    """What a file holds, without its arrays.

    Attributes
    ----------
    kind : str
    groups : dict of dict
        Plain values by group; those of the root under "".
    arrays : dict
        Name → shape and dtype.
    read : dict of arrays
        Those that were asked for.
    """

    kind: str
    groups: Groups
    arrays: Mapping[str, tuple[tuple[int, ...], str]]
    read: Arrays


def read_layout(path: Path, kinds: set[str], names: Iterable[str] = ()) -> Layout:
    """Read the plain values of a file, the names and shapes of its arrays, and those of the named arrays that it has.

    Raises
    ------
    InputError
        As `read_file`, but for damage inside of arrays.
    """
    with opened(path, kinds) as (kind, file):
        found = datasets(file)
        arrays = {
            name: (dataset.shape, "text" if h5py.check_string_dtype(dataset.dtype) else str(dataset.dtype))
            for name, dataset in found.items()
        }
        return Layout(
            kind, read_groups(file), arrays, {name: read_array(found[name]) for name in names if name in found}
        )


def read_rows(path: Path, kinds: set[str], names: Iterable[str], rows: slice | None = None) -> Arrays:
    """Read some rows of those of the named arrays that the file has.

    Unlike `read_file` this does not compare the digest of the whole file: the caller has checksums of the rows.

    Raises
    ------
    InputError
        As `read_file`, where what is read cannot be.
    """
    with opened(path, kinds) as (_, file):
        return {name: read_array(file[name], rows) for name in names if name in file}


def write_rows(path: Path, kind: str, groups: Groups, arrays: Arrays, rows: int, parts: Iterable[Arrays]) -> None:
    """Write one file whose long arrays arrive in parts, whole or not at all.

    Parameters
    ----------
    path : Path
        Where; an earlier file is replaced in one step.
    kind : str
    groups : dict of dict
        Plain values, as for `write_file`.
    arrays : dict
        Short arrays.
    rows : int
        Length of the long arrays.
    parts : iterable of dict
        Name → the next rows of a long array. Rows of an array that a part lacks are zero.

    Raises
    ------
    InputError
        The file cannot be written there.
    ComputeError
        Writing failed half-way. An earlier file is untouched.
    """
    groups = {name: {key: plain(value) for key, value in values.items()} for name, values in groups.items()}
    facts = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "kind": kind}

    def fill(temporary: Path) -> None:
        with new_file(temporary, facts, groups) as file:
            for name, array in arrays.items():
                add_array(file, name, data=storable(array))
            start = 0
            for part in parts:
                stop = start + len(next(iter(part.values())))
                for name, array in part.items():
                    if name not in file:
                        dtype = h5py.string_dtype() if array.dtype.kind == "U" else array.dtype
                        add_array(file, name, shape=(rows, *array.shape[1:]), dtype=dtype)
                    file[name][start:stop] = storable(array)
                start = stop

    replace_file(path, fill)
