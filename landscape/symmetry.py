"""Is it a symmetric matrix? Asked of operators that users bring."""

from __future__ import annotations

from math import hypot, isfinite

import torch

from landscape.curvature import Operator
from landscape.errors import ComputeError, InputError
from landscape.krylov import gaussian
from landscape.parallel.rows import RowPartition

# Of √eps: rounding is of the order of eps, a matrix that is not symmetric of the order of 1.
TOLERANCE = 10.0


def asymmetry(operator: Operator, seed: int = 0) -> float:
    """``|⟨u, Av⟩ - ⟨Au, v⟩|`` of two random vectors, relative to ``‖Au‖`` and ``‖Av‖`` (collective).

    Of the order of the rounding of a product for a symmetric operator, of the order of 1 for another one. Costs two
    products.

    Raises
    ------
    ComputeError
        If a product holds NaN or inf.
    """
    rows = RowPartition(operator.n, operator.grid.data)
    first, second = (
        rows.gather(gaussian(rows, seed, 2**33 + index, operator.dtype, operator.device)) for index in range(2)
    )
    images = []
    for vector in (first, second):
        image = operator.apply(vector)
        broken = int((~torch.isfinite(image)).sum())
        if broken:
            raise ComputeError(f"a product of {operator.name} holds NaN or inf at {broken} of {operator.n} places")
        images.append(rows.shard(image))
    u, v = rows.shard(first), rows.shard(second)
    difference = abs(rows.dot(v, images[0]) - rows.dot(u, images[1]))
    size = hypot(*(rows.dot(image, image) ** 0.5 for image in images))
    return difference / size if size > 0 else 0.0


def check_symmetric(operator: Operator, tolerance: float | None = None) -> None:
    """Refuse an operator that is not symmetric (collective; two products).

    Raises
    ------
    InputError
        If it is not, with the figures.
    """
    if tolerance is None:
        tolerance = TOLERANCE * torch.finfo(operator.dtype).eps ** 0.5
    if not (isfinite(tolerance) and tolerance > 0):
        raise InputError(f"symmetry_tol must be positive, not {tolerance}")
    found = asymmetry(operator)
    if found > tolerance:
        raise InputError(
            f"{operator.name} is not symmetric: for two random vectors ⟨u, Av⟩ and ⟨Au, v⟩ differ by {found:.2g} of the"
            f" length of a product, where rounding gives less than {tolerance:.2g}. Density and eigenpairs are defined "
            "for symmetric operators: use (A + Aᵀ)/2, AᵀA, or P^-½ A P^-½ instead of P⁻¹A; does the function change "
            "its argument, or is it random?"
        )
