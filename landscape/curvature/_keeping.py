"""What a product computes once per micro-batch and keeps for further vectors, as far as memory allows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor


class Kept:
    """Values by micro-batch, up to a number of bytes; those that came first stay.

    A Lanczos run meets the micro-batches in the same order in every step, so that replacing old ones by new ones would
    never find anything.

    Parameters
    ----------
    budget : float
        Bytes.

    Attributes
    ----------
    bytes : int
        Kept now.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.bytes = 0
        self._values: dict[int, Any] = {}

    def get(self, index: int | None) -> Any:
        """The value of a micro-batch, or None."""
        return None if index is None else self._values.get(index)

    def offer(self, index: int | None, value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes if there is room."""
        if index is not None and index not in self._values and self.bytes + size <= self.budget:
            self._values[index] = value
            self.bytes += size

    def __len__(self) -> int:
        return len(self._values)


def memory_of(tensors: Iterable[Any], besides: Iterable[Tensor] = ()) -> int:
    """Bytes that some tensors hold, views of one memory counted once, those of others not at all."""
    known = {value.untyped_storage().data_ptr() for value in besides}
    sizes = {}
    for value in tensors:
        if isinstance(value, Tensor) and not value._is_zerotensor():  # such zeros take no memory
            storage = value.untyped_storage()
            if storage.data_ptr() not in known:
                sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())
