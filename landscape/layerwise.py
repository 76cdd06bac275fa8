"""The eigenvalue density of every layer's diagonal block, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from landscape._lockstep import densities_in_lockstep
from landscape.curvature import Operator, Restricted, block_diagonal, blocks_of
from landscape.errors import InputError
from landscape.records import SpectralDensity

Progress = Callable[[int, int, str], None]


def layer_densities(
    operator: Operator,
    *,
    by: str = "layer",
    tol: float = 0.05,
    max_products: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, SpectralDensity]:
    """Eigenvalue density of every diagonal block of an operator (collective).

    All Lanczos runs advance together. A step is one sweep over the data, in which the block-diagonal part of the
    operator multiplies the vectors of all layers at once, exactly: for a Hessian one forward pass, one backward pass
    with its graph, and for each layer the derivative of its own gradient. Layers that are known well enough drop out
    of the sweeps. The numbers are those of ``spectral_density(Restricted(operator, layer))`` to rounding.

    Parameters
    ----------
    operator : Operator
        Of an objective: Hessian, GaussNewton, …, sums of them, or preconditioned ones.
    by : "layer" or "parameter"
        What a block is: the module that owns parameters, or a parameter tensor.
    tol, max_products, seed
        As for ``spectral_density``, of each layer.
    progress : callable, optional
        ``progress(done, total, text)`` after each sweep.

    Returns
    -------
    dict
        Name of the layer → SpectralDensity, in the order of theta. ``products`` counts those of the layer, ``seconds``
        is the time of the whole pass, whose number of sweeps is in the provenance.

    Raises
    ------
    InputError
        If an argument is out of range.
    ComputeError
        If a product is NaN.

    Examples
    --------
    >>> import landscape as ls, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    >>> objective = ls.Objective(model, torch.nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> {name: density.n for name, density in ls.layer_densities(ls.Hessian(objective)).items()}
    {'0': 9, '2': 4}
    """
    if getattr(operator, "objective", None) is None or not isinstance(operator, Operator):
        raise InputError(
            "layer_densities needs an operator of an objective, such as landscape.Hessian(objective), not "
            f"{getattr(operator, 'name', type(operator).__name__)}"
        )
    operator.grid.meet("layer_densities")
    blocks = {block.name: block for block in blocks_of(operator.objective, by)}
    narrowed: dict[tuple[str, ...], Operator] = {}

    def joint(vectors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        asked = tuple(vectors)
        if asked not in narrowed:
            narrowed.clear()
            narrowed[asked] = block_diagonal(operator, by, asked)
        whole = torch.zeros(operator.n, dtype=operator.dtype, device=operator.device)
        for name, vector in vectors.items():
            blocks[name].put(whole, vector)
        product = narrowed[asked].apply(whole)
        operator.products += 1
        return {name: blocks[name].take(product) for name in asked}

    return densities_in_lockstep(
        {name: Restricted(operator, list(block.parameters)) for name, block in blocks.items()},
        joint,
        tol=tol,
        max_products=max_products,
        seed=seed,
        progress=progress,
    )
