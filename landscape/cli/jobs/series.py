"""What `landscape eigenpairs` and `spectrum` do along a recorded run."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from landscape.cli.job import ObjectiveJob
from landscape.cli.objective_source import load_objective
from landscape.cli.running import Command, announce
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.curvature import Operator
    from landscape.objective import Objective
    from landscape.parallel import ProcessGrid
    from landscape.trajectory import Trajectory


class SeriesJob(ObjectiveJob):
    """What a command can be told that works at one point, or at the checkpoints of a run."""

    run: Path | None = None
    every: int | None = Field(default=None, ge=1)
    operator: Literal["hessian", "gauss-newton", "fisher", "gradient-covariance"] = "hessian"
    product: Literal[
        "auto", "linearized", "compiled", "double_backward", "forward_over_reverse", "finite_difference"
    ] = "auto"
    precision: Literal["bfloat16", "tf32"] | None = None

    @property
    def along(self) -> bool:
        """Whether a series is asked for."""
        return self.run is not None

    @property
    def recorded_runs(self) -> tuple[Path, ...]:
        """Files of recorded runs, which may remember the objective."""
        return (*((self.run,) if self.run is not None else ()), *super().recorded_runs)

    @property
    def step(self) -> int | None:
        """Step of the recorded checkpoint that the job names; a series names none."""
        return None if self.along else super().step

    @property
    def run_name(self) -> str | None:
        """Name of the recorded run."""
        return opened(self.run).name if self.run is not None else super().run_name

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on; runs count by their content."""
        configuration = super().configuration()
        configuration |= {"operator": self.operator}
        configuration |= {} if self.product == "auto" else {"product": self.product}
        configuration |= {} if self.precision is None else {"precision": self.precision}
        if self.run is not None:
            configuration |= {"run_sha256": opened(self.run).digest(), "every": self.every or 1}
        return configuration

    def checked(self, given: set[str]) -> Self:
        """Refuse what belongs to one point only, to a series only, or to another operator."""
        for flag in ("product", "precision"):
            if flag in given and self.operator != "hessian":
                raise InputError(
                    f"--{flag} says how products of the Hessian are computed, not those of {self.operator}"
                )
        if self.run is None and self.every is not None:
            raise InputError(
                f"--every takes every so many checkpoints of a recorded run: landscape {self.command} run.h5 --every "
                f"{self.every}"
            )
        if self.run is not None:
            for flag, value in (("checkpoint", self.checkpoint), ("at", self.at)):
                if value is not None:
                    raise InputError(
                        f"--{flag} names one point, but {self.run} is a whole run: leave one of them out (one "
                        f"checkpoint of it: --checkpoint {self.run} --at 10)"
                    )
            opened(self.run)
        return super().checked(given)

    def operator_of(self, objective: Objective) -> Operator:
        """The curvature operator that the job names."""
        from landscape import curvature

        if self.operator == "hessian":
            return curvature.Hessian(objective, self.product, self.precision)
        others: dict[str, type[Operator]] = {
            "gauss-newton": curvature.GaussNewton,
            "fisher": curvature.EmpiricalFisher,
            "gradient-covariance": curvature.GradientCovariance,
        }
        return others[self.operator](objective)


Along = TypeVar("Along", bound=SeriesJob)


class SeriesCommand(Command[Along]):
    """Compute something at the checkpoints of a run."""

    unit: ClassVar[str] = "checkpoints"

    objective: Objective
    recorded: Trajectory

    @property
    @abstractmethod
    def what(self) -> str:
        """What is computed, for the first line."""

    def build(self, grid: ProcessGrid) -> None:
        """Open the run and make its objective."""
        from landscape.series import chosen_checkpoints

        job = self.job
        self.recorded = opened(job.run or Path())
        # Points come from the run: the zoo need not train.
        self.objective = load_objective(job.objective, job.objective_arguments, trained=False)
        number = len(chosen_checkpoints(len(self.recorded), job.every or 1))
        announce(
            f"{job.command}: {self.what} at {number} of {len(self.recorded)} checkpoints of {job.run}, "
            f"{self.objective.n} parameters, {self.objective.samples} samples",
            grid,
        )

    def operator_at_first(self) -> Operator:
        """The operator at the first checkpoint."""
        return self.job.operator_of(self.objective.at(self.recorded[0]))

    def function(self) -> dict[str, Any]:
        """Model, data, loss and the first checkpoint."""
        return self.operator_at_first().describe()

    def draw(self, result: Any, path: Path) -> None:
        """Draw the series."""
        name = self.job.objective.removeprefix("zoo:")
        result.plot(path, title=f"{name}, {result.n} parameters, run {result.run}")


def opened(path: Path) -> Trajectory:
    """A recorded run, of at least one checkpoint."""
    from landscape.trajectory import Trajectory

    run = Trajectory(path)
    if len(run) == 0:
        raise InputError(f"{path} has no checkpoints; record some with landscape train or landscape.Recorder")
    return run
