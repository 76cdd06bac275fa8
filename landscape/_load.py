"""Read anything that landscape wrote."""

from __future__ import annotations

import os
from typing import Any


def load(path: str | os.PathLike[str]) -> Any:
    """Open a file of landscape.

    Parameters
    ----------
    path : path
        A result, or a recorded run.

    Returns
    -------
    SpectralDensity, EigenPairs, Surface, … or Trajectory
        What the file holds.

    Raises
    ------
    InputError
        The file is missing, truncated, damaged, foreign, or newer than this version of landscape; the message says
        which.
    """
    from landscape import store
    from landscape.trajectory import Trajectory, is_trajectory

    return Trajectory(path) if is_trajectory(path) else store.load(path)
