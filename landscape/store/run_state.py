"""The durable state of a half-done run: immutable segments in a folder; a kill loses at most the unfinished one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import ComputeError, InputError
from landscape.store.configuration import configuration_differences, differences_in_words, plain
from landscape.store.hdf5 import FORMAT, SCHEMA_VERSION, check_schema, read_file, replace_file, write_file

SEGMENT = "run_state_segment"
HEADER = "configuration.json"


class RunState:
    """The segments that a run has finished.

    A segment counts once it has reached the disk under its final name. Nothing is created before the first `append`,
    and nothing but the configuration is read before it is needed, so every rank may open the folder; one may append.

    Parameters
    ----------
    folder : path
        Where the segments are, or will be.
    configuration : dict
        What the run computes, as plain values. It must equal the one that the folder was made with.

    Raises
    ------
    InputError
        The folder belongs to a run of another configuration (the message lists the differences), or is not a run state.

    Examples
    --------
    >>> state = RunState("spectrum.h5.state", {"seed": 0})                          # doctest: +SKIP
    >>> state.append({"alpha": np.zeros(3)}, {"products": 3})                       # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str], configuration: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.configuration: dict[str, Any] = plain(dict(configuration))
        self._started = False
        self._parent: RunState | None = None
        self._readable: int | None = None
        self._unreadable: list[Path] = []
        before = read_configuration(self.folder)
        if before is not None and configuration_differences(before, self.configuration):
            raise InputError(
                f"{self.folder} holds a half-done run of another configuration:\n"
                f"{differences_in_words(before, self.configuration)}\n"
                "run with that configuration to finish it, choose another output, or pass --overwrite to drop it"
            )

    @classmethod
    def of(cls, state: RunState | str | os.PathLike[str] | None, configuration: Mapping[str, Any]) -> RunState | None:
        """The state that a caller asks for: an open one as it is, that in a folder, or none."""
        return state if state is None or isinstance(state, RunState) else cls(state, configuration)

    def __len__(self) -> int:
        """How many segments can be read."""
        if self._readable is None:
            self._readable = sum(1 for _ in self.segments())
            self._unreadable = _segment_paths(self.folder)[self._readable :]
        return self._readable

    def child(self, name: str) -> RunState:
        """Return the state of one part of the run, such as one of its probes, in a folder inside this one.

        Parts may be written by different processes.
        """
        part = RunState(self.folder / name, self.configuration)
        part._parent = self
        return part

    def append(self, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
        """Add one segment; when this returns, it is on the disk.

        Parameters
        ----------
        arrays : dict
            Name → array.
        attributes : dict
            Name → plain value.

        Raises
        ------
        InputError
            The folder cannot be written.
        ComputeError
            Writing failed half-way, or another process writes to the same folder.
        """
        if not self._started:
            self._start()
        path = self.folder / _segment_name(len(self))
        if path.exists():
            raise ComputeError(
                f"{path} appeared meanwhile: another process writes to {self.folder}; end one of the two"
            )
        write_file(path, SEGMENT, {"": {}, "attributes": dict(attributes)}, dict(arrays))
        self._readable = len(self) + 1

    def replace(self, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
        """Put one segment in the place of all earlier ones; when this returns, it is on the disk.

        For runs whose state does not grow. A kill in between leaves the earlier state.

        Parameters
        ----------
        arrays, attributes
            As for :meth:`append`.

        Raises
        ------
        InputError
            The folder cannot be written.
        ComputeError
            Writing failed half-way.
        """
        if not self._started:
            self._start()
        for path in reversed(_segment_paths(self.folder)[1:]):
            path.unlink()  # from the end: what is left is always a state that there was
        write_file(self.folder / _segment_name(0), SEGMENT, {"": {}, "attributes": dict(attributes)}, dict(arrays))
        self._readable = 1

    def segments(self) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
        """Iterate over (arrays, attributes) in the order of writing, up to the first segment that cannot be read."""
        for path in _segment_paths(self.folder):
            try:
                _, groups, arrays = read_file(path, {SEGMENT})
            except InputError:
                return  # what follows builds on it, so the run continues from here
            yield arrays, groups["attributes"]

    def clear(self) -> None:
        """Remove the segments, those of all parts too, and the folder if nothing else is in it."""
        for part in _parts(self.folder):
            RunState(part, self.configuration).clear()
        for path in [*self.folder.glob("segment-*.h5"), *self.folder.glob(".*.part"), self.folder / HEADER]:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        self._started, self._readable = False, 0

    def _start(self) -> None:
        """Create the folder, and drop what a killed process left unfinished in it."""
        len(self)
        self._write_header()
        for leftover in [*self.folder.glob(".segment-*.part"), *self._unreadable]:
            leftover.unlink(missing_ok=True)
        self._started = True

    def _write_header(self) -> None:
        if self._parent is not None:
            self._parent._write_header()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot create the folder {self.folder}: {error.strerror}; choose another output"
            ) from error
        if not (self.folder / HEADER).exists():
            header = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "configuration": self.configuration}
            text = json.dumps(header, indent=1)
            replace_file(self.folder / HEADER, lambda temporary: _write_text(temporary, text))


