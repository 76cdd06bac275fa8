"""What a command is asked to do: flags over a job file over defaults, validated in one place."""

from __future__ import annotations

import ast
import difflib
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from landscape.cli.objective_source import remembered_objective
from landscape.errors import InputError


class Job(BaseModel):
    """What every command that writes a result can be told; field by field what the flag of the same name says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    command: ClassVar[str]
    foreign: ClassVar[tuple[str, ...]] = (".png", ".svg", ".pdf", ".mp4", ".gif")  # not the names of results

    output: Path
    overwrite: bool = False
    figure: Path | None = None
    no_figure: bool = False
    checkpoint_seconds: float = Field(default=60.0, ge=0)

    @property
    def figure_path(self) -> Path | None:
        """Where the figure goes; None if it is not wanted."""
        if self.no_figure:
            return None
        return self.figure if self.figure is not None else self.output.with_suffix(".png")

    @property
    def state_folder(self) -> Path:
        """Where a half-done run keeps its state."""
        return self.output.with_name(self.output.name + ".state")

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on, as plain values; not where they go, nor how many ranks compute them.

        Files count by their content, so that they may move.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        return {"command": self.command}

    def checked(self, given: set[str]) -> Self:
        """Refuse options that do not go together, and fill in what follows from others.

        Parameters
        ----------
        given : set of str
            The fields that were given and are not at their default.
        """
        if not self.output.name or self.output.is_dir():
            raise InputError(f"cannot write {self.output}: it is a folder; give the name of a file in it")
        if self.output.suffix.lower() in self.foreign:
            raise InputError(f"--output {self.output}: the result is an HDF5 file; call it {self.output.stem}.h5")
        if self.figure_path == self.output:
            raise InputError(f"--output and --figure are the same file, {self.output}; call the result something.h5")
        return self


class SourceJob(Job):
    """What every command that evaluates an objective can be told."""

    objective: str = ""
    arguments: dict[str, Any] = Field(default={}, alias="set")
    samples: int | None = Field(default=None, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    device: str | None = None

    @property
    def objective_arguments(self) -> dict[str, Any]:
        """Arguments of the objective's function: those of --set, and --samples, --micro-batch, --device where given."""
        own = {name: getattr(self, name) for name in ("samples", "micro_batch", "device")}
        return {**self.arguments, **{name: value for name, value in own.items() if value is not None}}

    @property
    def recorded_runs(self) -> tuple[Path, ...]:
        """Files of recorded runs, which may remember the objective."""
        return ()

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on: the objective."""
        place, _, function = self.objective.rpartition(":")
        source = Path(place) if place.endswith(".py") else None
        return {
            **super().configuration(),
            "objective": f"{source.name}:{function}" if source else self.objective,
            "objective_sha256": file_digest(source, "--objective") if source else None,
            "set": self.objective_arguments,
        }

    def checked(self, given: set[str]) -> Self:
        """Find the objective that a recorded run remembers, if none is given."""
        super().checked(given)
        if self.objective:
            return self
        found = next((remembered_objective(path) for path in self.recorded_runs), None)
        if found is None:
            raise InputError(
                "no objective is given: say --objective zoo:digits-cnn, --objective FILE.py:function or "
                "--objective module:function"
            )
        source, arguments = found
        return self.model_copy(update={"objective": source, "arguments": {**arguments, **self.arguments}})


class ObjectiveJob(SourceJob):
    """What every command that looks at one point of an objective can be told."""

    checkpoint: Path | None = None
    at: int | None = None

    @property
    def recorded_runs(self) -> tuple[Path, ...]:
        """Files of recorded runs, which may remember the objective."""
        return (self.checkpoint,) if self.checkpoint is not None and self.checkpoint.suffix == ".h5" else ()

    @property
    def step(self) -> int | None:
        """Step of the recorded checkpoint that the job names; None if it names none."""
        if self.checkpoint is None or self.checkpoint not in self.recorded_runs:
            return None
        from landscape.trajectory import Trajectory

        return int(Trajectory(self.checkpoint).steps[-1 if self.at is None else self.at])

    @property
    def run_name(self) -> str | None:
        """Name of the recorded run of that checkpoint."""
        if self.step is None or self.checkpoint is None:
            return None
        from landscape.trajectory import Trajectory

        return Trajectory(self.checkpoint).name

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on: the objective and the point."""
        return {**super().configuration(), **self.point()}

    def point(self) -> dict[str, Any]:
        """Which parameters, by content: those of a checkpoint, if one is given."""
        if self.checkpoint is None:
            return {"checkpoint_sha256": None}
        if self.checkpoint in self.recorded_runs:
            from landscape.trajectory import Trajectory

            run = Trajectory(self.checkpoint)
            index = -1 if self.at is None else self.at
            if not -len(run) <= index < len(run):
                raise InputError(
                    f"--at {index}: {self.checkpoint} has {len(run)} checkpoints, 0 to {len(run) - 1} (or -1, the last)"
                )
            return {"checkpoint_sha256": str(run.digests[index])}
        return {"checkpoint_sha256": file_digest(self.checkpoint, "--checkpoint")}

    def checked(self, given: set[str]) -> Self:
        """Refuse --at without a run."""
        if self.at is not None and self.checkpoint not in self.recorded_runs:
            raise InputError("--at says which checkpoint of a recorded run: give the run with --checkpoint run.h5")
        return super().checked(given)


