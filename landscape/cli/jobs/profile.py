"""The job of `landscape profile`, and its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from landscape.cli.jobs.plane import PlaneCommand, PlaneJob

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.records import Profile
    from landscape.store import RunState


class ProfileJob(PlaneJob):
    """Everything that `landscape profile` can be told."""

    command: ClassVar[str] = "profile"

    output: Path = Path("profile.h5")
    axis: Literal[1, 2] = 1
    points: int = Field(default=51, ge=2)
    extent: tuple[float, float] | None = None
    subsamples: int = Field(default=50, ge=2)

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        own = {"axis": self.axis, "points": self.points, "subsamples": self.subsamples}
        return {**super().configuration(), **own, "extent": None if self.extent is None else list(self.extent)}


class ProfileCommand(PlaneCommand[ProfileJob]):
    """Evaluate the loss along a line."""

    def size(self) -> str:
        """Points."""
        return f"{self.job.points} points along axis {self.job.axis}"

    def compute(self, state: RunState, progress: Progress) -> Profile:
        """Compute the profile."""
        from landscape.profile import loss_profile

        job = self.job
        return loss_profile(
            self.objective,
            self.plane,
            axis=job.axis,
            points=job.points,
            extent=job.extent,
            subsamples=job.subsamples,
            quantities=job.quantity,
            test=self.test,
            batchnorm=job.batchnorm,
            state=state,
            checkpoint_seconds=job.checkpoint_seconds,
            progress=progress,
        )

    def draw(self, result: Profile, path: Path) -> None:
        """Draw the line."""
        result.plot(path, title=f"{self.job.objective.removeprefix('zoo:')}, {result.n} parameters")
