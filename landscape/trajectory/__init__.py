"""Training runs on disk: `Recorder` writes them while a network is trained, `Trajectory` reads them.

Reading needs neither torch nor MPI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from landscape.trajectory.files import is_trajectory
from landscape.trajectory.trajectory import Trajectory

if TYPE_CHECKING:
    from landscape.trajectory.recorder import Recorder

__all__ = ["Recorder", "Trajectory", "is_trajectory"]


def __getattr__(name: str) -> Any:
    if name == "Recorder":  # the only one that needs torch
        from landscape.trajectory.recorder import Recorder

        return Recorder
    raise AttributeError(f"module 'landscape.trajectory' has no attribute {name!r}; it has {', '.join(__all__)}")
