"""Many densities in a few arrays, as files hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.records.parts import record_parts
from landscape.records.spectral_density import SpectralDensity


def packed(densities: Sequence[SpectralDensity]) -> dict[str, Any]:
    """What files hold of densities: "pieces", "lengths", "facts" and "words"; nothing of none.

    Returns
    -------
    dict
        pieces : dict of arrays
            Every array of the densities, those of all densities one after the other.
        lengths : dict of (p,) int64
            How many numbers of a piece belong to each density.
        facts : dict of (p,) arrays
            Every number of the densities.
        words : dict
            Every text, which they have in common.
    """
    if len(densities) == 0:
        return {"pieces": {}, "lengths": {}, "facts": {}, "words": {}}
    parts = [record_parts(density) for density in densities]
    names = list(parts[0][0])
    numbers = [name for name, value in parts[0][1].items() if not isinstance(value, str) and name != "n"]
    return {
        "pieces": {name: np.concatenate([arrays[name] for arrays, _ in parts]) for name in names},
        "lengths": {name: np.array([len(arrays[name]) for arrays, _ in parts], np.int64) for name in names},
        "facts": {name: np.array([facts[name] for _, facts in parts]) for name in numbers},
        "words": {name: value for name, value in parts[0][1].items() if isinstance(value, str)},
    }


def unpacked(
    row: int,
    n: int,
    pieces: Mapping[str, NDArray[Any]],
    lengths: Mapping[str, NDArray[np.int64]],
    facts: Mapping[str, NDArray[Any]],
    words: Mapping[str, str],
) -> SpectralDensity:
    """One of the densities that :func:`packed` put together.

    Parameters
    ----------
    row : int
        Which, from 0.
    n : int
        Number of parameters.
    pieces, lengths, facts, words
        What :func:`packed` returned.
    """
    known = {one.name for one in dataclasses.fields(SpectralDensity)}
    found: dict[str, Any] = {"n": n, **words}
    for name, each in lengths.items():
        start = int(each[:row].sum())
        found[name] = pieces[name][start : start + int(each[row])]
    found |= {name: values[row].item() for name, values in facts.items()}
    return SpectralDensity(**{name: value for name, value in found.items() if name in known})
