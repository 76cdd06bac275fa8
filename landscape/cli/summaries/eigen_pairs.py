"""Eigenpairs in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landscape.cli.summaries.density import way_in_words

if TYPE_CHECKING:
    from landscape.records import EigenPairs

UNIT = "loss per parameter²"
ENDS = {
    "largest": "largest",
    "smallest": "smallest",
    "magnitude": "largest in magnitude",
    "both": "at both ends",
}
# Values to a line; of a long list, those at each end.
SHOWN = 6


def eigen_pairs_in_words(pairs: EigenPairs) -> list[str]:
    """Lines that state the result, with units and residuals."""
    rows = [
        ("operator", f"{pairs.operator} of {pairs.n} parameters"),
        ("eigenvalues", f"{len(pairs)} {ENDS.get(pairs.which, pairs.which)}, in {UNIT}:"),
        *(("", line) for line in values_in_words(pairs)),
        ("residuals", residuals_in_words(pairs)),
        ("rounding", f"of one product about {pairs.noise_floor:.2g}: values below it have no sign"),
        ("converged", convergence_in_words(pairs)),
        ("loss", f"{pairs.loss:.6g}" if np.isfinite(pairs.loss) else ""),
        ("cost", cost_in_words(pairs)),
    ]
    return [f"  {name:<20} {text}" for name, text in rows if text]


def wanted_pairs(pairs: EigenPairs) -> int:
    """How many pairs were asked for; as many as there are if the record does not say."""
    k = int(pairs.provenance.get("configuration", {}).get("k", len(pairs)))
    return min(2 * k, pairs.n) if pairs.which == "both" and "configuration" in pairs.provenance else k


def values_in_words(pairs: EigenPairs) -> list[str]:
    """The eigenvalues; of many only those at the ends."""
    texts = [f"{value:.6g}{'' if done else '?'}" for value, done in zip(pairs.values, pairs.converged, strict=True)]
    if len(texts) > 4 * SHOWN:
        texts = [*texts[:SHOWN], "…", *texts[1 - SHOWN :]]
    lines = [", ".join(texts[start : start + SHOWN]) for start in range(0, len(texts), SHOWN)]
    return [f"{line}," for line in lines[:-1]] + lines[-1:]


def residuals_in_words(pairs: EigenPairs) -> str:
    """The largest residual, in units of the eigenvalues and relative to the largest of them."""
    if len(pairs) == 0:
        return ""
    largest = float(pairs.residuals.max())
    relative = f", {largest / pairs.scale:.2g} of the largest |λ|" if pairs.scale > 0 else ""
    return f"‖Av − λv‖ at most {largest:.2g}{relative}: an eigenvalue lies within it of each value"


def convergence_in_words(pairs: EigenPairs) -> str:
    """How many pairs are as accurate as asked for."""
    wanted, there = wanted_pairs(pairs), int(pairs.converged.sum())
    verdict = "all" if there >= wanted else f"NOT ALL: {there}"
    verdict += "" if there >= len(pairs) else " (the others have a question mark)"
    return f"{verdict} of {wanted} pairs, asked for a residual of {pairs.tol:g} · |λ|"


def cost_in_words(pairs: EigenPairs) -> str:
    """Products, restarts, seconds, and gradients that would have taken as long."""
    earlier = pairs.provenance.get("resumed_products", 0)
    resumed = f" ({earlier} of them in an earlier run)" if earlier else ""
    restarts = f", {pairs.restarts} restart{'s' if pairs.restarts > 1 else ''}" if pairs.restarts else ""
    gradients = f", as long as {pairs.gradient_equivalents:.0f} gradients" if pairs.gradient_equivalents > 0 else ""
    way = way_in_words(pairs.provenance)
    return f"{pairs.products} products{way}{resumed}{restarts} in {pairs.seconds:.3g} s{gradients}"
