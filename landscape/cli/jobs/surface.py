"""The job of `landscape surface`, and its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from landscape.cli.job import ObjectiveJob, file_digest
from landscape.cli.objective_source import load_objective, objective_of
from landscape.cli.running import Command, announce
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.geometry import Plane
    from landscape.objective import Objective
    from landscape.parallel import ProcessGrid
    from landscape.records import EigenPairs, Surface
    from landscape.store import RunState
    from landscape.trajectory import Trajectory

# What a kind of plane is made from.
NEEDS = {"pca": "run", "eigenvectors": "pairs", "points": "checkpoints"}
# Which kinds an option belongs to.
BELONGS = {
    "pairs": ("eigenvectors",),
    "checkpoints": ("points",),
    "components": ("pca", "eigenvectors"),
    "parameters": ("pca", "random"),
    "seed": ("random",),
}


class SurfaceJob(ObjectiveJob):
    """Everything that `landscape surface` can be told."""

    command: ClassVar[str] = "surface"

    output: Path = Path("surface.h5")
    run: tuple[Path, ...] = ()
    plane: Literal["pca", "eigenvectors", "points", "random", ""] = ""
    pairs: Path | None = None
    checkpoints: tuple[Path, Path, Path] | None = None
    components: tuple[int, int] = (1, 2)
    parameters: str | None = None
    resolution: int | str = 51
    margin: float = Field(default=0.25, ge=0)
    seed: int = Field(default=0, ge=0)

    @property
    def recorded_runs(self) -> tuple[Path, ...]:
        """Files of recorded runs, which may remember the objective."""
        points = [path for path in self.checkpoints or () if path.suffix == ".h5"]
        return (*self.run, *super().recorded_runs, *points)

    @property
    def grid(self) -> tuple[int, int]:
        """Grid points along the axes."""
        texts = str(self.resolution).lower().replace("×", "x").split("x")
        try:
            numbers = [int(text) for text in texts]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2):
            raise InputError(f"--resolution {self.resolution}: write a number, as 51, or two, as 61x41")
        return numbers[0], numbers[-1]

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        own = {name: getattr(self, name) for name, kinds in BELONGS.items() if self.plane in kinds}
        own |= {"pairs": None if self.pairs is None else file_digest(self.pairs, "--pairs")} if "pairs" in own else {}
        own |= (
            {"checkpoints": [self._point_digest(path) for path in self.checkpoints or ()]}
            if "checkpoints" in own
            else {}
        )
        return {
            **super().configuration(),
            "run": [_opened(path).digest() for path in self.run],
            "plane": self.plane,
            **own,
            "resolution": list(self.grid),
            "margin": self.margin,
        }

    def checked(self, given: set[str]) -> Self:
        """Choose the plane, find the objective, and refuse options that belong to other planes."""
        there = [plane for plane, field in NEEDS.items() if getattr(self, field)]
        plane = self.plane or (there[0] if there else "random")
        if plane in NEEDS and plane not in there:
            flag = {"run": "--run run.h5", "pairs": "--pairs eigenpairs.h5", "checkpoints": "--checkpoints A B C"}
            raise InputError(f"--plane {plane} needs {flag[NEEDS[plane]]}")
        for field, kinds in BELONGS.items():
            if field in given and plane not in kinds:
                raise InputError(f"--{field} belongs to --plane {' or '.join(kinds)}, but the plane is {plane}")
        if self.checkpoint is not None and plane != "random":
            raise InputError(f"--checkpoint is the middle of a random plane, but the plane is {plane}")
        if min(self.grid) < 2:
            raise InputError(f"--resolution must be at least 2 along each axis, not {self.resolution}")
        if len(set(self.components)) < 2 or min(self.components) < 1:
            raise InputError(f"--components must be two different numbers from 1 on, not {self.components}")
        chosen = self.model_copy(update={"plane": plane})
        if not chosen.objective and not chosen.recorded_runs and chosen.pairs is not None:
            source, arguments = _remembered_by_pairs(chosen.pairs)
            chosen = chosen.model_copy(update={"objective": source, "arguments": {**arguments, **self.arguments}})
        return super(SurfaceJob, chosen).checked(given)

    def _point_digest(self, path: Path) -> str:
        return str(_opened(path).digests[-1]) if path.suffix == ".h5" else file_digest(path, "--checkpoints")


class SurfaceCommand(Command[SurfaceJob]):
    """Evaluate the loss on a plane."""

    unit: ClassVar[str] = "points"

    objective: Objective
    plane: Plane
    runs: tuple[Trajectory, ...]

    def build(self, grid: ProcessGrid) -> None:
        """Make the objective and the plane."""
        from landscape.geometry.layout import layout_of

        job = self.job
        self.runs = tuple(_opened(path) for path in job.run)
        if job.checkpoint is not None or (job.plane == "random" and not job.run):
            self.objective = objective_of(job)
        else:  # points come from files: the zoo need not train
            self.objective = load_objective(job.objective, job.objective_arguments, trained=False)
        self.plane = self._plane().aligned(layout_of(self.objective, self.objective.n))
        width, height = job.grid
        announce(
            f"surface: {width} × {height} points of a plane ({self.plane.kind}) of {job.objective}, "
            f"{self.objective.n} parameters, {self.objective.samples} samples",
            grid,
        )

    def function(self) -> dict[str, Any]:
        """Model, data, loss and plane."""
        digest = self.objective.grid.world.broadcast_object(self.plane.digest())
        return {**self.objective.describe(), "plane_sha256": digest}

    def compute(self, state: RunState, progress: Progress) -> Surface:
        """Compute the surface."""
        from landscape.surface import loss_surface

        job = self.job
        return loss_surface(
            self.objective,
            self.plane,
            resolution=job.grid,
            margin=job.margin,
            runs=self.runs,
            state=state,
            checkpoint_seconds=job.checkpoint_seconds,
            progress=progress,
        )

    def draw(self, result: Surface, path: Path) -> None:
        """Draw the map."""
        result.plot(path, title=f"{self.job.objective.removeprefix('zoo:')}, {result.n} parameters")

    def _plane(self) -> Plane:
        from landscape.geometry import Plane

        job = self.job
        match job.plane:
            case "pca":
                return Plane.pca(self.runs, parameters=job.parameters, components=job.components)
            case "eigenvectors":
                pairs = _pairs(job.pairs or Path())
                first, second = job.components
                return Plane.eigenvectors(pairs, (first - 1, second - 1))
            case "points":
                return Plane.through(*(self._point(path) for path in job.checkpoints or ()))
            case _:
                middle = self.runs[0][-1] if self.runs and job.checkpoint is None else self.objective
                return Plane.random(middle, job.seed, parameters=job.parameters)

    def _point(self, path: Path) -> Any:
        """A checkpoint from any file (collective)."""
        if path.suffix == ".h5":
            return _opened(path)[-1]
        from landscape.checkpoint_files import read_checkpoint

        try:
            return self.objective.at(read_checkpoint(path, self.objective.names))
        except InputError as error:
            raise InputError(f"--checkpoints: {error}") from error


def _opened(path: Path) -> Trajectory:
    from landscape.trajectory import Trajectory

    return Trajectory(path)


def _pairs(path: Path) -> EigenPairs:
    """Eigenpairs from a file."""
    from landscape import records
    from landscape._load import load

    found = load(path)
    if not isinstance(found, records.EigenPairs):
        raise InputError(f"--pairs: {path} holds no eigenpairs; landscape eigenpairs computes them")
    return found


def _remembered_by_pairs(path: Path) -> tuple[str, dict[str, Any]]:
    """Source and arguments of the objective that eigenpairs were computed of."""
    asked = _pairs(path).provenance.get("asked", {})
    source, arguments = str(asked.get("objective", "")), dict(asked.get("set", {}))
    if not source.startswith("zoo:"):
        said = f" {source}" if source else ""
        raise InputError(
            f"{path} does not say by itself what it was computed of, or it is code of yours, which landscape does not "
            f"run because a file names it: say --objective{said}"
        )
    return source, arguments
