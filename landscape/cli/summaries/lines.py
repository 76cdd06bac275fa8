"""Rows of a summary: a name, and what is to be said."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# What batch norm used → what is said of it.
STATISTICS = {
    "recompute": "statistics of all data, computed at each point",
    "batch": "statistics of each micro-batch: the loss depends on its size",
}


def aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of the rows that say something; a name that repeats is written once."""
    lines, before = [], ""
    for name, text in rows:
        if text:
            lines.append(f"  {'' if name == before else name:<20} {text}")
            before = name
    return lines


def range_in_words(values: np.ndarray) -> str:
    """Smallest and largest finite value."""
    finite = values[np.isfinite(values)]
    return f"{finite.min():.6g} to {finite.max():.6g}" if finite.size else "nowhere finite"
