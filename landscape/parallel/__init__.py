"""Several ranks as one: process grid, collectives, sums that do not depend on the number of ranks, launching, failing.

The names are loaded when they are used: importing this package starts neither torch nor MPI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.parallel.collectives import Collectives, Serial
    from landscape.parallel.grid import ProcessGrid
    from landscape.parallel.launcher import mpiexec_command, under_launcher
    from landscape.parallel.sums import FixedPointSum, exact_sum, order_free_sum

_MODULE_OF = {
    "Collectives": "collectives",
    "Serial": "collectives",
    "ProcessGrid": "grid",
    "mpiexec_command": "launcher",
    "under_launcher": "launcher",
    "FixedPointSum": "sums",
    "exact_sum": "sums",
    "order_free_sum": "sums",
}

__all__ = [
    "Collectives",
    "Serial",
    "ProcessGrid",
    "mpiexec_command",
    "under_launcher",
    "FixedPointSum",
    "exact_sum",
    "order_free_sum",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'landscape.parallel' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"landscape.parallel.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
