"""What happens around every computation: what is there already, resuming, writing, saying what came out."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import signal
import sys
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar

from landscape import __version__
from landscape.cli.job import Job
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.parallel import ProcessGrid
    from landscape.store import RunState

LIBRARIES = ("torch", "numpy", "scipy", "h5py")
NOT_CONVERGED = 3

AnyJob = TypeVar("AnyJob", bound=Job)


class Command(ABC, Generic[AnyJob]):
    """One command at work; a subclass says what is computed, this class does everything around it.

    Parameters
    ----------
    job : Job
    """

    unit: ClassVar[str] = "products"  # what the progress counts

    def __init__(self, job: AnyJob) -> None:
        self.job = job

    @abstractmethod
    def build(self, grid: ProcessGrid) -> None:
        """Make what the computation needs (collective)."""

    @abstractmethod
    def function(self) -> dict[str, Any]:
        """What was built, for comparing it with that of an earlier result (collective)."""

    @abstractmethod
    def compute(self, state: RunState, progress: Progress) -> Any:
        """Compute the result, a record (collective)."""

    def words(self, result: Any) -> list[str]:
        """Lines that say what came out."""
        from landscape.cli.summaries import in_words

        return in_words(result)

    def draw(self, result: Any, path: Path) -> None:
        """Draw the figure."""
        result.plot(path)

    def shortfall(self, result: Any) -> str | None:
        """What the result lacks of what was asked for; None if nothing."""
        return None

    @property
    def known_without_building(self) -> bool:
        """Whether the configuration alone says what is computed: no code of the user is involved."""
        return str(getattr(self.job, "objective", "zoo:")).startswith("zoo:")

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """That of the job, read once: its files may change meanwhile."""
        return self.job.configuration()

    def identity(self, function: dict[str, Any]) -> dict[str, Any]:
        """What a half-done run must agree with to be continued."""
        return {**function, **self.configuration}

    def check_outputs(self) -> None:
        """Make sure that everything can be written."""
        from landscape.render.formats import check_suffix
        from landscape.store import check_writable

        if self.job.figure_path is not None:
            check_suffix(self.job.figure_path)
        for path in (self.job.output, self.job.figure_path):
            if path is not None:
                check_writable(path)

    def load(self) -> tuple[Any, dict[str, Any] | None]:
        """The earlier result at the output, and what was asked of the command that wrote it."""
        from landscape.store import load

        found = load(self.job.output)
        return found, found.provenance.get("asked")

    def save(self, result: Any) -> None:
        """Write the result."""
        from landscape import store

        store.save(result, self.job.output)

    def say(self, result: Any) -> None:
        """Print what came out and where it is."""
        print("\n".join(self.words(result)))
        output = self.job.output
        print(f"result  {output}    to look at it: landscape info {shlex.quote(str(output))}")
        if self.job.figure_path is not None:
            print(f"figure  {self.job.figure_path}")
        sys.stdout.flush()
        lacking = self.shortfall(result)
        if lacking is not None:
            print(f"landscape: the result is written, but {lacking}", file=sys.stderr, flush=True)

    def exit_code(self, result: Any) -> int:
        """0, or 3 if something was not reached."""
        return 0 if self.shortfall(result) is None else NOT_CONVERGED


def run(command: Command[Any]) -> int:
    """Do what a command is asked for (collective); return the exit code."""
    earlier = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(command)
    finally:
        signal.signal(signal.SIGTERM, earlier)


def announce(text: str, grid: ProcessGrid) -> None:
    """Say once, at the start, what will be computed and by how many ranks."""
    if grid.rank == 0:
        ranks, threads = grid.size, grid.threads
        workers = f"{ranks} rank{'s' if ranks > 1 else ''} of {threads} thread{'s' if threads > 1 else ''}"
        print(f"landscape {text}, {workers}", file=sys.stderr, flush=True)


def circumstances(command: Command[Any]) -> dict[str, Any]:
    """What the library cannot know: what was asked for, when, with which versions."""
    versions = {"landscape": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in LIBRARIES}
    places = {"run": getattr(command.job, "run_name", None), "step": getattr(command.job, "step", None)}
    return {
        **{name: place for name, place in places.items() if place is not None},  # where a video shows the result
        "asked": command.configuration,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command_line": shlex.join(["landscape", *sys.argv[1:]]),
        "versions": versions,
        "platform": platform.platform(),
    }


def _run(command: Command[Any]) -> int:
    from landscape.cli.agreement import agree
    from landscape.parallel import ProcessGrid, under_launcher

    grid = ProcessGrid.world() if under_launcher() else None  # alone, torch need not be loaded for a complete result
    found = agree(grid, lambda: _before(command))
    if found is not None and command.known_without_building:
        return _already_complete(command, found, grid)

    grid = grid or ProcessGrid.world()
    from landscape.cli.progress import Progress
    from landscape.store import RunState

    with Progress(command.job.command, grid.size, enabled=grid.rank == 0, unit=command.unit) as progress:
        command.build(grid)
        function = command.function()
        if found is not None:
            agree(grid, lambda: _check_same_function(command, found, function))
            return _already_complete(command, found, grid)
        identity = command.identity(function)
        agree(grid, lambda: _drop_another_state(command, identity))
        state = RunState(command.job.state_folder, identity)
        result = command.compute(state, progress)
    agree(grid, lambda: _finish(command, result, state))
    return command.exit_code(result)


def _before(command: Command[Any]) -> Any:
    """Everything that can be said before the work; the result of the same request if it is there already."""
    from landscape.store.configuration import configuration_differences, differences_in_words

    job, asked = command.job, command.configuration
    command.check_outputs()
    if not job.output.exists():
        return None
    try:
        found, before = command.load()
    except InputError as error:
        if job.overwrite:
            return None
        raise InputError(f"{error}; or pass --overwrite to replace it, or choose another --output") from error
    if before is None and not job.overwrite:
        raise InputError(
            f"{job.output} was not written by this command but from Python; choose another --output, or pass "
            "--overwrite to replace it"
        )
    if before is None or configuration_differences(before, asked):
        if job.overwrite:
            return None
        differences = differences_in_words(before or {}, asked)
        raise InputError(
            f"{job.output} holds the result of another configuration:\n{differences}\n"
            "choose another --output, or pass --overwrite to replace it"
        )
    return found


def _check_same_function(command: Command[Any], found: Any, function: dict[str, Any]) -> None:
    """Compare model, data and loss with those of the result: the user's code may read other data than before."""
    from landscape.store.configuration import configuration_differences, differences_in_words

    before = {name: found.provenance["configuration"].get(name) for name in function}
    if configuration_differences(before, function):
        raise InputError(
            f"{command.job.output} holds the result of the same command for another function:\n"
            f"{differences_in_words(before, function)}\nchoose another --output, or pass --overwrite to replace it"
        )


