"""A result in words: what `landscape spectrum` says at its end and `landscape info` later."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from landscape.records import NEAR_ZERO

if TYPE_CHECKING:
    from landscape.records import SpectralDensity

UNIT = "loss per parameter²"


def density_in_words(density: SpectralDensity) -> list[str]:
    """Lines that state the result, with units and error bars."""
    floor = density.noise_floor
    zero = max(floor, NEAR_ZERO * density.magnitude)
    resolved = int(density.resolved.sum())
    rows = [
        ("largest eigenvalue", f"{density.lambda_max:.6g}  {UNIT}"),
        ("smallest eigenvalue", f"{density.lambda_min:.6g}  {UNIT}"),
        ("trace", f"{density.trace:.6g} ± {density.trace_stderr:.2g}  {UNIT}"),
        ("eigenvalues", f"{density.n}, of which {resolved} resolved one by one"),
        ("negative", f"{100 * density.mass_below(-floor):.3g} % of them lie below the noise floor, λ < −{floor:.2g}"),
        ("near zero", f"{100 * density.near_zero_mass:.3g} % of them have |λ| ≤ {zero:.2g}"),
        ("predicted error", error_in_words(density)),
        ("cost", cost_in_words(density)),
    ]
    return [f"  {name:<20} {text}" for name, text in rows]


def error_in_words(density: SpectralDensity) -> str:
    """The predicted error, the one asked for, and what it means."""
    if not isfinite(density.error):
        return "not estimated"
    verdict = "converged" if density.converged else "NOT CONVERGED"
    return f"{density.error:.2g} of the spread of the eigenvalues, asked for {density.tol:g}: {verdict}"


def cost_in_words(density: SpectralDensity) -> str:
    """Products, seconds, and gradients that would have taken as long."""
    probes = f"{density.probes} probe{'s' if density.probes > 1 else ''}"
    gradients = f", as long as {density.gradient_equivalents:.0f} gradients" if density.gradient_equivalents > 0 else ""
    return f"{density.products} products from {probes} in {density.seconds:.3g} s{gradients}"
