"""The plane that a command looks at, and the objective on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from landscape.cli.job import ObjectiveJob, file_digest, read_job
from landscape.cli.jobs.tested import TestedJob, given_flags
from landscape.cli.objective_source import load_objective, objective_of
from landscape.cli.running import Command, announce
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.geometry import Plane
    from landscape.objective import Objective
    from landscape.parallel import ProcessGrid
    from landscape.records import EigenPairs
    from landscape.trajectory import Trajectory

# What a kind of plane is made from.
NEEDS = {"pca": "run", "eigenvectors": "pairs", "gradient": "pairs", "points": "checkpoints", "path": "path"}
# Which kinds an option belongs to.
BELONGS = {
    "pairs": ("eigenvectors", "gradient"),
    "checkpoints": ("points",),
    "path": ("path",),
    "components": ("pca", "eigenvectors"),
    "parameters": ("pca", "random"),
    "normalize": ("random",),
    "seed": ("random",),
}


class PlaneJob(TestedJob, ObjectiveJob):
    """What every command that looks at a plane can be told."""

    run: tuple[Path, ...] = ()
    plane: Literal["pca", "eigenvectors", "gradient", "points", "path", "random", ""] = ""
    pairs: Path | None = None
    checkpoints: tuple[Path, Path, Path] | None = None
    path: Path | None = None
    components: tuple[int, int] = (1, 2)
    parameters: str | None = None
    normalize: Literal["filter", "layer", "none"] = "filter"
    seed: int = Field(default=0, ge=0)
    quantity: tuple[str, ...] = ()
    batchnorm: Literal["eval", "recompute", "batch"] = "eval"

    @property
    def recorded_runs(self) -> tuple[Path, ...]:
        """Files of recorded runs, which may remember the objective."""
        points = [path for path in self.checkpoints or () if path.suffix == ".h5"]
        return (*self.run, *super().recorded_runs, *points)

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        kept = {name: kinds for name, kinds in BELONGS.items() if name != "normalize"}
        own = {name: getattr(self, name) for name, kinds in kept.items() if self.plane in kinds}
        own |= {name: _digest(getattr(self, name), f"--{name}") for name in ("pairs", "path") if name in own}
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
            **self.beside(),
        }

    def beside(self) -> dict[str, Any]:
        """What else the numbers depend on, where it is not as usual."""
        asked: dict[str, Any] = {"quantity": list(self.quantity), "batchnorm": self.batchnorm}
        asked |= {"normalize": self.normalize}
        asked |= self.test_configuration()
        usual = {"quantity": [], "batchnorm": "eval", "normalize": "filter"}
        return {name: value for name, value in asked.items() if value != usual.get(name)}

    def checked(self, given: set[str]) -> Self:
        """Choose the plane, find the objective, and refuse options that belong to other planes."""
        there = [plane for plane, field in NEEDS.items() if getattr(self, field)]
        plane = self.plane or (there[0] if there else "random")
        if plane in NEEDS and plane not in there:
            flag = {
                "run": "--run run.h5",
                "pairs": "--pairs eigenpairs.h5",
                "checkpoints": "--checkpoints A B C",
                "path": "--path path.h5, which landscape interpolate --save-path writes",
            }
            raise InputError(f"--plane {plane} needs {flag[NEEDS[plane]]}")
        for field, kinds in BELONGS.items():
            if field in given and plane not in kinds:
                raise InputError(f"--{field} belongs to --plane {' or '.join(kinds)}, but the plane is {plane}")
        if self.checkpoint is not None and plane != "random":
            raise InputError(f"--checkpoint is the middle of a random plane, but the plane is {plane}")
        lowest = min(self.components) if plane != "eigenvectors" else min(map(abs, self.components))
        if len(set(self.components)) < 2 or lowest < 1:
            last = ", or from -1 (the last)" if plane == "eigenvectors" else ""
            raise InputError(f"--components must be two different numbers from 1 on{last}, not {self.components}")
        self.check_quantities()
        chosen = self.model_copy(update={"plane": plane})
        if not chosen.objective and not chosen.recorded_runs and chosen.pairs is not None:
            source, arguments = _remembered_by_pairs(chosen.pairs)
            chosen = chosen.model_copy(update={"objective": source, "arguments": {**arguments, **self.arguments}})
        return super(PlaneJob, chosen).checked(given)

    def check_quantities(self) -> None:
        """Refuse quantities that are not known before anything is loaded."""
        from landscape._quantities import QUANTITIES

        unknown = [name for name in self.quantity if name not in QUANTITIES]
        if unknown:
            raise InputError(f"--quantity {unknown[0]} is unknown; there are {', '.join(QUANTITIES)}")

    def _point_digest(self, path: Path) -> str:
        return str(_opened(path).digests[-1]) if path.suffix == ".h5" else file_digest(path, "--checkpoints")


AnyPlaneJob = TypeVar("AnyPlaneJob", bound=PlaneJob)


class PlaneCommand(Command[AnyPlaneJob]):
    """Evaluate the loss in a plane."""

    unit: ClassVar[str] = "points"

    objective: Objective
    plane: Plane
    runs: tuple[Trajectory, ...]
    test: Objective | None

    def build(self, grid: ProcessGrid) -> None:
        """Make the objectives and the plane."""
        from landscape.geometry.layout import layout_of

        job = self.job
        self.runs = tuple(_opened(path) for path in job.run)
        if job.checkpoint is not None or (job.plane == "random" and not job.run):
            self.objective = objective_of(job)
        else:  # points come from files: the zoo need not train
            self.objective = load_objective(job.objective, job.objective_arguments, trained=False)
        self.plane = self._plane().aligned(layout_of(self.objective, self.objective.n))
        self.test = job.load_test()
        announce(
            f"{job.command}: {self.size()} of a plane ({self.plane.kind}) of {job.objective}, {self.objective.n} "
            f"parameters, {self.objective.samples} samples",
            grid,
        )

    def size(self) -> str:
        """What is computed, in a few words."""
        raise NotImplementedError

    def function(self) -> dict[str, Any]:
        """Model, data, loss and plane."""
        digest = self.objective.grid.world.broadcast_object(self.plane.digest())
        return {**self.objective.describe(), "plane_sha256": digest}

    def _plane(self) -> Plane:
        from landscape.geometry import Plane

        job = self.job
        match job.plane:
            case "pca":
                return Plane.pca(self.runs, parameters=job.parameters, components=job.components)
            case "eigenvectors":
                pairs = _pairs(job.pairs or Path())
                first, second = (number - 1 if number > 0 else number for number in job.components)
                return Plane.eigenvectors(pairs, (first, second))
            case "gradient":
                return Plane.gradient(self.objective, _pairs(job.pairs or Path()))
            case "path":
                return _path(job.path or Path()).plane()
            case "points":
                return Plane.through(*(self._point(path) for path in job.checkpoints or ()))
            case _:
                middle = self.runs[0][-1] if self.runs and job.checkpoint is None else self.objective
                normalize = None if job.normalize == "none" else job.normalize
                return Plane.random(middle, job.seed, normalize, job.parameters)

    def _point(self, path: Path) -> Any:
        """A checkpoint from any file (collective)."""
        if path.suffix == ".h5":
            return _opened(path)[-1]
        from landscape.checkpoint_files import read_checkpoint

        try:
            return self.objective.at(read_checkpoint(path, self.objective.names))
        except InputError as error:
            raise InputError(f"--checkpoints: {error}") from error


def read_plane_job(kind: type[AnyPlaneJob], flags: Mapping[str, Any]) -> AnyPlaneJob:
    """Combine a job file and the flags of a command."""
    return read_job(kind, flags["job"], given_flags(flags))


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


def _path(path: Path) -> Any:
    """A path between two minima from a file."""
    from landscape import geometry, records
    from landscape._load import load

    found = load(path)
    if not isinstance(found, records.ControlPoints):
        raise InputError(f"--path: {path} holds no path; landscape interpolate --save-path keeps one")
    return geometry.Path.of(found)


def _digest(path: Path | None, flag: str) -> str | None:
    return None if path is None else file_digest(path, flag)


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
