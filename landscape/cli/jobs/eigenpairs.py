"""The job of `landscape eigenpairs`, and its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from landscape.cli.job import ObjectiveJob
from landscape.cli.jobs.spectrum import OperatorName, operator_named
from landscape.cli.objective_source import objective_of
from landscape.cli.running import Command, announce

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.curvature import Operator
    from landscape.parallel import ProcessGrid
    from landscape.records import EigenPairs
    from landscape.store import RunState


class EigenpairsJob(ObjectiveJob):
    """Everything that `landscape eigenpairs` can be told."""

    command: ClassVar[str] = "eigenpairs"

    output: Path = Path("eigenpairs.h5")
    operator: OperatorName = "hessian"
    k: int = Field(default=10, ge=1)
    which: Literal["largest", "smallest", "magnitude", "both"] = "largest"
    tol: float = Field(default=1e-3, gt=0)
    max_products: int | None = Field(default=None, ge=1)
    basis: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        names = ("operator", "k", "which", "tol", "max_products", "basis", "seed")
        return {**super().configuration(), **{name: getattr(self, name) for name in names}}


class EigenpairsCommand(Command[EigenpairsJob]):
    """Compute eigenpairs."""

    operator: Operator

    def build(self, grid: ProcessGrid) -> None:
        """Make the operator at the point that the job names."""
        self.operator = operator_named(self.job.operator, objective_of(self.job))
        objective = self.operator.objective
        announce(
            f"eigenpairs: {self.job.k} {self.job.which} of the {self.job.operator} of {self.job.objective}, "
            f"{objective.n} parameters, {objective.samples} samples",
            grid,
        )

    def function(self) -> dict[str, Any]:
        """Model, data, loss and point."""
        return self.operator.describe()

    def identity(self, function: dict[str, Any]) -> dict[str, Any]:
        """With what the library chooses by itself."""
        from landscape.eigen import settings_for

        job = self.job
        chosen = settings_for(self.operator, job.k, job.which, job.tol, job.max_products, job.basis, job.seed)
        return {**super().identity(function), **chosen}

    def compute(self, state: RunState, progress: Progress) -> EigenPairs:
        """Compute the pairs."""
        from landscape.eigen import eigenpairs

        job = self.job
        return eigenpairs(
            self.operator,
            job.k,
            job.which,
            tol=job.tol,
            max_products=job.max_products,
            basis=job.basis,
            seed=job.seed,
            state=state,
            checkpoint_seconds=job.checkpoint_seconds,
            progress=progress,
        )

    def draw(self, result: EigenPairs, path: Path) -> None:
        """Draw the eigenvalues."""
        result.plot(path, title=f"{self.job.objective.removeprefix('zoo:')}, {result.n} parameters")

    def shortfall(self, result: EigenPairs) -> str | None:
        """How many pairs are missing or not as accurate as asked for, and why."""
        from landscape.cli.summaries.eigen_pairs import wanted_pairs

        wanted, there = wanted_pairs(result), int(result.converged.sum())
        if there >= wanted:
            return None
        if result.products < result.provenance["configuration"]["max_products"]:
            advice = (
                f"what is missing is the rounding of products (about {result.noise_floor:.1g}): ask for a larger --tol"
            )
        else:
            advice = "more products (--max-products), more basis vectors (--basis) or a larger --tol help"
        return f"only {there} of {wanted} pairs have a residual below --tol {result.tol:g}; {advice}"
