"""What a spectrum run is asked to do: flags over a job file over defaults, validated in one place."""

from __future__ import annotations

import ast
import difflib
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from landscape.errors import InputError


class SpectrumJob(BaseModel):
    """Everything that `landscape spectrum` can be told; field by field what the flag of the same name says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    objective: str
    arguments: dict[str, Any] = Field(default={}, alias="set")
    checkpoint: Path | None = None
    output: Path = Path("spectrum.h5")
    overwrite: bool = False
    operator: Literal["hessian", "gauss-newton", "fisher"] = "hessian"
    method: Literal["deflated", "classical"] = "deflated"
    tol: float = Field(default=0.05, gt=0)
    max_products: int | None = Field(default=None, ge=1)
    probes: int = Field(default=10, ge=1)  # with `steps`, the usual choice for the classical method
    steps: int = Field(default=80, ge=1)
    seed: int = Field(default=0, ge=0)
    samples: int | None = Field(default=None, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    device: str | None = None
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

    @property
    def objective_arguments(self) -> dict[str, Any]:
        """Arguments of the objective's function: those of --set, and --samples, --micro-batch, --device where given."""
        own = {name: getattr(self, name) for name in ("samples", "micro_batch", "device")}
        return {**self.arguments, **{name: value for name, value in own.items() if value is not None}}

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on, as plain values; not where they go, nor how many ranks compute them.

        Files count by their content, so that they may move.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        place, _, function = self.objective.rpartition(":")
        source = Path(place) if place.endswith(".py") else None
        methods: dict[str, Any] = {
            "deflated": {"max_products": self.max_products},
            "classical": {"probes": self.probes, "steps": self.steps},
        }
        return {
            "command": "spectrum",
            "objective": f"{source.name}:{function}" if source else self.objective,
            "objective_sha256": file_digest(source, "--objective") if source else None,
            "set": self.objective_arguments,
            "checkpoint_sha256": file_digest(self.checkpoint, "--checkpoint") if self.checkpoint else None,
            "operator": self.operator,
            "method": self.method,
            **methods[self.method],
            "tol": self.tol,
            "seed": self.seed,
        }


def read_job(path: Path | None, flags: Mapping[str, Any]) -> SpectrumJob:
    """Combine a job file and the flags; flags win.

    Parameters
    ----------
    path : Path, optional
        A TOML file whose keys are the flags without dashes in front, and a table ``[set]``.
    flags : dict
        Field name → value, None where the flag was not given.

    Raises
    ------
    InputError
        The file cannot be read, a key is unknown, a value makes no sense, or no objective is given.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    filed = _read_toml(path) if path is not None else {}
    arguments = (
        {**filed.pop("set", {}), **given.pop("set", {})} if isinstance(filed.get("set", {}), dict) else filed["set"]
    )
    values = {**filed, **given, "set": arguments}
    if "objective" not in values:
        raise InputError(
            "no objective is given: say --objective zoo:digits-cnn, --objective FILE.py:function or "
            "--objective module:function"
        )
    try:
        job = SpectrumJob(**values)
    except ValidationError as error:
        parts = [_explain(problem, None if path is None else set(filed) - set(given)) for problem in error.errors()]
        raise InputError("; ".join(f"{path}: {text}" if in_file else text for in_file, text in parts)) from error
    for field, method in (("probes", "classical"), ("steps", "classical"), ("max_products", "deflated")):
        if field in values and job.method != method:
            raise InputError(f"--{_dashed(field)} belongs to --method {method}, but the method is {job.method}")
    if not job.output.name or job.output.is_dir():
        raise InputError(f"cannot write {job.output}: it is a folder; give the name of a file in it")
    if job.figure_path == job.output:
        raise InputError(f"--output and --figure are the same file, {job.output}; call the result something.h5")
    return job


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Turn ``name=value`` texts into a dictionary; values are Python literals, or text if they are none.

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
            raise InputError(
                f"--set {text}: write --set name=value, where name is an argument of the objective's function"
            )
        if name in found:
            raise InputError(f"--set {name} is given twice")
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


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"--job: there is no file {path}") from error
    except OSError as error:
        raise InputError(f"--job: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--job: {path} is not a TOML file: {error}") from error
    values = {key.replace("-", "_"): value for key, value in values.items()}
    known = {field.alias or name for name, field in SpectrumJob.model_fields.items()}
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
