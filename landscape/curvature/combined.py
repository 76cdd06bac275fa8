"""Linear combinations of operators and multiples of the identity: ``a*A + b*B - c``."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from numbers import Real
from typing import Any

from torch import Tensor

from landscape._data import Batch
from landscape.curvature.derived import Derived
from landscape.curvature.operator import Operator
from landscape.errors import InputError


class Combined(Derived):
    """``Σ factor · part + shift · identity``; written with ``+``, ``-``, ``*`` and ``/``.

    Each part costs its own sweep over its data.

    Parameters
    ----------
    factors : sequence of float
    parts : sequence of Operator
        Of one n, dtype, device and grid; their objectives may differ, as for two data sets.
    shift : float
        In units of the operators.

    Raises
    ------
    InputError
        If the parts do not fit together.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> objective = ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> H = ls.Hessian(objective)
    >>> ((3 * H - H / 2 + 1) @ torch.tensor([0.0, 0.0, 1.0]))[2].item()
    6.0
    """

    def __init__(self, factors: Sequence[float], parts: Sequence[Operator], shift: float = 0.0) -> None:
        super().__init__(parts)
        self.factors = tuple(_number(factor) for factor in factors)
        self.shift = _number(shift)
        first = self.parts[0]
        for other in self.parts[1:]:
            for what, mine, theirs in (
                ("n", first.n, other.n),
                ("dtype", first.dtype, other.dtype),
                ("device", first.device, other.device),
                ("ranks × data shards", _ranks(first), _ranks(other)),
            ):
                if mine != theirs:
                    raise InputError(
                        f"{first.name} and {other.name} cannot be added: {what} is {mine} for the first and {theirs} "
                        "for the second; build both from objectives of the same parameters on the same ranks"
                    )

    @property
    def name(self) -> str:  # type: ignore[override]
        """Such as "2·hessian - gauss-newton + 0.1"."""
        terms = [(factor, part.name) for factor, part in zip(self.factors, self.parts, strict=True)]
        text = ""
        for factor, name in [*terms, *([(self.shift, "")] if self.shift else [])]:
            size = f"{abs(factor):.6g}" if abs(factor) != 1 or not name else ""
            if isinstance(name, str) and (" + " in name or " - " in name):
                name = f"({name})"
            term = "·".join(filter(None, [size, name]))
            if text:
                text += f" {'-' if factor < 0 else '+'} {term}"
            else:
                text = f"-{term}" if factor < 0 else term
        return text

    @property
    def known_shift(self) -> float:
        """The multiple of the identity that the operator is known to hold."""
        inner = (factor * part.known_shift for factor, part in zip(self.factors, self.parts, strict=True))
        return sum(inner, self.shift)

    def batch_product(self, batch: Batch, denominator: float, vector: Tensor) -> Tensor:
        """Sum of the parts' products of one micro-batch, without the shift; the parts must share their data."""
        if len({id(part.objective) for part in self.parts}) > 1:
            raise InputError(f"{self.name} is a combination over different data: it has no product of one micro-batch")
        terms = [
            factor * part.batch_product(batch, denominator, vector)
            for factor, part in zip(self.factors, self.parts, strict=True)
        ]
        return sum(terms[1:], terms[0])

    def _products(self, vectors: Tensor) -> Tensor:
        total = self.shift * vectors
        for factor, part in zip(self.factors, self.parts, strict=True):
            total = total + factor * part.apply_block(vectors)
        return total

    def describe(self) -> dict[str, Any]:
        """What identifies the operator."""
        return {**super().describe(), "factors": list(self.factors), "shift": self.shift}


def combine(terms: Sequence[tuple[float, Any]]) -> Operator:
    """Sum of terms (factor, operator or number), with combinations taken apart.

    Raises
    ------
    InputError
        If a term is neither, or they do not fit together.
    """
    factors: list[float] = []
    parts: list[Operator] = []
    shift = 0.0
    for factor, term in terms:
        if isinstance(term, Combined):
            factors += [factor * inner for inner in term.factors]
            parts += term.parts
            shift += factor * term.shift
        elif isinstance(term, Operator):
            factors.append(factor)
            parts.append(term)
        else:
            shift += factor * _number(term)
    return Combined(factors, parts, shift)


def scale(operator: Operator, factor: Any) -> Operator:
    """``factor · operator``."""
    return combine(((_number(factor), operator),))


def divide(operator: Operator, divisor: Any) -> Operator:
    """``operator / divisor``."""
    if _number(divisor) == 0:
        raise InputError("an operator cannot be divided by zero")
    return scale(operator, 1 / _number(divisor))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise InputError(
            f"operators combine with operators and finite numbers (a*A + b*B - c), not with {value!r}; use A @ v for a "
            "product"
        )
    return float(value)


def _ranks(operator: Operator) -> tuple[int, int]:
    return operator.grid.size, operator.grid.data_shards
