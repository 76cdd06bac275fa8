"""The split of the Hessian into Gauss-Newton and residual parts, and whose samples make an outlier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape._data import Batch
from landscape._lockstep import densities_in_lockstep
from landscape.curvature import GaussNewton, Residual, split_product
from landscape.errors import InputError
from landscape.objective import Objective
from landscape.records import SpectralDensity

Progress = Callable[[int, int, str], None]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """Densities of the two parts of the Hessian H = G + R.

    Attributes
    ----------
    gauss_newton : SpectralDensity
        Of G, with weight decay: what the loss's curvature makes; it holds the outliers.
    residual : SpectralDensity
        Of R: what the network's curvature makes; it holds most of the negative eigenvalues, and vanishes where the
        data are fitted.
    """

    gauss_newton: SpectralDensity
    residual: SpectralDensity


def split(
    objective: Objective,
    *,
    tol: float = 0.05,
    max_products: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Split:
    """Eigenvalue densities of the Gauss-Newton matrix and of the residual H - G, in the same sweeps (collective).

    Both Lanczos runs advance together: in every sweep one forward and one backward pass serve both products (Papyan,
    arXiv 1811.07062, computes them apart).

    Parameters
    ----------
    objective : Objective
        With ``loss(output, target)``.
    tol, max_products, seed
        As for ``spectral_density``, of each.
    progress : callable, optional
        ``progress(done, total, text)`` after each sweep.

    Returns
    -------
    Split
        The numbers are those of ``spectral_density`` of ``GaussNewton(objective)`` and of ``Residual(objective)``, to
        rounding.

    Raises
    ------
    InputError
        If the loss hides the output, or an argument is out of range.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> data = torch.eye(2), torch.zeros(2, 1)
    >>> parts = ls.split(ls.Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), data))
    >>> round(parts.gauss_newton.lambda_max, 4), parts.residual.lambda_max
    (3.0, 0.0)
    """
    if not isinstance(objective, Objective):
        raise InputError(f"split needs a landscape.Objective, not {type(objective).__name__}")
    operators = {"gauss_newton": GaussNewton(objective), "residual": Residual(objective)}
    objective.grid.meet("split")

    def joint(vectors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        asked = list(vectors)

        def contribution(batch: Batch, denominator: float) -> Tensor:
            straight, bent = split_product(
                objective, batch, denominator, vectors.get("gauss_newton"), vectors.get("residual")
            )
            parts = {"gauss_newton": straight, "residual": bent}
            return torch.cat([parts[name] for name in asked])

        sums = objective.mean_of(contribution, length=len(asked) * objective.n).to(objective.dtype).split(objective.n)
        products = dict(zip(asked, sums, strict=True))
        if "gauss_newton" in products and objective.weight_decay:
            products["gauss_newton"] = products["gauss_newton"] + objective.weight_decay * vectors["gauss_newton"]
        return products

    return Split(
        **densities_in_lockstep(operators, joint, tol=tol, max_products=max_products, seed=seed, progress=progress)
    )


def class_shares(objective: Objective, vectors: Any) -> Array:
    """Which classes' samples make the curvature of the Gauss-Newton matrix along given directions (collective).

    For a direction v, ``vᵀGv`` is a sum over the targets (samples, or tokens), each ``(Jv)ᵀ (∂²loss/∂output²) (Jv)``;
    its shares by class say which class an outlier belongs to (Papyan, Measurements of three-level hierarchical
    structure in the outliers in the spectrum of deepnet Hessians, 2019). Weight decay belongs to no class and is left
    out.

    Parameters
    ----------
    objective : Objective
        With ``loss(output, target)`` and targets that are classes, int64 ``(samples,)`` or ``(samples, positions)``,
        for outputs ``(samples, classes, …)``.
    vectors : EigenPairs or (n, k) array
        Directions in the columns; such as ``eigenpairs(GaussNewton(objective), k)``.

    Returns
    -------
    (k, classes) float64
        Rows sum to 1; not negative for a convex loss.

    Raises
    ------
    InputError
        If the targets are not classes, or shapes do not fit.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> data = torch.eye(3), torch.arange(3)
    >>> objective = ls.Objective(torch.nn.Linear(3, 3, bias=False), torch.nn.CrossEntropyLoss(), data)
    >>> first_input = torch.zeros(3, 3)
    >>> first_input[:, 0] = torch.tensor([1.0, -1.0, 0.0])  # what only the sample of class 0 sees
    >>> class_shares(objective, first_input.reshape(9, 1))
    array([[1., 0., 0.]])
    """
    operator = GaussNewton(objective)
    objective.grid.meet("class_shares")
    given = torch.as_tensor(getattr(vectors, "vectors", vectors)).to(device=objective.device, dtype=objective.dtype)
    if given.dim() not in (1, 2) or given.shape[0] != objective.n:
        raise InputError(f"vectors must have shape ({objective.n}, k), not {tuple(given.shape)}")
    directions = given.reshape(objective.n, -1).T.contiguous()
    objective.grid.data.broadcast(directions)
    classes = _classes(objective)

    def contribution(batch: Batch, denominator: float) -> Tensor:
        target = batch[1]
        rows = []
        for direction in directions:
            output, tangent, curved = operator.at_output(batch, denominator, direction)
            each = (tangent * curved).sum(1).reshape(-1)
            kept = (target.reshape(-1) >= 0) & (target.reshape(-1) < output.shape[1])  # ignored ones curve nothing
            sums = torch.zeros(classes, dtype=torch.float64, device=each.device)
            rows.append(sums.index_add_(0, target.reshape(-1)[kept], each[kept].double()))
        return torch.cat(rows)

    total = objective.mean_of(contribution, length=len(directions) * classes).reshape(-1, classes)
    sums = total.sum(1, keepdim=True)
    return (total / torch.where(sums == 0, 1, sums)).cpu().numpy()


def _classes(objective: Objective) -> int:
    """Number of classes: of the output, which must have a row of scores per target (collective)."""
    ranks = objective.grid.data
    found = ranks.broadcast_object(_classes_seen(objective) if ranks.rank == 0 else None)
    if isinstance(found, str):
        raise InputError(found)
    return int(found)


def _classes_seen(objective: Objective) -> int | str:
    """Number of classes in the first micro-batch, or what is wrong with it."""
    _, (data, target), _ = next(objective.mine())
    with torch.no_grad():
        output = objective.output(objective.variables(), data)
    fits = (
        isinstance(output, Tensor)
        and isinstance(target, Tensor)
        and not target.is_floating_point()
        and output.dim() >= 2
        and target.shape == output.shape[:1] + output.shape[2:]
    )
    if not fits:
        shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in (output, target)]
        return (
            "classes need targets int64 (samples, …) and outputs (samples, classes, …), but output and target of the "
            f"first micro-batch are {shapes[0]} and {shapes[1]}"
        )
    return int(output.shape[1])
