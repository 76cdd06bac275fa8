"""An eigenvalue density in words."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from landscape.records import is_vague

if TYPE_CHECKING:
    from landscape.records import SpectralDensity

UNIT = "loss per parameter²"
WORTH_SAYING = 0.5  # seconds before the first product
SAMPLED = 6  # eigenvalues whose error from data sampling is named
MEMORY = {
    "selective": "Lanczos vectors orthogonalized only when needed",
    "host": "Lanczos vectors kept on the host",
    "disk": "Lanczos vectors kept in a temporary file",
    "minimal": "no Lanczos vectors kept, so no eigenvalue is resolved",
}


def density_in_words(density: SpectralDensity) -> list[str]:
    """Lines that state the result, with units and error bars."""
    zero = density.zero_threshold
    resolved = int(density.resolved.sum())
    negative = share_in_words(density.negative_mass, density.mass_band(-inf, -zero))
    near_zero = share_in_words(density.near_zero_mass, density.mass_band(-zero, zero))
    rows = [
        ("operator", f"{density.operator}, {density.method} method"),
        ("largest eigenvalue", end_in_words(density.lambda_max, "" if density.ends_resolved[1] else "at least ")),
        ("smallest eigenvalue", end_in_words(density.lambda_min, "" if density.ends_resolved[0] else "at most ")),
        ("trace", f"{density.trace:.6g} ± {density.trace_stderr:.2g}  {UNIT}"),
        ("eigenvalues", f"{density.n}, of which {resolved} resolved one by one"),
        (
            "negative",
            f"{negative} of them have λ < −{zero:.2g}",
        ),
        (
            "near zero",
            f"{near_zero} of them have |λ| ≤ {zero:.2g}",
        ),
        ("rounding", f"eigenvalues below {density.noise_floor:.2g} in magnitude have no sign"),
        ("predicted error", error_in_words(density)),
        *([("data sampling", sampling_in_words(density))] if isfinite(density.trace_sampling_stderr) else []),
        ("cost", cost_in_words(density)),
    ]
    if density.memory != "full":
        rows.append(("memory", MEMORY.get(density.memory, f"Lanczos vectors kept in {density.memory}")))
    return [f"  {name:<20} {text}" for name, text in rows]


def end_in_words(value: float, bound: str) -> str:
    """The largest or the smallest node, and that it is a bound only where it has not converged."""
    return f"{bound}{value:.6g}  {UNIT}" + (", not resolved (landscape eigenpairs resolves it)" if bound else "")


def share_in_words(mass: float, band: tuple[float, float]) -> str:
    """A share of the eigenvalues with its 95 % interval; that alone where the share says little."""
    if band[1] <= band[0]:
        return f"{100 * mass:.3g} %"
    interval = f"{100 * band[0]:.3g} to {100 * band[1]:.3g} %"
    if is_vague(band):
        return f"{interval} (95 % interval)"
    return f"{100 * mass:.3g} % (95 % interval {interval})"


def error_in_words(density: SpectralDensity) -> str:
    """The predicted error, the one asked for, and what it means."""
    if not isfinite(density.error):
        return "not estimated"
    parts = density.error_parts()
    where = ", ".join(f"{name} {part:.2g}" for name, part in parts.items())
    verdict = "converged" if density.converged else "NOT CONVERGED"
    return f"{density.error:.2g} of the spread of the eigenvalues ({where}), asked for {density.tol:g}: {verdict}"


def sampling_in_words(density: SpectralDensity) -> str:
    """How far the largest eigenvalues and the trace would move with other samples."""
    known = [index for index, value in enumerate(density.sampling_stderr) if isfinite(value)]
    farthest = sorted(known, key=lambda index: -abs(density.nodes[index]))
    text = "".join(
        f"{density.nodes[index]:.4g} ± {density.sampling_stderr[index]:.2g}, " for index in farthest[:SAMPLED]
    )
    text += f"{len(farthest) - SAMPLED} more in the file, " if len(farthest) > SAMPLED else ""
    return f"{text}trace ± {density.trace_sampling_stderr:.2g}, had other samples been drawn"


def cost_in_words(density: SpectralDensity) -> str:
    """Products, seconds, and gradients that would have taken as long."""
    probes = f"{density.probes} probe{'s' if density.probes > 1 else ''}"
    probes += f" and {density.complement_probes} short ones" if density.complement_probes else ""
    earlier = density.provenance.get("resumed_products", 0)
    probes += f" ({earlier} of them in an earlier run)" if earlier else ""
    gradients = f", as long as {density.gradient_equivalents:.0f} gradients" if density.gradient_equivalents > 0 else ""
    way = way_in_words(density.provenance)
    return f"{density.products} products{way} from {probes} in {density.seconds:.3g} s{gradients}"


def way_in_words(provenance: Mapping[str, Any]) -> str:
    """How the products were computed, where there is more than one way."""
    facts = provenance.get("products", {})
    if "product" not in facts:
        return ""
    off = f" in {facts['precision']}, off by {facts['deviation']:.1g}" if facts["precision"] != "full" else ""
    before = facts.get("preparation_seconds", 0.0)
    tracing = f", after {before:.2g} s of tracing" if before > WORTH_SAYING else ""
    return f" ({str(facts['product']).replace('_', ' ')}{off}{tracing})"
