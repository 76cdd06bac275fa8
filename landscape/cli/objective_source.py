"""From `--objective` to an Objective: the zoo, a file of the user, or a module of theirs."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.job import ObjectiveJob
    from landscape.objective import Objective


def objective_of(job: ObjectiveJob) -> Objective:
    """The objective of a job, at the point that the job names (collective).

    Raises
    ------
    InputError
        As `load_objective`; or the checkpoint cannot be read or belongs to another model.
    """
    from landscape._network import checked_device
    from landscape.checkpoint_files import read_checkpoint

    if job.device is not None:
        checked_device(job.device)
    objective = load_objective(job.objective, job.objective_arguments, trained=job.checkpoint is None)
    if job.checkpoint is None:
        return objective
    if job.checkpoint in job.recorded_runs:
        from landscape.trajectory import Trajectory

        return objective.at(Trajectory(job.checkpoint)[-1 if job.at is None else job.at])
    try:
        state = read_checkpoint(job.checkpoint, objective.names)
    except InputError as error:
        raise InputError(f"--checkpoint: {error}") from error
    return objective.at(state)


def remembered_objective(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Source and arguments of the objective that a recorded run was made with; None if it does not say.

    Raises
    ------
    InputError
        The run was made with the user's code, which is never imported because a file names it; or is no recorded run.
    """
    from landscape.trajectory import Trajectory

    provenance = Trajectory(path).provenance
    source, arguments = provenance.get("objective"), provenance.get("set", {})
    if source is None:
        return None
    if not str(source).startswith("zoo:"):
        settings = "".join(f" --set {name}={value!r}" for name, value in arguments.items())
        raise InputError(
            f"{path} was made with code of yours, which landscape does not run because a file names it: say "
            f"--objective {source}{settings}"
        )
    return str(source), dict(arguments)


def load_objective(source: str, arguments: Mapping[str, Any], trained: bool = True) -> Objective:
    """Build the objective that a source names (collective).

    Parameters
    ----------
    source : str
        ``zoo:NAME``, ``FILE.py:function`` or ``module:function``; the working folder is importable.
    arguments : dict
        Keyword arguments of the function.
    trained : bool
        False if a checkpoint will replace the parameters: the zoo then skips training, unless ``epochs`` is given.

    Returns
    -------
    Objective

    Raises
    ------
    InputError
        There is no such file, module or function, it takes other arguments, or returns something else.
    """
    place, colon, name = source.rpartition(":")
    if not colon or not place or not name:
        raise InputError(
            f"--objective {source}: write zoo:NAME, FILE.py:function or module:function, for instance zoo:digits-cnn"
        )
    if place == "zoo":
        from landscape import zoo

        return zoo.build(name, **{**({} if trained else {"epochs": 0}), **arguments})
    _make_importable(Path.cwd())
    module = _load_file(Path(place)) if place.endswith(".py") else _import_module(place)
    function = _find_function(module, place, name)
    _check_arguments(function, source, arguments)
    objective = _called(function, source, arguments)
    from landscape.objective import Objective

    if not isinstance(objective, Objective):
        raise InputError(f"{source} returned a {type(objective).__name__}; it must return a landscape.Objective")
    return objective


def _called(function: Callable[..., Any], source: str, arguments: Mapping[str, Any]) -> Any:
    """What the user's function returns; its own failure is one message, with the last line of theirs."""
    try:
        return function(**arguments)
    except (TypeError, ValueError) as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        foreign = (str(Path(__file__).parents[1]), "site-packages", str(Path(inspect.__file__).parent))
        own = [frame for frame in frames if not any(part in frame.filename for part in foreign)] or list(frames)
        where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        reason = str(error).partition("\n")[0]
        raise InputError(f"{source}({given}) failed: {type(error).__name__}: {reason}{where}") from error


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _load_file(path: Path) -> ModuleType:
    """Run a Python file as a module of its own name, unless another module has this name."""
    path = path.absolute()
    if not path.is_file():
        raise InputError(f"--objective: there is no file {path}")
    _make_importable(path.parent)
    name = path.stem
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        name = f"objective_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise InputError(f"--objective: {path} cannot be read as a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # before running it: dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise InputError(
                f"--objective: there is no module {error.name} (looked in {Path.cwd()} and the installed packages); "
                "for a file write FILE.py:function"
            ) from error
        raise  # the user's module imports something that is missing: the traceback says where


def _find_function(module: ModuleType, place: str, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if callable(function):
        return function
    own = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, own, 1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(own) or 'no functions'}"
    raise InputError(f"--objective: {place} has no function {name}; {hint}")


def _check_arguments(function: Callable[..., Any], source: str, arguments: Mapping[str, Any]) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        flags = {"samples": "--samples", "micro_batch": "--micro-batch", "device": "--device"}
        used = [flags[name] for name in flags if name in arguments and name not in signature.parameters]
        advice = f"; to use {', '.join(used)}, let it take that argument and pass it to Objective" if used else ""
        raise InputError(f"{source} takes {signature}, but with --set: {error}{advice}") from error
