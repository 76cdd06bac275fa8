"""How far the outputs of a network at one point are from those at another, over the data."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from landscape._data import Batch

# Kept outputs of the points that others are compared with: a language model on a large text has more.
KEPT_BYTES = 2**30


class OutputDistances:
    """Root of the mean over the data of ‖f(x) - g(x)‖², g the outputs that were kept, f those that are seen.

    It watches passes over the data (``Evaluator.watch``), which must go through the same batches in the same order.

    Parameters
    ----------
    samples : int
        Over which the mean is taken.

    Attributes
    ----------
    why_unknown : str
        Why there are no distances: outputs are not seen, or too large to be kept; "" if there are.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._kept: list[list[list[Tensor]]] = []
        self._sums: list[list[float]] = []
        self._bytes = 0
        self._place = 0
        self.why_unknown = ""

    def begin(self) -> None:
        """Before a pass that is to be compared."""
        self._place = 0
        self._sums = [[] for _ in self._kept]

    def keep(self) -> None:
        """Before a pass whose outputs others will be compared with."""
        self._kept.append([])

    def kept(self, output: Any, batch: Batch, numerator: float, counted: bool) -> None:
        """Watch a pass and keep its outputs."""
        parts = _tensors(output)
        self._bytes += sum(part.numel() * part.element_size() for part in parts)
        if not parts:
            self.why_unknown = "outputs are not seen"
        elif self._bytes > KEPT_BYTES:
            self.why_unknown = f"outputs take more than {KEPT_BYTES / 2**30:g} GiB"
        if self.why_unknown:
            self._kept = [[] for _ in self._kept]
        else:
            self._kept[-1].append([part.clone() for part in parts])

    def compared(self, output: Any, batch: Batch, numerator: float, counted: bool) -> None:
        """Watch a pass and compare its outputs."""
        if self.why_unknown:
            return
        parts = _tensors(output)
        for kept, sums in zip(self._kept, self._sums, strict=True):
            pairs = zip(parts, kept[self._place], strict=True)
            sums.append(math.fsum(float(torch.sum((one.double() - other.double()) ** 2)) for one, other in pairs))
        self._place += 1

    def found(self) -> list[float]:
        """Of the pass that was watched last, from each of the kept ones; NaN where it is unknown."""
        if self.why_unknown:
            return [math.nan] * len(self._kept)
        return [_root(sums, self._samples) for sums in self._sums]


def _tensors(output: Any) -> list[Tensor]:
    leaves = tree_flatten(output)[0]
    return [leaf.detach() for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _root(sums: list[float], samples: int) -> float:
    return math.sqrt(math.fsum(sums) / samples) if sums and all(map(math.isfinite, sums)) else math.nan
