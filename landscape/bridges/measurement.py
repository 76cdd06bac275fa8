"""Eigenvalues and density of a model that is being trained, measured on one process without disturbing it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape._arguments import check_positive, check_whole
from landscape._network import unwrap
from landscape.curvature import Hessian
from landscape.eigen import eigenpairs
from landscape.errors import InputError, LandscapeError
from landscape.objective import Objective
from landscape.records import DensitySeries, EigenPairs, EigenSeries, SpectralDensity
from landscape.spectrum import spectral_density
from landscape.trajectory.snapshot import undisturbed


class Measurement:
    """Measures the Hessian of an objective where a model is now, and collects what it finds.

    The model, its modes, its gradients and the random state are afterwards as before.

    Parameters
    ----------
    objective : Objective
        Of this model, or of a part of it, on fixed data.
    k : int
        How many of the largest eigenvalues; 0 for none.
    tol : float
        Wanted residual relative to ``|λ|``.
    density : bool
        Whether to estimate the density, too.
    density_tol, density_products
        As ``tol`` and ``max_products`` of :func:`landscape.spectral_density`.
    seed : int

    Raises
    ------
    InputError
    """

    def __init__(
        self,
        objective: Objective,
        *,
        k: int = 3,
        tol: float = 1e-2,
        density: bool = False,
        density_tol: float = 0.2,
        density_products: int = 60,
        seed: int = 0,
    ) -> None:
        if not isinstance(objective, Objective):
            raise InputError(f"objective must be a landscape.Objective, not {type(objective).__name__}")
        check_whole("k", k, 0)
        check_positive("tol", tol)
        check_positive("density_tol", density_tol)
        check_whole("density_products", density_products, 2)
        if not k and not density:
            raise InputError("there is nothing to measure: k is 0 and no density is asked for")
        # On this process alone: a training has its own way to use others, and must not wait here for them.
        self.objective = objective.on(objective.grid.alone())
        self.k, self.tol, self.density, self.seed = min(k, objective.n), tol, density, seed
        self.density_options: dict[str, Any] = {"tol": density_tol, "max_products": density_products, "seed": seed}
        self.refusals: list[str] = []
        self._spent = {"seconds": 0.0, "gradient_equivalents": 0.0}  # before what is gone on with
        self._earlier = 0
        self._vectors: Any = None
        self._facts: list[dict[str, Any]] = []
        self._pairs: list[EigenPairs] = []
        self._densities: list[SpectralDensity] = []

    def __len__(self) -> int:
        return len(self._facts)

    def measure(
        self, model: nn.Module, step: int, loss: float = math.nan, rate: float = math.nan
    ) -> tuple[EigenPairs | None, SpectralDensity | None]:
        """Measure where a model is now; a training is never stopped: what cannot be measured is said once.

        Parameters
        ----------
        model : torch.nn.Module
        step : int
            Optimizer steps that it has done.
        loss, rate : float
            Of the training there, for the record.

        Returns
        -------
        pairs, density
            None for what was not asked for, or could not be measured.
        """
        try:
            with undisturbed(model):
                return self._measured(model, step, loss, rate)
        except Exception as error:  # of the model, of the memory: nothing of it is the training's
            self.refuse(step, error)
            return None, None

    def refuse(self, step: int, error: Exception) -> None:
        """Say once that there is no curvature, and go on."""
        words = str(error) if isinstance(error, LandscapeError) else f"{type(error).__name__}: {error}"
        if not self.refusals:
            warnings.warn(
                f"no curvature at step {step}: {words}. The training goes on, and measuring is tried again",
                stacklevel=3,
            )
        self.refusals.append(words)

    def go_on(self, eigenvalues: EigenSeries | None, densities: DensitySeries | None, step: int) -> None:
        """Begin with what was measured before a step, by a training that is resumed there.

        Parameters
        ----------
        eigenvalues, densities : series, optional
            As they were saved; steps that only one of them has are left out.
        step : int
            What lies there or beyond is measured again.

        Raises
        ------
        InputError
            They were measured with another k, or of another network.
        """
        wanted = {"eigenvalues": (eigenvalues, bool(self.k)), "densities": (densities, self.density)}
        series: dict[str, Any] = {name: found for name, (found, asked) in wanted.items() if asked}
        if not series or any(found is None for found in series.values()):
            return
        for name, found in series.items():
            width = found.values.shape[1] if name == "eigenvalues" else self.k
            if (found.n, width) != (self.objective.n, self.k):
                raise InputError(
                    f"the {name} measured so far are of {found.n} parameters with k={width}, but now there are "
                    f"{self.objective.n} with k={self.k}: keep them elsewhere, or measure as before"
                )
        rows = [{int(one): row for row, one in enumerate(found.steps) if one < step} for found in series.values()]
        for one in sorted(set.intersection(*map(set, rows))):
            places = dict(zip(series, (places[one] for places in rows), strict=True))
            for name, row in places.items():
                kept: list[Any] = self._pairs if name == "eigenvalues" else self._densities
                kept.append(series[name][row])
            first = next(iter(series.values()))
            row = next(iter(places.values()))
            self._facts.append(
                {
                    "step": one, "loss": float(first.loss[row]), "told": float(first.losses[row]),
                    "rate": float(first.learning_rates[row]), "digest": str(first.theta_sha256[row]),
                    "warm": bool(first.warm[row]) if self.k else False,
                }
            )  # fmt: skip
        self._earlier = len(self._facts)
        if self._facts:
            for name in self._spent:
                self._spent[name] = max(float(getattr(found, name)) for found in series.values())

    def eigen_series(self, run: str = "", optimizer: Mapping[str, Any] | None = None) -> EigenSeries:
        """The eigenvalues so far, as ``eigenpairs_along`` gives them."""
        count = len(self._pairs)
        table = {name: np.full((count, self.k), np.nan) for name in ("values", "residuals")}
        converged = np.zeros((count, self.k), bool)
        for row, pairs in enumerate(self._pairs):
            table["values"][row, : len(pairs)] = pairs.values
            table["residuals"][row, : len(pairs)] = pairs.residuals
            converged[row, : len(pairs)] = pairs.converged
        return EigenSeries(
            values=table["values"],
            residuals=table["residuals"],
            converged=converged,
            tol=self.tol,
            scales=np.array([pairs.scale for pairs in self._pairs], float),
            noise_floors=np.array([pairs.noise_floor for pairs in self._pairs], float),
            product_counts=np.array([pairs.products for pairs in self._pairs], np.int64),
            warm=np.array([fact["warm"] for fact in self._facts], bool),
            **self._common(run, optimizer),
        )

    def density_series(self, run: str = "", optimizer: Mapping[str, Any] | None = None) -> DensitySeries:
        """The densities so far, as ``spectra_along`` gives them."""
        common = {name: value for name, value in self._common(run, optimizer).items() if name != "n"}
        return DensitySeries.of(self._densities, **common)

    def _common(self, run: str, optimizer: Mapping[str, Any] | None) -> dict[str, Any]:
        columns = {name: [fact[name] for fact in self._facts] for name in ("step", "loss", "told", "rate", "digest")}
        fresh: list[Any] = [*self._pairs[self._earlier :], *self._densities[self._earlier :]]
        return {
            "steps": np.array(columns["step"], np.int64),
            "n": self.objective.n,
            "loss": np.array(columns["loss"], float),
            "losses": np.array(columns["told"], float),
            "learning_rates": np.array(columns["rate"], float),
            "theta_sha256": np.array(columns["digest"], str),
            "run": run,
            "optimizer": dict(optimizer or {}),
            **{name: spent + sum(getattr(one, name) for one in fresh) for name, spent in self._spent.items()},
            "provenance": {"samples": self.objective.samples, "seed": self.seed}
            | ({"refused": len(self.refusals), "refusal": self.refusals[-1]} if self.refusals else {}),
        }

    def _measured(
        self, model: nn.Module, step: int, loss: float, rate: float
    ) -> tuple[EigenPairs | None, SpectralDensity | None]:
        theta, buffers = place_of(model, self.objective)
        here = self.objective.at(theta, buffers)
        # Theta moves from one measurement to the next: a timing or a trace would never pay.
        hessian = Hessian(here, product="double_backward")
        pairs = density = None
        warm = self._vectors is not None
        if self.k:
            pairs = eigenpairs(hessian, self.k, tol=self.tol, seed=self.seed, start=self._vectors)
        if self.density:
            density = spectral_density(hessian, **self.density_options)
        value = here.loss()
        if pairs is not None:
            self._vectors = pairs.vectors if len(pairs) else None
            self._pairs.append(pairs)
        if density is not None:
            self._densities.append(density)
        digest = str(here.describe()["theta_sha256"])
        self._facts.append({"step": step, "loss": value, "told": loss, "rate": rate, "digest": digest, "warm": warm})
        return pairs, density


def place_of(model: nn.Module, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """Theta and buffers of a model, or of that part of it which the objective has.

    Raises
    ------
    InputError
        The model has no such parameters.
    """
    module = unwrap(model)
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    first = objective.names[0]
    prefixes = [name[: -len(first)] for name in parameters if name == first or name.endswith(f".{first}")]
    for prefix in sorted(prefixes, key=len):
        if all(
            f"{prefix}{name}" in parameters and tuple(parameters[f"{prefix}{name}"].shape) == tuple(shape)
            for name, shape in zip(objective.names, objective.shapes, strict=True)
        ):
            with torch.no_grad():
                theta = torch.cat([parameters[f"{prefix}{name}"].detach().reshape(-1) for name in objective.names])
            own = {name[len(prefix) :]: value for name, value in buffers.items() if name.startswith(prefix)}
            return theta, own
    raise InputError(
        f"the model has no parameters {first}, … of the objective's shapes, alone or in a part of it; it has "
        f"{', '.join(list(parameters)[:3])}, …: build the objective from this model"
    )