def describe_run_state(folder: Path) -> dict[str, Any]:
    """Return what `landscape.store.describe` does for a folder."""
    configuration = read_configuration(folder) if (folder / HEADER).exists() else None
    if configuration is None:
        raise InputError(f"the folder {folder} holds no half-done run of landscape; give a result file")
    number, last = 0, {}
    for _, attributes in RunState(folder, configuration).segments():
        number, last = number + 1, attributes
    facts = [path.stat() for path in [*_segment_paths(folder)[:number], folder / HEADER]]
    parts = {part.name: describe_run_state(part) for part in _parts(folder)}
    return {
        "kind": "run_state",
        "configuration": configuration,
        "segments": number + sum(part["segments"] for part in parts.values()),
        "last": last,
        "parts": parts,
        "bytes": sum(fact.st_size for fact in facts) + sum(part["bytes"] for part in parts.values()),
        "modified": max([fact.st_mtime for fact in facts] + [part["modified"] for part in parts.values()]),
    }


def remove_run_state(folder: str | os.PathLike[str]) -> None:
    """Drop the state of a half-done run, whatever its configuration; a folder of something else is an InputError."""
    folder = Path(folder)
    if folder.is_dir() and read_configuration(folder) is not None:
        shutil.rmtree(folder)


def read_configuration(folder: Path) -> dict[str, Any] | None:
    """Return the configuration of a run state; None if there is none yet.

    Raises
    ------
    InputError
        The folder is a file, or holds something else, or its header cannot be read or is too new.
    """
    path = folder / HEADER
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"{folder} is a file, but the run keeps its state in a folder of this name; move the file away"
        )
    if not path.exists():
        entries = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        strange = sorted(
            # A header that was not there a moment ago is that of another rank of this job.
            name
            for name in entries
            if name != HEADER and not name.endswith(".part") and not (folder / name / HEADER).exists()
        )
        if strange:
            raise InputError(
                f"the folder {folder} is no half-done run of landscape (it holds {strange[0]}); move it away"
            )
        return None
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        if header["format"] != FORMAT:
            raise ValueError("another program wrote it")
        check_schema(path, header["schema_version"])
        return dict(header["configuration"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove the folder {folder} to start again") from error


def _parts(folder: Path) -> list[Path]:
    """List the folders of the parts of a run."""
    return sorted(header.parent for header in folder.glob(f"*/{HEADER}"))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _segment_name(index: int) -> str:
    return f"segment-{index:06d}.h5"


def _segment_paths(folder: Path) -> list[Path]:
    """List the segments in order, up to the first gap in their numbers."""
    names = {path.name for path in folder.glob("segment-*.h5")} if folder.is_dir() else set()
    paths: list[Path] = []
    while _segment_name(len(paths)) in names:
        paths.append(folder / _segment_name(len(paths)))
    return paths
