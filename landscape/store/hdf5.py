"""The HDF5 files themselves: their layout, their digest, and everything that can be wrong with one.

Layout, schema 1::

    /                     attributes: format, schema_version, kind, content_sha256, and every scalar field
    /<array>              one dataset each, with attributes `description` and `unit` where known
    /<dictionary>/        one group each; its attributes are the entries; json_keys names those that are JSON text
    /<dictionary>/<array> one dataset per entry of a dictionary of arrays
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import ComputeError, InputError
from landscape.store.configuration import plain, to_json

SCHEMA_VERSION = 1
FORMAT = "landscape"
UPGRADE = "upgrade with: pip install --upgrade landscape-spectra"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
# How a heap begins: its name, version 1, three zeros; and how much of a file is searched for heaps.
HEAP = b"GCOL\x01\0\0\0"
LOOKED_AT = 1 << 20
JSON_KEYS = "json_keys"
RESERVED = {"format", "schema_version", "kind", "content_sha256", "configuration_sha256", JSON_KEYS}
CURVATURE = "loss per parameter²"

# name of an array → what it is, its unit. A name means the same in every kind of result.
MEANINGS: dict[str, tuple[str, str]] = {
    "nodes": ("quadrature nodes of the eigenvalue density", CURVATURE),
    "weights": ("share of the n eigenvalues that each node stands for; they sum to 1", "1"),
    "resolved": ("true where a node is a converged single eigenvalue with its exact weight 1/n", "boolean"),
    "residuals": ("‖Av − λv‖ of the approximate unit eigenvector of each node", CURVATURE),
    "probe": ("which random start vector each node comes from", "index"),
    "cell": ("which node of the Gauss rule the mass comes from; coarse ones are spread over several places", "index"),
    "sampling_stderr": ("standard error of the eigenvalue from having these samples and not others", CURVATURE),
    "companion_nodes": ("second quadrature, whose error has about the opposite sign: nodes", CURVATURE),
    "companion_weights": ("second quadrature: weights", "1"),
    "companion_probe": ("second quadrature: which random start vector each node comes from", "index"),
    # eigenpairs
    "values": ("eigenvalues", CURVATURE),
    "vectors": ("unit eigenvectors in the columns, in the order of the values", "1"),
    "converged": ("true where the residual is as small as asked for", "boolean"),
    "theta": ("trainable parameters, flattened in the order of their names", "parameter"),
    "buffers": ("state of the network that is not trained, such as batch-norm statistics", ""),
    # stability along a training; in the metric of an adaptive optimizer the unit is that of the threshold
    "sharpness": ("largest eigenvalue of the curvature in the metric of the optimizer", CURVATURE),
    "threshold": ("above it the optimizer's steps grow on a quadratic", CURVATURE),
    "gradient_share": ("share of the squared length of the gradient along the sharpest direction", "1"),
    # recorded runs: one row per checkpoint
    "names": ("trainable parameters, in the order of theta", ""),
    "steps": ("optimizer steps before each checkpoint", "step"),
    "losses": ("loss that was recorded at each checkpoint", "loss"),
    "learning_rates": ("of the optimizer's first parameter group", ""),
    "momentum": ("the optimizer's first moment or momentum buffer, in the order of theta", ""),
    "second_moment": ("the optimizer's mean of squared gradients, in the order of theta", ""),
    "has_momentum": ("true where the optimizer had a momentum", "boolean"),
    "has_second_moment": ("true where the optimizer had a second moment", "boolean"),
    "theta_sha256": ("digest of theta, frozen parameters and buffers", ""),
    "checksums": ("CRC-32 of the rows of the other arrays", ""),
    # series along a run, beside what a recorded run has: one row per checkpoint
    "scales": ("largest |λ| that was seen at each checkpoint", CURVATURE),
    "noise_floors": ("rounding error of one product at each checkpoint", CURVATURE),
    "product_counts": ("operator applications at each checkpoint", "1"),
    "warm": ("true where the eigenvectors of the checkpoint before were the start", "boolean"),
    "pieces": ("an array of the densities of all checkpoints, one after the other", ""),
    "lengths": ("how many numbers of that array belong to each checkpoint", "1"),
    "facts": ("a number of the density at each checkpoint", ""),
    # surfaces
    "x": ("grid along the first direction", "unit of the axes"),
    "y": ("grid along the second direction", "unit of the axes"),
    "loss": ("loss at the points, NaN or inf where it has no value", "loss"),
    "metrics": ("metric on the grid, rows along y", ""),
    "axes": ("names of the two directions", ""),
    "explained_variance": ("share of the variance of the runs along each direction", "1"),
    "explained_variance_null": ("the same share for random walks of the same step lengths", "1"),
    "curvature": ("second derivative of the loss along each direction, where known", "loss per unit²"),
    "anchor_names": ("points that the plane was made of", ""),
    "anchor_coordinates": ("where they lie in the plane", "unit of the axes"),
    "anchor_loss": ("loss at these points", "loss"),
    "path_names": ("recorded runs", ""),
    "path_run": ("which run a checkpoint belongs to", "index"),
    "path_step": ("optimizer steps before a checkpoint", "step"),
    "path_coordinates": ("projection of each checkpoint onto the plane", "unit of the axes"),
    "path_loss": ("loss at each checkpoint itself, with its own buffers", "loss"),
    "path_projected_loss": ("loss at its projection onto the plane", "loss"),
    "path_recorded_loss": ("loss that was recorded while training", "loss"),
    "path_distance": ("distance of each checkpoint from the plane", "parameter"),
    "path_cosine": ("cosine between the steps to a checkpoint and from it", "1"),
    "path_threshold": ("largest sharpness with which the recorded optimizer is stable, or NaN", CURVATURE),
    "axis_sources": ("where each of the two directions comes from", ""),
    "evaluated": ("true where the loss was computed, false where it was interpolated", "boolean"),
    "loss_error": ("estimated error of an interpolated loss, 0 where it was computed", "loss"),
    "model": ("loss of the quadratic model at the origin, from gradient and eigenpairs", "loss"),
    # profiles
    "s": ("position along the line", "unit of the axis"),
    "samples": ("loss of each part of the data, one row per part", "loss"),
    "sample_weights": ("what each part counts in the mean over the data", "1"),
    "anchor_s": ("where named points lie on the line", "unit of the axis"),
    # paths between minima
    "end_names": ("the minima at the two ends of a path", ""),
    "end_loss": ("loss at the ends themselves, with their own buffers", "loss"),
    "unrepaired_loss": ("loss with batch-norm statistics between those of the ends", "loss"),
    "gradient_norms": ("length of the gradient", "loss per parameter"),
    "slopes": ("derivative of the loss along the path", "loss per parameter"),
    "curvatures": ("uᵀHu for the unit tangent u of the path", CURVATURE),
    "smallest": ("the smallest eigenvalue", CURVATURE),
    "smallest_residuals": ("‖Hv − λv‖ of the smallest eigenvalue", CURVATURE),
    "tangent_overlap": ("share of the path's direction in the span of the largest eigenvectors", "1"),
    "end_overlap": ("mean squared cosine between that span and the one at either end", "1"),
    "distances": ("Euclidean distance in parameter space", "parameter"),
    "function_distances": ("root mean squared distance of the outputs", "output"),
    "coordinates": ("where the points lie in the plane of the path", "parameter"),
    "fit_loss": ("loss while the path was being found, by step", "loss"),
    "end_points": ("trainable parameters at both ends, flattened in the order of their names", "parameter"),
    "controls": ("points that bend the path, rows in the order of theta", "parameter"),
    "origin": ("centre of the sphere of a spherical path", "parameter"),
    "first_buffers": ("state of the network that is not trained, at the first end", ""),
    "second_buffers": ("state of the network that is not trained, at the second end", ""),
    # connectivity
    "point_names": ("the minima", ""),
    "point_loss": ("loss at the minima, with their own buffers", "loss"),
    "point_metrics": ("metric at the minima", ""),
    "barriers": ("largest excess of the loss over the chord between two minima", "loss"),
    "barrier_stderr": ("its standard error from having these data and not others", "loss"),
    "loss_between": ("loss on the way between two minima", "loss"),
}

# kind of result → what messages call it
NAMES = {
    "spectral_density": "an eigenvalue density",
    "eigen_pairs": "eigenpairs",
    "surface": "a surface",
    "profile": "a profile",
    "path_profile": "the profile of a path",
    "connectivity": "the connectivity of minima",
    "control_points": "a path",
    "eigen_series": "eigenpairs along a run",
    "density_series": "densities along a run",
    "stability": "the stability of a training",
    "trajectory": "a recorded run",
    "trajectory_segment": "a piece of a recorded run",
}

Groups = dict[str, dict[str, Any]]
Arrays = dict[str, np.ndarray]


def write_file(path: Path, kind: str, groups: Groups, arrays: Arrays, header: Mapping[str, Any] | None = None) -> None:
    """Write one file, whole or not at all.

    Parameters
    ----------
    path : Path
        Where; an earlier file is replaced in one step.
    kind : str
        The kind of content.
    groups : dict of dict
        Plain values by group; the group "" holds those of the root.
    arrays : dict
        Name, or "dictionary/name", → array of numbers, booleans or text.
    header : dict, optional
        Further attributes of the root, not read back.

    Raises
    ------
    InputError
        The file cannot be written there.
    ComputeError
        Writing failed half-way. An earlier file is untouched.
    """
    groups = {name: {key: plain(value) for key, value in values.items()} for name, values in groups.items()}
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biufcU":
            raise TypeError(f"the array {name} of type {array.dtype} cannot be stored: use numbers, booleans or text")
    for name, values in groups.items():
        clash = (RESERVED if name == "" else {JSON_KEYS}).intersection(values)
        if clash:
            raise ValueError(f"a value may not be called {clash.pop()!r}: the file format uses this name")
    facts = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "kind": kind, **(header or {})}

    def fill(temporary: Path) -> None:
        with new_file(temporary, {**facts, "content_sha256": _digest(kind, groups, arrays)}, groups) as file:
            for name, array in arrays.items():
                add_array(file, name, data=storable(array))

    replace_file(path, fill)


@contextlib.contextmanager
def new_file(path: Path, facts: Mapping[str, Any], groups: Groups) -> Iterator[h5py.File]:
    """Open a new file for its arrays, with its attributes already in it."""
    # libver v108: attributes above 64 KB, and metadata with checksums. track_order: dictionaries keep their order. No
    # locking: it fails on some network file systems, and the name is ours.
    with h5py.File(path, "w", libver=("v108", "v108"), locking=False, track_order=True) as file:
        for key, value in facts.items():
            file.attrs[key] = value
        for name, values in groups.items():
            _write_values(file.attrs if name == "" else file.create_group(name, track_order=True).attrs, values)
        yield file


def storable(array: np.ndarray) -> np.ndarray:
    """The array in a type that HDF5 has: text of any length, numbers as they are."""
    return array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array


def add_array(file: h5py.File, name: str, **what: Any) -> h5py.Dataset:
    """Create a dataset, explained where its name is known."""
    dictionary, slash, _ = name.partition("/")
    if slash and dictionary not in file:
        file.create_group(dictionary, track_order=True)
    dataset = file.create_dataset(name, **what)
    meaning = MEANINGS.get(name, MEANINGS.get(dictionary))
    if meaning is not None:
        dataset.attrs["description"], dataset.attrs["unit"] = meaning
    return dataset


def read_file(path: Path, kinds: set[str]) -> tuple[str, Groups, Arrays]:
    """Read a file that `write_file` wrote: its kind, groups and arrays.

    Raises
    ------
    InputError
        The file is missing, empty, not HDF5, of another program, truncated, damaged, of a newer schema, or of a kind
        that is not in `kinds`; the message says which, and what to do.
    """
    with opened(path, kinds) as (kind, file):
        groups = read_groups(file)
        arrays = {name: read_array(dataset) for name, dataset in datasets(file).items()}
        if file.attrs["content_sha256"] != _digest(kind, groups, arrays):
            raise InputError(_damaged(path))
    return kind, groups, arrays


@contextlib.contextmanager
def opened(path: Path, kinds: set[str]) -> Iterator[tuple[str, h5py.File]]:
    """Open a file of one of these kinds: its kind and itself; errors as those of `read_file`."""
    _check_signature(path)
    _check_heaps(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs.get("format") != FORMAT:
                raise InputError(f"{path} is an HDF5 file of another program; give a file that landscape wrote")
            check_schema(path, int(file.attrs["schema_version"]))
            kind = str(file.attrs["kind"])
            if kind not in kinds and kind in NAMES:
                needed = " or ".join(
                    dict.fromkeys(NAMES.get(other, other) for other in sorted(kinds - {"trajectory_segment"}))
                )
                raise InputError(f"{path} holds {NAMES[kind]} ({kind}); {needed} is needed")
            if kind not in kinds:
                raise InputError(
                    f"{path} holds a {kind!r}, not one of: {', '.join(sorted(kinds))}; if it is newer, {UPGRADE}"
                )
            yield kind, file
    except InputError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise InputError(_damaged(path)) from error  # what the HDF5 library and JSON raise for bytes without sense


def read_groups(file: h5py.File) -> Groups:
    """All plain values by group, those of the root under ""."""
    root = _read_values(file.attrs)
    groups: Groups = {"": {key: value for key, value in root.items() if key not in RESERVED}}
    return groups | {
        name: _read_values(item.attrs) for name, item in file.items() if isinstance(item, h5py.Group) and not len(item)
    }


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """All arrays by name, or "dictionary/name", not read yet."""
    found: dict[str, h5py.Dataset] = {}
    for name, item in file.items():
        if isinstance(item, h5py.Group):
            found |= {f"{name}/{key}": part for key, part in item.items()}
        else:
            found[name] = item
    return found


def read_array(dataset: h5py.Dataset, rows: slice | None = None) -> np.ndarray:
    """Read an array, or some of its rows; text as NumPy text."""
    where = ... if rows is None else rows
    return dataset.asstr()[where].astype(str) if h5py.check_string_dtype(dataset.dtype) else dataset[where]


def _damaged(path: Path) -> str:
    return f"{path} is truncated or damaged; copy it again from where it came, or make it again"


def check_schema(path: Path, version: int) -> None:
    """Raise an InputError if a file of this schema version is too new for us."""
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path} was written by a newer landscape (file schema {version}; this version reads up to "
            f"{SCHEMA_VERSION}); {UPGRADE}"
        )


def temporary_name(path: Path) -> Path:
    """Return a hidden name beside `path` that nobody else uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def replace_file(path: Path, fill: Callable[[Path], None]) -> None:
    """Write a file through `fill(temporary path)`, bring it to the disk, and only then give it its name.

    Raises
    ------
    InputError
        The folder cannot be written.
    ComputeError
        Writing failed half-way. An earlier file is untouched.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing at the file it points at
    temporary = temporary_name(path)
    try:
        fill(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _synchronize_folder(path.parent)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another output") from error
    except OSError as error:
        raise ComputeError(
            f"writing {path} failed: {error}; the earlier file, if there was one, is untouched"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _synchronize_folder(folder: Path) -> None:
    """Make a rename durable, where the system allows it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_signature(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not start:
        raise InputError(f"{path} is empty: whatever wrote it did not finish; make it again")
    if start != SIGNATURE:
        raise InputError(
            f"{path} is not an HDF5 file, so it is no result of landscape; give a file that landscape wrote"
        )


def _check_heaps(path: Path) -> None:
    """Refuse a file in whose texts the HDF5 library would get lost.

    It keeps texts in heaps, the only metadata without a checksum, and goes round and round in one with an object of
    size zero, as a flipped bit may make it. Layout: HDF5 File Format Specification 3.0, III.E. Texts are written first,
    so the beginning of the file is enough.
    """
    with path.open("rb") as file:
        start = file.read(LOOKED_AT)
    place = start.find(HEAP)
    while place >= 0:
        size = int.from_bytes(start[place + 8 : place + 16], "little")
        here, end = place + 16, min(place + size, len(start))
        while here + 16 <= end:
            index = int.from_bytes(start[here : here + 2], "little")
            length = int.from_bytes(start[here + 8 : here + 16], "little")
            step = length if index == 0 else 16 + -(-length // 8) * 8
            if step == 0:
                raise InputError(_damaged(path))
            here += step
        place = start.find(HEAP, place + 1)


def _write_values(attributes: Any, values: Mapping[str, Any]) -> None:
    """Plain values as attributes: numbers and printable text natively, everything else as JSON text."""
    json_keys = []
    for key, value in values.items():
        native = isinstance(value, bool | float) or (isinstance(value, int) and -(2**63) <= value < 2**63)
        native = native or (isinstance(value, str) and value.isprintable())
        attributes[key] = value if native else to_json(value)
        if not native:
            json_keys.append(key)
    if json_keys:
        attributes[JSON_KEYS] = to_json(json_keys)


def _read_values(attributes: Any) -> dict[str, Any]:
    json_keys = set(json.loads(attributes.get(JSON_KEYS, "[]")))
    stored = {key: value for key, value in attributes.items() if key != JSON_KEYS}
    return {key: json.loads(value) if key in json_keys else plain(value) for key, value in stored.items()}


def _digest(kind: str, groups: Groups, arrays: Arrays) -> str:
    """SHA-256 of everything a file holds, so that flipped bits are noticed."""
    digest = hashlib.sha256(to_json([kind, groups], sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        text = array.dtype.kind == "U"
        digest.update(to_json([name, "text" if text else array.dtype.str, array.shape]).encode())
        digest.update(to_json(array).encode() if text else array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
