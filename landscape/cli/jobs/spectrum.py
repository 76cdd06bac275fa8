"""The job of `landscape spectrum`, and its work."""

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
    from landscape.records import DensitySeries, SpectralDensity
    from landscape.store import RunState


class SpectrumJob(SeriesJob):
    """Everything that `landscape spectrum` can be told."""

    command: ClassVar[str] = "spectrum"

    output: Path = Path("spectrum.h5")
    method: Literal["deflated", "classical"] = "deflated"
    tol: float = Field(default=0.05, gt=0)
    max_products: int | None = Field(default=None, ge=1)
    probes: int = Field(default=10, ge=1)  # with `steps`, the usual choice for the classical method
    steps: int = Field(default=80, ge=1)
    seed: int = Field(default=0, ge=0)
    data_sampling: int = Field(default=0, ge=0)
    memory: Literal["auto", "full", "selective", "host", "disk", "float32", "float16", "bfloat16", "minimal"] = "auto"
    memory_budget: str | None = None
    dry_run: bool = False

    def configuration(self) -> dict[str, Any]:
        """What the numbers depend on."""
        methods: dict[str, Any] = {
            "deflated": {"max_products": self.max_products},
            "classical": {"probes": self.probes, "steps": self.steps},
        }
        return {
            **super().configuration(),
            "method": self.method,
            **methods[self.method],
            "tol": self.tol,
            "seed": self.seed,
            **({"data_sampling": self.data_sampling} if self.data_sampling else {}),
            **({} if self.memory == "auto" else {"memory": self.memory}),
            **({} if self.memory_budget is None else {"memory_budget": self.memory_budget}),
        }

    def checked(self, given: set[str]) -> Self:
        """Refuse options of the other method."""
        for field, method in (("probes", "classical"), ("steps", "classical"), ("max_products", "deflated")):
            if field in given and self.method != method:
                flag = field.replace("_", "-")
                raise InputError(f"--{flag} belongs to --method {method}, but the method is {self.method}")
        for field in ("memory", "memory_budget", "dry_run", "data_sampling"):
            if field in given and self.along:
                flag = field.replace("_", "-")
                raise InputError(f"--{flag} belongs to a single density, but {self.run} is a whole run: leave one out")
        return super().checked(given)


class SpectrumCommand(Command[SpectrumJob]):
    """Compute an eigenvalue density."""

    operator: Operator

    def build(self, grid: ProcessGrid) -> None:
        """Make the operator at the point that the job names."""
        self.operator = self.job.operator_of(objective_of(self.job))
        objective = self.operator.objective
        announce(
            f"spectrum: {self.job.operator} of {self.job.objective}, {objective.n} parameters, "
            f"{objective.samples} samples",
            grid,
        )

    def function(self) -> dict[str, Any]:
        """Model, data, loss and point."""
        return self.operator.describe()

    def identity(self, function: dict[str, Any]) -> dict[str, Any]:
        """With the number of products that the library limits itself to, and how it keeps its vectors."""
        from landscape.spectrum import DEFAULT_PRODUCTS, choose_memory

        identity = super().identity(function)
        if self.job.method == "deflated":
            identity["max_products"] = min(self.job.max_products or DEFAULT_PRODUCTS, self.operator.n)
        mode = choose_memory(self.operator, identity, self.job.memory, self.job.memory_budget)
        if self.job.memory == "auto" and not mode.keeps_basis:
            announce(
                "spectrum: the Lanczos vectors do not fit (--memory-budget, --dry-run): memory minimal, which resolves "
                "no eigenvalue",
                self.operator.grid,
            )
        return {**identity, "memory": mode.bits, "memory_budget": None}

    def compute(self, state: RunState, progress: Progress) -> SpectralDensity:
        """Compute the density."""
        from landscape.spectrum import spectral_density

        job = self.job
        return spectral_density(
            self.operator,
            tol=job.tol,
            max_products=job.max_products,
            method=job.method,
            probes=job.probes,
            steps=job.steps,
            seed=job.seed,
            data_sampling=job.data_sampling,
            memory=job.memory,
            memory_budget=job.memory_budget,
            state=state,
            checkpoint_seconds=job.checkpoint_seconds,
            progress=progress,
        )

    def draw(self, result: SpectralDensity, path: Path) -> None:
        """Draw the density."""
        result.plot(path, title=f"{self.job.objective.removeprefix('zoo:')}, {result.n} parameters")

    def shortfall(self, result: SpectralDensity) -> str | None:
        """The error, if it is larger than was asked for."""
        if result.converged:
            return None
        return f"its predicted error {result.error:.2g} is larger than --tol {result.tol:g}; {self._remedy(result)}"

    def _remedy(self, result: SpectralDensity) -> str:
        """What would make the error smaller."""
        if result.method == "classical":
            return "more products (--steps, --probes) make it smaller"
        if result.memory == "minimal":
            return "without Lanczos vectors (memory minimal) nothing is resolved: a larger --memory-budget helps most"
        if not result.residuals.any():
            return (
                f"it ended after {result.products} products, where what is left is their rounding "
                f"({result.noise_floor:.2g}): more accurate products (--precision, --product, float64) make it smaller"
            )
        return "more products (--max-products) make it smaller"


class DensitySeriesCommand(SeriesCommand[SpectrumJob]):
    """Compute densities along a run."""

    @property
    def what(self) -> str:
        """What is computed, for the first line."""
        return f"density of the {self.job.operator}"

    def compute(self, state: RunState, progress: Progress) -> DensitySeries:
        """Compute the series."""
        from landscape.series import spectra_along

        job = self.job
        return spectra_along(
            self.recorded,
            self.objective,
            every=job.every or 1,
            operator=job.operator_of,
            tol=job.tol,
            max_products=job.max_products,
            method=job.method,
            probes=job.probes,
            steps=job.steps,
            seed=job.seed,
            state=state,
            progress=progress,
        )

    def shortfall(self, result: DensitySeries) -> str | None:
        """At how many checkpoints the error is larger than was asked for."""
        missing = int((~result.converged).sum())
        if missing == 0:
            return None
        asked = float(result.facts["tol"][0])
        return (
            f"at {missing} of {len(result)} checkpoints the predicted error is larger than --tol {asked:g}; more "
            f"products ({'--max-products' if self.job.method == 'deflated' else '--steps, --probes'}) make it smaller"
        )
