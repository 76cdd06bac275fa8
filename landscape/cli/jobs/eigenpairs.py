"""The job of `landscape eigenpairs`, and its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from landscape.cli.jobs.series import SeriesCommand, SeriesJob
from landscape.cli.objective_source import objective_of
from landscape.cli.running import Command, announce
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.cli.progress import Progress
    from landscape.curvature import Operator
    from landscape.parallel import ProcessGrid
    from landscape.records import EigenPairs, EigenSeries
    from landscape.store import RunState


class EigenpairsJob(SeriesJob):
    """Everything that `landscape eigenpairs` can be told."""

    command: ClassVar[str] = "eigenpairs"

    output: Path = Path("eigenpairs.h5")
    k: int = Field(default=10, ge=1)
    which: Literal["largest", "smallest", "magnitude", "both"] = "largest"
    tol: float = Field(default=1e-3, gt=0)
    max_products: int | None = Field(default=None, ge=1)
    basis: int | None = Field(default=None, ge=1)
    block: int = Field(default=1, ge=1)
    chain: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        names = ("k", "which", "tol", "max_products", "basis", "seed")
        own = {name: getattr(self, name) for name in names}
        own |= {"block": self.block} if self.block > 1 else {}
        return {**super().configuration(), **own, **({"chain": self.chain_length} if self.along else {})}

    @property
    def pairs_in_words(self) -> str:
        """Which pairs are asked for."""
        if self.which == "both":
            return f"{self.k} eigenpairs at each end"
        kind = "largest in magnitude" if self.which == "magnitude" else self.which
        return f"{self.k} {kind} eigenpair{'s' if self.k > 1 else ''}"

    @property
    def chain_length(self) -> int:
        """Checkpoints of a series that one rank takes one after the other."""
        from landscape.series import CHAIN

        return self.chain or CHAIN

    def checked(self, given: set[str]) -> Self:
        """Refuse what belongs to a series only."""
        if self.chain is not None and not self.along:
            raise InputError("--chain belongs to a series: landscape eigenpairs run.h5 --every 5 --chain 8")
        return super().checked(given)


class EigenpairsCommand(Command[EigenpairsJob]):
    """Compute eigenpairs."""

    operator: Operator

    def build(self, grid: ProcessGrid) -> None:
        """Make the operator at the point that the job names."""
        self.operator = self.job.operator_of(objective_of(self.job))
        objective = self.operator.objective
        announce(
            f"eigenpairs: {self.job.pairs_in_words} of the {self.job.operator} of {self.job.objective}, "
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
        chosen = settings_for(
            self.operator, job.k, job.which, job.tol, job.max_products, job.basis, job.seed, job.block
        )
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
            block=job.block,
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


class EigenSeriesCommand(SeriesCommand[EigenpairsJob]):
    """Compute eigenpairs along a run."""

    @property
    def what(self) -> str:
        """What is computed, for the first line."""
        return f"{self.job.pairs_in_words} of the {self.job.operator}"

    def identity(self, function: dict[str, Any]) -> dict[str, Any]:
        """With what the library chooses by itself."""
        from landscape.eigen import settings_for

        job, first = self.job, self.operator_at_first()
        chosen = settings_for(first, job.k, job.which, job.tol, job.max_products, job.basis, job.seed, job.block)
        return {**super().identity(function), **chosen}

    def compute(self, state: RunState, progress: Progress) -> EigenSeries:
        """Compute the series."""
        from landscape.series import eigenpairs_along

        job = self.job
        return eigenpairs_along(
            self.recorded,
            self.objective,
            job.k,
            job.which,
            every=job.every or 1,
            operator=job.operator_of,
            tol=job.tol,
            max_products=job.max_products,
            basis=job.basis,
            block=job.block,
            seed=job.seed,
            chain=job.chain_length,
            state=state,
            progress=progress,
        )

    def shortfall(self, result: EigenSeries) -> str | None:
        """At how many checkpoints pairs are missing or not as accurate as asked for."""
        missing = int((~result.converged.all(axis=1)).sum())
        if missing == 0:
            return None
        return (
            f"at {missing} of {len(result)} checkpoints not all pairs have a residual below --tol {result.tol:g}; more "
            "products (--max-products), more basis vectors (--basis) or a larger --tol help"
        )
