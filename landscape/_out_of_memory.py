"""An allocation that failed, in words that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from landscape.errors import ComputeError

# What torch says on a CPU, where it has no exception of its own.
SIGNS = ("not enough memory", "can't allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that an allocation failed."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(sign in str(error).lower() for sign in SIGNS)


@contextmanager
def advised(words: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """Turn an allocation that fails inside into a :class:`~landscape.ComputeError`.

    Parameters
    ----------
    words : callable
        What was being computed, and what to do about it; asked for only when it is needed.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        where, advice = words()
        first = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ComputeError(f"out of memory in {where}: {advice} ({first})") from error