def _already_complete(command: Command[Any], result: Any, grid: ProcessGrid | None) -> int:
    """Say what the result holds, by one rank."""
    from landscape.store import remove_run_state

    job = command.job
    if grid is None or grid.rank == 0:
        remove_run_state(job.state_folder)  # a kill between writing the result and clearing its state
        print(f"already complete: {job.output} holds this very configuration")
        if job.figure_path is not None and not job.figure_path.exists():
            command.draw(result, job.figure_path)
        command.say(result)
    return command.exit_code(result)


def _drop_another_state(command: Command[Any], identity: dict[str, Any]) -> None:
    """With --overwrite, a half-done run of another configuration goes; without, opening it says what differs."""
    from landscape.store import RunState, remove_run_state

    if command.job.overwrite:
        try:
            RunState(command.job.state_folder, identity)
        except InputError:
            remove_run_state(command.job.state_folder)


def _finish(command: Command[Any], result: Any, state: RunState) -> None:
    """Result, figure and words, by one rank."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        provenance = {**getattr(result, "provenance", {}), **circumstances(command)}
        result = dataclasses.replace(result, provenance=provenance)
    command.save(result)
    state.clear()
    if command.job.figure_path is not None:
        command.draw(result, command.job.figure_path)
    command.say(result)


def _terminate(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)
