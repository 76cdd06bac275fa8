"""The barriers between minima, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landscape.cli.summaries.lines import STATISTICS, aligned

if TYPE_CHECKING:
    from landscape.records import Connectivity


def connectivity_in_words(found: Connectivity) -> list[str]:
    """Lines that state the losses of the minima, the lowest and highest barrier, and the clusters."""
    count = len(found.point_names)
    first, second = np.triu_indices(count, 1)
    alignment = f", the second of each pair aligned by {found.alignment}" if found.alignment else ""
    rows = [
        ("minima", f"{count}: {', '.join(str(name) for name in found.point_names)}"),
        ("loss", f"{np.nanmin(found.point_loss):.6g} to {np.nanmax(found.point_loss):.6g}"),
        ("ways", f"{len(first)}, {found.path}, of {len(found.s)} points{alignment}"),
    ]
    barriers = found.barriers[first, second]
    if np.isfinite(barriers).any():
        for word, place in (("lowest barrier", np.nanargmin(barriers)), ("highest barrier", np.nanargmax(barriers))):
            rows.append((word, _pair_in_words(found, int(first[place]), int(second[place]))))
    rows += [
        ("batch norm", STATISTICS.get(found.batchnorm, "")),
        ("cost", f"loss at {found.evaluations} points in {found.seconds:.3g} s"),
    ]
    return aligned(rows)


def _pair_in_words(found: Connectivity, i: int, j: int) -> str:
    error = found.barrier_stderr[i, j] if found.barrier_stderr.size else np.nan
    uncertainty = f" ± {error:.2g}" if np.isfinite(error) else ""
    return f"{found.barriers[i, j]:.4g}{uncertainty} between {found.point_names[i]} and {found.point_names[j]}"
