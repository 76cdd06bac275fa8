"""The job of `landscape connectivity`, and its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from landscape.cli.jobs.path import PathJob
from landscape.cli.running import Command, announce
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.objective import Objective
    from landscape.parallel import ProcessGrid
    from landscape.records import Connectivity
    from landscape.store import RunState


class ConnectivityJob(PathJob):
    """Everything that `landscape connectivity` can be told."""

    command: ClassVar[str] = "connectivity"

    output: Path = Path("connectivity.h5")
    number: int = Field(default=11, ge=3, alias="points")

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {**super().configuration(), "points": self.number, "names": list(self.names)}

    def checked(self, given: set[str]) -> Self:
        """Refuse a single minimum, and paths that are not there."""
        if len(self.minima) < 2:
            raise InputError("connectivity needs at least two minima: landscape connectivity a.h5 b.h5 c.h5")
        if self.path not in ("linear", "bezier"):
            raise InputError(f"--path {self.path}: ways between many minima are linear or bezier")
        return super().checked(given)


class ConnectivityCommand(Command[ConnectivityJob]):
    """Evaluate the ways between all pairs."""

    unit: ClassVar[str] = "ways"

    objective: Objective
    points: dict[str, Any]

    def build(self, grid: ProcessGrid) -> None:
        """Make the objective, and read all minima."""
        job = self.job
        self.objective = job.load()
        found = [point.point(self.objective) for point in job.places]
        self.points = dict(zip(job.names, found, strict=True))
        ways = len(found) * (len(found) - 1) // 2
        announce(
            f"connectivity: {ways} {job.path} ways of {job.number} points between {len(found)} minima, "
            f"{job.objective}, {self.objective.n} parameters, {self.objective.samples} samples",
            grid,
        )

    def function(self) -> dict[str, Any]:
        """Model, data and loss."""
        return self.objective.describe()

    def compute(self, state: RunState, progress: Progress) -> Connectivity:
        """Compute all barriers."""
        from landscape.barriers import connectivity

        job = self.job
        return connectivity(
            self.objective,
            self.points,
            path=job.path,
            align=job.alignment,
            restarts=job.restarts,
            epochs=job.epochs,
            points=job.number,
            batchnorm=job.batchnorm,
            subsamples=job.subsamples,
            seed=job.seed,
            state=state,
            progress=progress,
        )

    def draw(self, result: Connectivity, path: Path) -> None:
        """Draw the matrix."""
        result.plot(path, title=f"{self.job.objective.removeprefix('zoo:')}, {result.n} parameters")
