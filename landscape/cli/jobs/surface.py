"""The job of `landscape surface`, and its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from landscape.cli.jobs.plane import PlaneCommand, PlaneJob
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.records import Surface
    from landscape.store import RunState


class SurfaceJob(PlaneJob):
    """Everything that `landscape surface` can be told."""

    command: ClassVar[str] = "surface"

    output: Path = Path("surface.h5")
    resolution: int | str = 51
    margin: float = Field(default=0.25, ge=0)
    adaptive: bool = False
    model: bool | None = None

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
        return {**super().configuration(), "resolution": list(self.grid), "margin": self.margin}

    def beside(self) -> dict[str, Any]:
        """What else they depend on, where it is not as usual."""
        asked = {"adaptive": self.adaptive, "model": self.model}
        return {**super().beside(), **{name: value for name, value in asked.items() if value not in (None, False)}}

    def checked(self, given: set[str]) -> Self:
        """Refuse options that do not go together."""
        chosen = super().checked(given)
        if min(self.grid) < 2:
            raise InputError(f"--resolution must be at least 2 along each axis, not {self.resolution}")
        return chosen


class SurfaceCommand(PlaneCommand[SurfaceJob]):
    """Evaluate the loss on a plane."""

    def size(self) -> str:
        """Grid points."""
        width, height = self.job.grid
        return f"{'up to ' if self.job.adaptive else ''}{width} × {height} points"

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
            quantities=job.quantity,
            test=self.test,
            batchnorm=job.batchnorm,
            model=job.model,
            adaptive=job.adaptive,
            state=state,
            checkpoint_seconds=job.checkpoint_seconds,
            progress=progress,
        )

    def draw(self, result: Surface, path: Path) -> None:
        """Draw the map."""
        result.plot(path, title=f"{self.job.objective.removeprefix('zoo:')}, {result.n} parameters")
