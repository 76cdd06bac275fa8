"""Other tools' Hessian-vector products, for comparison: curvlinops 3.0.1 and PyHessian 0.1, installed into .bench."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Batches = list[tuple[Tensor, Tensor]]
Product = Callable[[Tensor], Any]


def curvlinops(model: nn.Module, loss: Any, batches: Batches) -> Product:
    """Its Hessian as a function of ``(n,)`` or ``(n, k)``."""
    from curvlinops import HessianLinearOperator

    parameters = [value for value in model.parameters() if value.requires_grad]
    operator = HessianLinearOperator(model, loss, parameters, batches, check_deterministic=False)
    return lambda vectors: _differentiable(operator.__matmul__, vectors)


def pyhessian(model: nn.Module, loss: Any, batches: Batches) -> Product:
    """Its Hessian as a function of ``(n,)``; with one batch it keeps the graph of the gradient."""
    from pyhessian import hessian
    from pyhessian.utils import hessian_vector_product

    _mend_pyhessian()
    model.zero_grad()
    one = len(batches) == 1
    given: dict[str, Any] = {"data": batches[0]} if one else {"dataloader": batches}
    operator = _differentiable(partial(hessian, cuda=False, **given), model, loss)
    shapes = [value.shape for value in operator.params]

    def product(vector: Tensor) -> Any:
        parts = vector.split([shape.numel() for shape in shapes])
        listed = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        if one:
            return hessian_vector_product(operator.gradsH, operator.params, listed)
        return _differentiable(operator.dataloader_hv_product, listed)[1]

    return product


def pyhessian_density(model: nn.Module, loss: Any, batches: Batches, probes: int, steps: int) -> tuple[Any, Any]:
    """Nodes and weights of its density, ``(probes, steps)`` each."""
    from pyhessian import hessian

    _mend_pyhessian()
    model.zero_grad()
    given: dict[str, Any] = {"data": batches[0]} if len(batches) == 1 else {"dataloader": batches}
    operator = _differentiable(partial(hessian, cuda=False, **given), model, loss)
    return _differentiable(operator.density, steps, probes)  # type: ignore[no-any-return]


def scipy_largest(product: Product, n: int, k: int, tol: float) -> tuple[Any, int]:
    """SciPy's eigsh: the k largest eigenvalues and the products that they took."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    count = 0

    def counted(vector: Any) -> Any:
        nonlocal count
        count += 1
        return np.asarray(product(torch.from_numpy(np.asarray(vector, np.float32).reshape(n))), np.float64)

    values = eigsh(LinearOperator((n, n), matvec=counted, dtype=np.float64), k, which="LA", tol=tol)[0]
    return values, count


def _differentiable(function: Any, *arguments: Any) -> Any:
    """Call with the attention kernel that has two derivatives; these tools leave that to their users."""
    with sdpa_kernel(SDPBackend.MATH):
        return function(*arguments)


def _mend_pyhessian() -> None:
    """The released version calls torch.eig, which torch has removed; this is what it meant."""
    if getattr(torch.eig, "mended", False):
        return

    def eig(matrix: Tensor, eigenvectors: bool = False) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        return torch.stack([values, torch.zeros_like(values)], 1), vectors

    eig.mended = True  # type: ignore[attr-defined]
    torch.eig = eig  # type: ignore[attr-defined]
