"""The job of `landscape train`, and its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from landscape.cli.agreement import agree
from landscape.cli.job import ObjectiveJob
from landscape.cli.objective_source import objective_of
from landscape.cli.running import Command, announce, circumstances
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.objective import Objective
    from landscape.parallel import ProcessGrid
    from landscape.store import RunState
    from landscape.trajectory import Trajectory


class TrainJob(ObjectiveJob):
    """Everything that `landscape train` can be told."""

    command: ClassVar[str] = "train"

    output: Path = Path("train.h5")
    optimizer: str = "sgd"
    lr: float | None = Field(default=None, gt=0)
    optimizer_set: dict[str, Any] = Field(default={})
    epochs: int = Field(default=10, ge=1)
    batch: int = Field(default=64, ge=1)
    every: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    finalize: bool = True
    name: str | None = None

    @property
    def figure_path(self) -> None:
        """A run has no figure of its own."""
        return None

    @property
    def objective_arguments(self) -> dict[str, Any]:
        """A network of the zoo comes untrained, unless ``--set epochs=`` asks for another start."""
        untrained = {"epochs": 0} if self.objective.startswith("zoo:") else {}
        return {**untrained, **super().objective_arguments}

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        names = ("optimizer", "lr", "optimizer_set", "epochs", "batch", "every", "seed", "finalize")
        return {**super().configuration(), **{name: getattr(self, name) for name in names}}

    def checked(self, given: set[str]) -> Self:
        """Refuse figures."""
        for name in ("figure", "no_figure"):
            if name in given:
                raise InputError(f"{name.replace('_', '-')}: train draws no figure; landscape surface does, of its run")
        return super().checked(given)


class TrainCommand(Command[TrainJob]):
    """Train and record."""

    unit: ClassVar[str] = "steps"

    objective: Objective | None = None

    def build(self, grid: ProcessGrid) -> None:
        """Make the objective at the point where the training starts."""
        agree(grid, lambda: _check(self.job, grid))
        job = self.job
        self.objective = objective_of(job)
        announce(
            f"train: {job.epochs} epoch{'s' if job.epochs > 1 else ''} of {job.optimizer} on {job.objective}, "
            f"{self.objective.n} parameters, {self.objective.samples} samples",
            grid,
        )

    def function(self) -> dict[str, Any]:
        """Model, data, loss and starting point."""
        return self._built().describe()

    def compute(self, state: RunState, progress: Progress) -> Trajectory:
        """Train."""
        from landscape.training import train

        job, asked = self.job, self.configuration
        remembered = {name: asked[name] for name in ("objective", "set", "checkpoint_sha256")}
        return train(
            self._built(),
            job.optimizer,
            lr=job.lr,
            epochs=job.epochs,
            batch=job.batch,
            every=job.every,
            seed=job.seed,
            options=job.optimizer_set,
            path=job.output,
            name=job.name,
            provenance={**remembered, **circumstances(self)},
            finalize=job.finalize,
            overwrite=job.overwrite,
            state=state,
            checkpoint_seconds=job.checkpoint_seconds,
            progress=progress,
        )

    def load(self) -> tuple[Trajectory | None, dict[str, Any] | None]:
        """The run at the output; None in its place if it is unfinished."""
        from landscape.trajectory import Trajectory

        found = Trajectory(self.job.output)
        return found if found.complete else None, found.provenance.get("asked")

    def save(self, result: Trajectory) -> None:
        """It is on the disk already."""

    def words(self, result: Trajectory) -> list[str]:
        """The run, and the metrics of what came out."""
        lines = super().words(result)
        if self.objective is not None and self.objective.metrics:
            before, after = (self.objective.at(result[index]).evaluate() for index in (0, -1))
            lines += [
                f"  {name:<20} {before[name]:.6g} at step 0, {after[name]:.6g} at step {result.steps[-1]}"
                for name in self.objective.metrics
            ]
        return lines

    def _built(self) -> Objective:
        assert self.objective is not None  # noqa: S101  # build() comes first
        return self.objective


def _check(job: TrainJob, grid: ProcessGrid) -> None:
    """Refuse what cannot work before the network is built."""
    from landscape.optim.registry import check_options, optimizer_class

    if grid.size > 1:
        raise InputError(
            f"training runs in one process, but there are {grid.size} ranks: start landscape train without mpiexec"
        )
    lr = {} if job.lr is None else {"lr": job.lr}
    check_options(job.optimizer, optimizer_class(job.optimizer), {**lr, **job.optimizer_set})
