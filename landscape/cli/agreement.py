"""What one rank does for all: rank 0 looks, writes and prints, and all ranks learn the outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from landscape.errors import LandscapeError

if TYPE_CHECKING:
    from landscape.parallel import ProcessGrid

Result = TypeVar("Result")


class AgreedError(LandscapeError):
    """An error of rank 0 that all ranks know of: each leaves in peace, rank 0 with the message.

    Attributes
    ----------
    speaks : bool
        Whether this rank is the one that prints it.
    """

    def __init__(self, error: LandscapeError, speaks: bool) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code
        self.speaks = speaks


def agree(grid: ProcessGrid | None, action: Callable[[], Result]) -> Result:
    """Do something on rank 0 only, and return its result on every rank (collective).

    Parameters
    ----------
    grid : ProcessGrid, optional
        None if this process is alone.
    action : callable
        Called on rank 0.

    Raises
    ------
    AgreedError
        On every rank, if the action raised a LandscapeError.
    """
    if grid is None or grid.size == 1:
        return action()
    result: Result | None = None
    error: LandscapeError | None = None
    if grid.rank == 0:
        try:
            result = action()
        except LandscapeError as caught:
            error = caught
    result, error = grid.world.broadcast_object((result, error))
    if error is not None:
        raise AgreedError(error, speaks=grid.rank == 0)
    return result
