"""What operators that are made of other operators have in common: their products are those of their parts."""

from __future__ import annotations

import copy
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from landscape._data import Batch
from landscape._network import Selection
from landscape.curvature.operator import Operator
from landscape.errors import InputError
from landscape.objective import Objective
from landscape.parallel import ProcessGrid
from landscape.parallel.rows import RowPartition


class Derived(Operator):
    """An operator whose product is computed from products of its parts.

    Parameters
    ----------
    parts : sequence of Operator
        At least one; dtype, device and ranks are those of the first.

    Attributes
    ----------
    parts : tuple of Operator
    """

    def __init__(self, parts: Sequence[Operator]) -> None:
        for part in parts:
            if not isinstance(part, Operator):
                raise InputError(
                    f"{type(self).__name__} needs an operator such as landscape.Hessian(objective), not "
                    f"{type(part).__name__}"
                )
        self.parts = tuple(parts)
        self.products = 0
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        # The objective where there is one: an operator made from a function has none, and getattr(…, None) says so.
        if name == "objective" and "parts" in self.__dict__:
            return self.parts[0].objective
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def n(self) -> int:
        """Number of rows and columns."""
        return self.parts[0].n

    @property
    def device(self) -> torch.device:
        """Where vectors live."""
        return self.parts[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Of vectors."""
        return self.parts[0].dtype

    @property
    def grid(self) -> ProcessGrid:
        """The ranks that share the data."""
        return self.parts[0].grid

    @property
    def known_shift(self) -> float:
        """The multiple of the identity that the operator is known to hold."""
        return 0.0

    @abstractmethod
    def _products(self, vectors: Tensor) -> Tensor:
        """Products with the rows of ``(k, n)``, which every rank holds."""

    @abstractmethod
    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Product of one micro-batch's sum with a full vector, ``(n,)``, where all parts share their data."""

    def facts(self) -> dict[str, Any]:
        """What was settled by the parts; of equal keys, by the first."""
        return {key: value for part in reversed(self.parts) for key, value in part.facts().items()}

    def prepare(self) -> None:
        """Settle what the parts settle once for all products (collective)."""
        for part in self.parts:
            part.prepare()

    def apply(self, vector: Tensor) -> Tensor:
        """The product with a full vector, ``(n,)``, which every rank holds."""
        return self.apply_block(vector[None])[0]

    def apply_block(self, vectors: Tensor) -> Tensor:
        """The products with the rows of ``(k, n)``, which every rank holds."""
        started = time.perf_counter()
        result = self._products(vectors.detach())
        self.products += len(vectors)
        self.seconds += time.perf_counter() - started
        return result

    def apply_rows(self, shard: Tensor, rows: RowPartition) -> Tensor:
        """The product on row shards: ``(rows,)`` in and out."""
        return rows.shard(self.apply(rows.gather(shard)))

    def on(self, grid: ProcessGrid) -> Self:
        """The same operator computed by other ranks, with its own count of products."""
        return self.of_parts([part.on(grid) for part in self.parts])

    def of(self, objective: Objective) -> Self:
        """The same operator of another objective, which takes the place of that of every part."""
        if len({part.objective.data_digest for part in self.parts}) > 1:
            raise InputError(f"{self.name} is made of different data: move its parts one by one, A.of(objective)")
        return self.of_parts([part.of(objective) for part in self.parts])

    def restricted(self, parameters: Selection) -> Operator:
        """The diagonal block of some parameters."""
        return self.of_parts([part.restricted(parameters) for part in self.parts])

    def of_parts(self, parts: Sequence[Operator]) -> Self:
        """The same operator made of other parts, with its own count of products."""
        other = copy.copy(self)
        other.parts = tuple(parts)
        other.products, other.seconds = 0, 0.0
        return other

    def gradient_seconds(self) -> float:
        """Wall time of one gradient of the data of all parts, the unit of cost (collective)."""
        objectives = {id(part.__dict__.get("objective", part)): part for part in self.parts}
        return sum(part.gradient_seconds() for part in objectives.values())

    def describe(self) -> dict[str, Any]:
        """What identifies the operator: its parts (collective)."""
        described = [part.describe() for part in self.parts]
        if len(described) == 1:
            return {**described[0], "operator": self.name}
        # What the parts have in common, so that one function is described once.
        common = {key: value for key, value in described[0].items() if all(one.get(key) == value for one in described)}
        return {
            **common,
            "operator": self.name,
            "parts": [{key: value for key, value in one.items() if key not in common} for one in described],
        }