AnyJob = TypeVar("AnyJob", bound=Job)


def read_job(kind: type[AnyJob], path: Path | None, flags: Mapping[str, Any]) -> AnyJob:
    """Combine a job file and the flags; flags win.

    Parameters
    ----------
    kind : class
        The job of the command.
    path : Path, optional
        A TOML file whose keys are the flags without dashes in front, and tables such as ``[set]``.
    flags : dict
        Field name → value, None where the flag was not given.

    Raises
    ------
    InputError
        The file cannot be read, a key is unknown, a value makes no sense, or options contradict each other.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    filed = _read_toml(kind, path) if path is not None else {}
    # A table of the file and a repeated flag complete each other.
    tables = {
        name: {**filed[name], **value}
        for name, value in given.items()
        if isinstance(value, dict) and isinstance(filed.get(name), dict)
    }
    values = {**filed, **given, **tables}
    try:
        job = kind(**values)
    except ValidationError as error:
        parts = [_explain(problem, None if path is None else set(filed) - set(given)) for problem in error.errors()]
        raise InputError("; ".join(f"{path}: {text}" if in_file else text for in_file, text in parts)) from error
    return job.checked(set(values))


def parse_settings(texts: Sequence[str], flag: str = "--set", what: str = "the objective's function") -> dict[str, Any]:
    """Turn ``name=value`` texts into a dictionary; values are Python literals, or text if they are none.

    Parameters
    ----------
    texts : sequence of str
    flag, what : str
        For messages: the flag that they come from, and whose arguments the names are.

    Examples
    --------
    >>> parse_settings(["epochs=3", "sizes=(64, 10)", "activation=relu"])
    {'epochs': 3, 'sizes': (64, 10), 'activation': 'relu'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise InputError(f"{flag} {text}: write {flag} name=value, where name is an argument of {what}")
        if name in found:
            raise InputError(f"{flag} {name} is given twice")
        try:
            found[name] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            found[name] = value.strip()
    return found


def file_digest(path: Path, flag: str) -> str:
    """SHA-256 (hexadecimal) of a file.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InputError(f"{flag}: there is no file {path} (looked in {Path.cwd()})") from error
    except OSError as error:
        raise InputError(f"{flag}: cannot read {path}: {error.strerror}") from error


def _read_toml(kind: type[Job], path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"--job: there is no file {path}") from error
    except OSError as error:
        raise InputError(f"--job: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--job: {path} is not a TOML file: {error}") from error
    values = {key.replace("-", "_"): value for key, value in values.items()}
    known = {field.alias or name for name, field in kind.model_fields.items()}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {_dashed(near[0])}?" if near else ""
            raise InputError(f"{path}: unknown key {key!r}{hint} (known: {', '.join(sorted(map(_dashed, known)))})")
    return values


def _explain(problem: Any, filed: set[str] | None) -> tuple[bool, str]:
    """Whether a value came from the job file, and what is wrong with it."""
    name = str(problem["loc"][0])
    in_file = filed is not None and name in filed
    what = problem["msg"][0].lower() + problem["msg"][1:]
    return (
        in_file,
        f"{'' if in_file else '--'}{_dashed(name)} is {problem['input']!r}, but {what.replace('input ', 'it ')}",
    )


def _dashed(name: str) -> str:
    return name.replace("_", "-")
