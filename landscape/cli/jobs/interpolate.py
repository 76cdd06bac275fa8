"""The job of `landscape interpolate`, and its work."""

from __future__ import annotations

import dataclasses
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from landscape.cli.jobs.path import FITTED, PathJob
from landscape.cli.jobs.tested import TestedJob
from landscape.cli.running import Command, announce
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.geometry.path import Path
    from landscape.objective import Objective
    from landscape.parallel import ProcessGrid
    from landscape.records import PathProfile
    from landscape.store import RunState


class InterpolateJob(TestedJob, PathJob):
    """Everything that `landscape interpolate` can be told."""

    command: ClassVar[str] = "interpolate"

    output: File = File("interpolate.h5")
    number: int = Field(default=25, ge=2, alias="points")
    margin: float = Field(default=0.0, ge=0)
    spectra: bool = False
    pairs: int | None = Field(default=None, ge=0)
    tol: float = Field(default=0.05, gt=0)
    save_path: File | None = None
    beside: tuple[File, ...] = ()

    @property
    def eigenpairs(self) -> int:
        """How many of the largest eigenvalues."""
        return (5 if self.spectra else 0) if self.pairs is None else self.pairs

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        own = {"points": self.number, "margin": self.margin, "spectra": self.spectra, "pairs": self.eigenpairs}
        own |= {"tol": self.tol} if self.spectra else {}
        return {**super().configuration(), **own, **self.test_configuration()}

    def checked(self, given: set[str]) -> Self:
        """Refuse options that do not go together."""
        if "tol" in given and not self.spectra:
            raise InputError("--tol is the error of densities, which --spectra asks for")
        if self.path == "linear" and self.save_path is not None:
            raise InputError("--save-path keeps the points of a path that was found, but a straight one has none")
        return super().checked(given)


class InterpolateCommand(Command[InterpolateJob]):
    """Evaluate a path between two minima."""

    unit: ClassVar[str] = "points"

    objective: Objective
    test: Objective | None
    ends: tuple[Any, Any]

    def build(self, grid: ProcessGrid) -> None:
        """Make the objectives, and read both minima."""
        job = self.job
        self.objective, self.test = job.load(), job.load_test()
        a, b = (point.point(self.objective) for point in job.places)
        self.ends = a, b
        with_spectra = ", with eigenvalue densities," if job.spectra else ""
        announce(
            f"interpolate: {job.number} points{with_spectra} of a {job.path} path between {' and '.join(job.names)}, "
            f"{job.objective}, {self.objective.n} parameters, {self.objective.samples} samples",
            grid,
        )

    def check_outputs(self) -> None:
        """Make sure that everything can be written, and that what is drawn beside can be read."""
        super().check_outputs()
        from landscape.store import check_writable

        if self.job.save_path is not None:
            check_writable(self.job.save_path)
        self._beside()

    def function(self) -> dict[str, Any]:
        """Model, data and loss."""
        return self.objective.describe()

    def compute(self, state: RunState, progress: Progress) -> PathProfile:
        """Find the path, and evaluate it."""
        from landscape.interpolation import interpolate

        job = self.job
        path = self._path(state, progress)
        if job.save_path is not None and self.objective.grid.rank == 0:
            path.save(job.save_path)
        return interpolate(
            self.objective,
            path,
            points=job.number,
            margin=job.margin,
            spectra=job.spectra,
            pairs=job.eigenpairs,
            tol=job.tol,
            batchnorm=job.batchnorm,
            test=self.test,
            subsamples=job.subsamples,
            seed=job.seed,
            state=state.child("points"),
            checkpoint_seconds=job.checkpoint_seconds,
            progress=progress,
        )

    def draw(self, result: PathProfile, path: File) -> None:
        """Draw the path, beside others if asked."""
        from landscape import render

        title = f"{self.job.objective.removeprefix('zoo:')}, {result.n} parameters"
        render.interpolation([*self._beside(), result], path, title=title)

    def shortfall(self, result: PathProfile) -> str | None:
        """Densities that are not as good as asked for."""
        missed = sum(not density.converged for density in result.densities)
        if missed == 0:
            return None
        return f"{missed} of {len(result.densities)} densities have a larger error than --tol {self.job.tol:g}"

    def _beside(self) -> list[PathProfile]:
        from landscape.store import load

        found = [load(path) for path in self.job.beside]
        for path, record in zip(self.job.beside, found, strict=True):
            if type(record).__name__ != "PathProfile":
                raise InputError(f"--beside: {path} holds no result of landscape interpolate")
        return found

    def _path(self, state: RunState, progress: Progress) -> Path:
        """The path; one that takes time to find is kept, so that a run that is continued finds it again."""
        import landscape as ls
        from landscape.geometry.path import Path
        from landscape.records.parts import record_parts

        job, objective, names = self.job, self.objective, self.job.names
        a, b = self.ends
        if job.align:
            b = ls.align(objective, a, b, method=job.matching, restarts=job.restarts, seed=job.seed)
        if job.path == "linear":
            return ls.LinearPath(a, b, names=names)
        if job.path == "spherical":
            return ls.SphericalPath(a, b, names=names)
        straight = ls.LinearPath(a, b, names=names)
        kept = state.child("path")
        found = objective.grid.world.broadcast_object(next(kept.segments(), None) if objective.grid.rank == 0 else None)
        if found is not None:
            arrays, facts = found
            return Path.of(dataclasses.replace(straight.record(), **arrays, **facts))
        path = self._fitted(a, b, progress)
        if objective.grid.rank == 0:
            kept.replace(*record_parts(path.record()))
        return path

    def _fitted(self, a: Any, b: Any, progress: Progress) -> Path:
        import landscape as ls

        job = self.job
        common: dict[str, Any] = {"names": job.names, "progress": progress}
        if job.path == "band":
            return ls.PolygonalPath.elastic_band(self.objective, a, b, **common, **_given(images=job.images))
        kind, options = FITTED[job.path]
        common |= {"seed": job.seed, **options, **_given(epochs=job.epochs)}
        path: Path = getattr(ls, kind).fit(self.objective, a, b, **common)
        return path


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
