"""Results as files: `save` and `load` any record of `landscape.records.KINDS`, `describe` what a file holds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape import records
from landscape.errors import InputError
from landscape.store.configuration import configuration_digest
from landscape.store.hdf5 import MEANINGS, SCHEMA_VERSION, Arrays, Groups, read_file, temporary_name, write_file
from landscape.store.rows import TRAJECTORY, TRAJECTORY_SEGMENT, read_layout
from landscape.store.run_state import SEGMENT, describe_run_state

PIECES = {
    SEGMENT: "a piece of a half-done run, not a result; give the same command again to finish the run",
    TRAJECTORY: "a recorded run; open it with landscape.Trajectory",
    TRAJECTORY_SEGMENT: "a piece of a recorded run; open the file beside its folder, which has the folder's name "
    "without .segments",
}
# Entries of the provenance that other programs also find as attributes of the file itself.
PROMINENT = ("seed", "threads", "device", "theta_sha256")


def save(record: Any, path: str | os.PathLike[str], overwrite: bool = True) -> Path:
    """Write one result, whole or not at all.

    Parameters
    ----------
    record : dataclass
        A record of one of `landscape.records.KINDS`.
    path : path
        The file; its folder must exist. An earlier file is replaced in one step.
    overwrite : bool
        Refuse to replace an earlier file if false.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        The file cannot be written there, or exists and `overwrite` is false.
    ComputeError
        Writing failed half-way (disk full). The earlier file is untouched.
    """
    kind = next((name for name, cls in records.KINDS.items() if cls is type(record)), None)
    if kind is None:
        raise InputError(
            f"cannot save a {type(record).__name__}: the kinds of result are {', '.join(sorted(records.KINDS))}"
        )
    path = Path(path)
    if not overwrite and path.exists():
        raise InputError(f"{path} exists; choose another name, or allow it to be overwritten")
    groups: Groups = {"": {}}
    arrays: Arrays = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Mapping) and value and all(isinstance(item, np.ndarray) for item in value.values()):
            arrays |= {f"{field.name}/{name}": item for name, item in value.items()}
        elif isinstance(value, Mapping):
            groups[field.name] = dict(value)
        elif isinstance(value, np.ndarray):
            arrays[field.name] = value
        else:
            groups[""][field.name] = value
    provenance = groups.get("provenance", {})
    configuration = provenance.get("configuration", {})
    for place in (provenance, configuration, provenance.get("grid", {})):
        groups[""] = {**{name: place[name] for name in PROMINENT if name in place}, **groups[""]}
    write_file(path, kind, groups, arrays, {"configuration_sha256": configuration_digest(configuration)})
    return path


def load(path: str | os.PathLike[str]) -> Any:
    """Read a result file.

    Parameters
    ----------
    path : path
        A file written by `save`.

    Returns
    -------
    dataclass
        A record of the kind that the file holds.

    Raises
    ------
    InputError
        The file is missing, truncated, damaged, foreign, or newer than this version of landscape; the message says
        which.
    """
    path = Path(path)
    kind = read_layout(path, _known()).kind
    if kind in PIECES:
        raise InputError(f"{path} is {PIECES[kind]}")
    kind, groups, arrays = read_file(path, set(records.KINDS))
    fields = dataclasses.fields(records.KINDS[kind])
    found: dict[str, Any] = {**groups.pop(""), **groups}
    for name, array in arrays.items():
        dictionary, slash, key = name.partition("/")
        if slash:
            found.setdefault(dictionary, {})[key] = array
        else:
            found[name] = array
    required = [field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING]
    missing = [name for name in required if name not in found]
    if missing:
        raise InputError(f"{path} is a {kind} without {', '.join(missing)}: another version wrote it; make it again")
    return records.KINDS[kind](**{field.name: found[field.name] for field in fields if field.name in found})


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Say what a result file, or the state of a half-done run, contains.

    Parameters
    ----------
    path : path
        A result file or a `RunState` folder.

    Returns
    -------
    dict
        For a file (of a recorded run too, whose checkpoints may lie in a folder beside it): `kind`,
        `schema_version`, `bytes`, `values` (scalar fields), `groups` (dictionary fields) and `arrays` (name → shape,
        dtype, description, unit). For a folder: `kind` "run_state", `configuration`, `segments` (how many), `bytes`,
        `last` (attributes of the last segment), `parts` (the same per part) and `modified` (seconds since the epoch).

    Raises
    ------
    InputError
        As `load`.
    """
    path = Path(path)
    if path.is_dir():
        if path.suffix == ".segments":
            raise InputError(
                f"{path} holds the checkpoints of a recorded run; give the run itself, {path.with_suffix('')}"
            )
        return describe_run_state(path)
    layout = read_layout(path, _known())
    if layout.kind in records.KINDS or layout.kind == SEGMENT:  # recorded runs are long, and checked as they are read
        read_file(path, {layout.kind})
    described = {}
    for name, (shape, dtype) in layout.arrays.items():
        description, unit = MEANINGS.get(name, MEANINGS.get(name.partition("/")[0], ("", "")))
        described[name] = {"shape": shape, "dtype": dtype, "description": description, "unit": unit}
    facts = {"kind": layout.kind, "schema_version": SCHEMA_VERSION, "bytes": path.stat().st_size}
    groups = dict(layout.groups)
    return {**facts, "values": groups.pop(""), "groups": groups, "arrays": described}


def _known() -> set[str]:
    """Every kind of file."""
    return {*records.KINDS, *PIECES}


def check_writable(path: str | os.PathLike[str]) -> None:
    """Make sure, before the work, that a file can be written at `path`; its folder is created if need be.

    Raises
    ------
    InputError
        It cannot; the message says why.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file in it")
    trial = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with trial.open("xb"):
            pass
        trial.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write into the folder {path.parent}: {error.strerror}; choose another output"
        ) from error
